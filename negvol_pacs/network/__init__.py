"""What speaks to peers."""

"""Which series, is it whole, read it."""

"""The durable workflow that ties the rooms."""

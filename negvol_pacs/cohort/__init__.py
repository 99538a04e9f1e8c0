"""Reports of many patients as one table, and what it shows."""

"""What leaves the data and why: duplicates, contamination, and traces that would teach something wrong."""

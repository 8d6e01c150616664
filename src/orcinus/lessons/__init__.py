"""What is taught: examples are selected and explained, traces curated and turned into lessons."""

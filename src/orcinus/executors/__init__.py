"""Where pure functions over shards run: in this process's pool, or on Ray."""

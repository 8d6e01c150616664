"""Where pure functions of shards run: in this process or on a Ray cluster, in the same order."""

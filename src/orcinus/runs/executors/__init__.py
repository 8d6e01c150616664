"""Where pure functions of shards run: in this process, or on a Ray cluster. The results are the same and in the same order."""

"""Run pure functions of shards, in this process or on a Ray cluster, in the same order."""

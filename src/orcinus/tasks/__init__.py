"""Where examples come from: the user's files, procedural generators, benchmarks."""

"""Benchmarks as data: where their items are, how they are shown to a model, how answers are judged, under which licence."""

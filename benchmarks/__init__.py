"""Benchmarks: ``python -m benchmarks.NAME [--quick] [--json]`` from the project's root. Ratios, never bare times."""

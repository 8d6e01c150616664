"""Benchmarks of speed, as ratios to a peer or a limit: ``python -m benchmarks.NAME [--json]``.

Run them from the project's root. Most take ``--quick``.
"""

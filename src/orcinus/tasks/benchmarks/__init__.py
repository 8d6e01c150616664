"""Public benchmarks as data: their items, prompt layouts, verifiers and licences.

Each ``NAME.yaml`` describes a benchmark, read by ``specs``. ``items`` reads rows in the benchmark's
own layout, ``reading`` makes Examples of them, and ``published`` holds figures that others printed.
"""

"""Measure what bfloat16 costs on this processor, against float32.

Processors with AVX-512 BF16 or AMX compute faster in bfloat16. Others imitate it: one with AVX2
alone took 48 times as long. The instruction sets have many names, so this is measured.
"""

import time
from functools import cache
from statistics import median

import torch

SLOW = 1.5
"""Times as long as float32: from here on a user is warned."""
FAST = 0.75
"""Times as long as float32: up to here a user is told that bfloat16 pays."""
_SIZE = 256
_ROUNDS = 5


@cache
def bfloat16_cost() -> float:
    """Return the time of a matrix product in bfloat16 over that in float32, on the CPU."""
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def imitated(dtype: str) -> str | None:
    """Return a line of warning if ``dtype`` is bfloat16 and this processor does not have it."""
    if dtype != "bfloat16" or bfloat16_cost() < SLOW:
        return None
    return (
        f"this processor only imitates bfloat16, {bfloat16_cost():.0f} times slower than float32; "
        "leave it out"
    )


def _seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype)
    matrix @ matrix
    found = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        matrix @ matrix
        found.append(time.perf_counter() - start)
    return median(found)

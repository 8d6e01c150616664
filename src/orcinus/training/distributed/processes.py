"""The place of this process among those that train together.

torchrun and accelerate tell it in the environment: ``WORLD_SIZE=4 RANK=1``.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return True in the process that writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_for(path: Path) -> None:
    """Wait until the first process has written ``path``. If it fails, torchrun ends all of them."""
    wait_until(path.exists)


def wait_until(is_done: Callable[[], bool]) -> None:
    """Wait until the first process has done its part."""
    while not is_done():
        time.sleep(0.1)

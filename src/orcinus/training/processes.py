"""Which of several training processes this one is, as torchrun and accelerate say in the environment."""

import os
import time
from pathlib import Path


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_for(path: Path) -> None:
    """Wait until the first process has written ``path``; where it fails instead, torchrun ends all of them."""
    while not path.exists():
        time.sleep(0.1)

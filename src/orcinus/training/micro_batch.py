"""Find out how many packed rows a GPU holds at once, by trying: 1, 2, 4 … up to a whole batch.

A micro-batch changes no result. One row leaves a GPU idle for most of the time; a processor is busy
with it, so nothing is tried there.
"""

from collections.abc import Callable
from typing import Any

import torch

from orcinus.training.batches import PackedRows, collate, on_device
from orcinus.training.distributed import processes
from orcinus.training.objectives.interface import Objective

FULL = 0.85
"""Share of a GPU's memory that a trial may take: later rows can need a little more."""
MOMENTS_BYTES = 8
"""Of AdamW for each trained weight: two numbers, which do not exist yet in a trial."""


def micro_batch_for(
    model: Any,
    rows: PackedRows,
    objective: Objective,
    *,
    rows_per_step: int,
    device: torch.device,
    autocast: bool,
) -> int:
    """Return the rows of one forward pass; 1 where nothing can be tried.

    Args:
        model: A causal language model with an objective's forward pass, or PEFT around one.
        rows: Of the stage.
        objective: Of the stage.
        rows_per_step: Rows of an optimizer step.
        device: Where the Trainer will put the model.
        autocast: The arithmetic is in bfloat16.
    """
    needs = objective.needs
    if device.type != "cuda" or processes.count() > 1:
        return 1
    if needs.teacher or needs.prompted or needs.before_step is not None:
        return 1  # what else they hold on the GPU is not there yet
    model.to(device).train()
    total = torch.cuda.get_device_properties(device).total_memory
    moments = MOMENTS_BYTES * sum(p.numel() for p in model.parameters() if p.requires_grad)

    def fits(size: int) -> bool:
        torch.cuda.reset_peak_memory_stats(device)
        try:
            batch = on_device(collate([rows[i] for i in _fullest(rows, size)]), device)
            with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
                loss = model(batch=batch, objective=objective)["loss"]
            loss.backward()
        except torch.OutOfMemoryError:
            return False
        finally:
            model.zero_grad(set_to_none=True)
        return bool(torch.cuda.max_memory_allocated(device) + moments <= FULL * total)

    with torch.random.fork_rng([device]):
        found = largest_that_fits(rows_per_step, fits)
    torch.cuda.empty_cache()
    return found


def largest_that_fits(rows_per_step: int, fits: Callable[[int], bool]) -> int:
    """Return the largest power of two that fits and divides an optimizer step's rows; at least 1.

    Args:
        rows_per_step: Rows of an optimizer step.
        fits: Tries a size. Sizes grow, and none is tried after the first that does not fit.
    """
    found, size = 1, 2
    while rows_per_step % size == 0 and size <= rows_per_step and fits(size):
        found, size = size, 2 * size
    return found


def _fullest(rows: PackedRows, count: int) -> list[int]:
    """Return the numbers of the longest of the first rows; packed rows are of about one length."""
    numbers = range(min(len(rows), 8 * count))
    return sorted(numbers, key=lambda number: -len(rows[number]["tokens"]))[:count]

"""Create a student from scratch: a tokenizer learnt from the run's own texts, and random weights.

    prompts, strategies' messages ──► model/      {"model": "model", "parameters": 712448, …}

For experiments, and to run every part where no pretrained weights can be had: such a student knows
nothing. The torch part is in ``scratch_model.py``, since a plan imports this module.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from orcinus.core.types import Strategy
from orcinus.models.scratch import ScratchConfig
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext
from orcinus.strategies.library import generic_messages, messages_of


async def student(
    config: ScratchConfig, strategies: tuple[Strategy, ...], context: StepContext
) -> dict[str, Any]:
    """Create the student in ``context.out / "model"``.

    Returns:
        ``model``: the folder's name; ``parameters`` and ``vocabulary``: the student's sizes.
    """
    from orcinus.training.scratch_model import make_student

    def texts() -> Iterator[str]:
        yield from (text for strategy in strategies for text in messages_of(strategy))
        yield from generic_messages().values()
        for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES):
            yield example.prompt

    facts = await asyncio.to_thread(make_student, config, texts(), context.out / layout.MODEL)
    return {"model": "model", **facts}

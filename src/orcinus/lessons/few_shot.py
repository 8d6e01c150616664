"""Few-shot lessons: the prompt shows solved questions of the same task first.

"What is 2 + 3?" "The answer is 5."  …  "What is 17 + 25?"   →   "1. 17 + 25 = 42 …"
"""

from dataclasses import replace

from orcinus.core.draw import draw
from orcinus.core.fingerprint import fingerprint, stable_fraction
from orcinus.core.tool_calls import has_tools
from orcinus.core.types import Lesson, Message
from orcinus.lessons.config import POOL, FewShotConfig


class FewShotPool:
    """The first lessons of each task, from which few-shot lessons are made."""

    def __init__(self, config: FewShotConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._pools: dict[str, list[Lesson]] = {}

    def make_lesson(self, lesson: Lesson) -> Lesson | None:
        """Add ``lesson`` to the pool, and make a few-shot lesson of it.

        Returns:
            None when the lesson is not drawn, has tools or no question, or the pool of its task is
            too small.
        """
        if has_tools(lesson.messages) or not lesson.messages:
            return None  # its question may be a result, which nothing before it explains
        pool = self._pools.setdefault(lesson.task, [])
        others = [other for other in pool if other.example_id != lesson.example_id]
        if len(pool) < POOL:
            pool.append(lesson)
        fewest, most = self._config.shots
        shots = min(
            fewest + int(self._fraction("shots", lesson) * (most - fewest + 1)), len(others)
        )
        if shots < fewest or self._fraction("few-shot", lesson) >= self._config.share:
            return None
        drawn = draw(others, lambda other: (str(self._seed), lesson.id, other.id), shots)
        *before, question = lesson.messages
        if self._config.form == "turns":
            turns = [
                (other.messages[-1], Message(role="assistant", content=other.completion))
                for other in drawn
            ]
            messages = (*before, *(message for turn in turns for message in turn), question)
        else:
            solved = [f"{other.messages[-1].content}\n{other.completion}" for other in drawn]
            messages = (
                *before,
                Message(role="user", content="\n\n".join([*solved, question.content])),
            )
        identity = fingerprint([lesson.attempt_id, messages, lesson.completion], length=16)
        return replace(lesson, id=identity, messages=messages, meta={**lesson.meta, "shots": shots})

    def _fraction(self, what: str, lesson: Lesson) -> float:
        return stable_fraction(what, str(self._seed), lesson.id)

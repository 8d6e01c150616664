"""Draw items by the smallest hash, so that a draw never depends on the order of a file.

    draw(examples, lambda e: ("skills", e.task, e.id), 40)             →  40 examples
    draw_by_group(examples, "probe", lambda e: e.task, 40)["sums"]     →  40 examples of that task

More of a draw only adds items: the first 40 are the same in a draw of 100.
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TypeVar

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Asked

T = TypeVar("T")
Question = TypeVar("Question", bound=Asked)


def draw(
    items: Iterable[T], name_of: Callable[[T], tuple[str, ...]], count: int | None = None
) -> list[T]:
    """Return the items whose names have the smallest hashes, in the order of the hashes.

    Args:
        items: Read as a stream; about ``2 * count`` of them are held.
        name_of: What is hashed: a word for the draw, then what identifies the item. Equal hashes
            are ordered by the last part.
        count: How many; None takes all.
    """
    drawn: list[tuple[float, str, T]] = []
    for item in items:
        _add(drawn, item, name_of(item), count)
    return _first(drawn, count)


def draw_by_group(
    examples: Iterable[Question], salt: str, group_of: Callable[[Question], str], count: int | None
) -> dict[str, list[Question]]:
    """Return the examples with the smallest hashes of each group, groups sorted by name.

    The wordings of one question (``meta.isomer``) have one hash, so that they are drawn together.

    Args:
        examples: Read as a stream; about ``2 * count`` of each group are held.
        salt: A word for the draw: another one draws other examples.
        group_of: The group of an example.
        count: How many of each group; None takes all.
    """
    drawn: dict[str, list[tuple[float, str, Question]]] = {}
    for example in examples:
        name = (salt, example.task, str(example.meta.get("isomer") or example.id))
        _add(drawn.setdefault(group_of(example), []), example, name, count)
    return {group: _first(of_group, count) for group, of_group in sorted(drawn.items())}


def _add(
    drawn: list[tuple[float, str, T]], item: T, name: tuple[str, ...], count: int | None
) -> None:
    drawn.append((stable_fraction(*name), name[-1], item))
    if count is not None and len(drawn) > 2 * count:
        _cut(drawn, count)


def _first(drawn: list[tuple[float, str, T]], count: int | None) -> list[T]:
    _cut(drawn, count)
    return [item for _, _, item in drawn]


def _cut(drawn: list[tuple[float, str, T]], count: int | None) -> None:
    drawn.sort(key=itemgetter(0, 1))
    del drawn[len(drawn) if count is None else count :]

"""Draw examples by the smallest hash, so that a draw never depends on the order of a file."""

from collections.abc import Callable, Iterable
from operator import itemgetter

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Example


def first_by_hash(
    examples: Iterable[Example], salt: str, group_of: Callable[[Example], str], count: int | None
) -> dict[str, list[Example]]:
    """Of each group, sorted by name, the examples with the smallest hashes, in the hashes' order: which are asked never depends on how a file was sorted.

    Args:
        examples: Read as a stream.
        salt: Another one draws others.
        group_of: The group of an example.
        count: How many of each group; about twice as many are held. None takes all.
    """
    drawn: dict[str, list[tuple[float, str, Example]]] = {}
    for example in examples:
        of_group = drawn.setdefault(group_of(example), [])
        of_group.append((stable_fraction(salt, example.task, example.id), example.id, example))
        if count is not None and len(of_group) > 2 * count:
            _keep_first(of_group, count)
    for of_group in drawn.values():
        _keep_first(of_group, count)
    return {
        group: [example for _, _, example in of_group] for group, of_group in sorted(drawn.items())
    }


def _keep_first(drawn: list[tuple[float, str, Example]], count: int | None) -> None:
    drawn.sort(key=itemgetter(0, 1))
    del drawn[len(drawn) if count is None else count :]

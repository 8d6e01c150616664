"""The same question in other words: same numbers, same answer, one split."""

from collections import defaultdict

import pytest

from orcinus.core.draw import draw_by_group
from orcinus.core.types import Example
from orcinus.strategies.library import built_in
from orcinus.tasks.config import Mixture
from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain
from orcinus.tasks.splits import Splits
from orcinus.verifiers.rules import judge

DOMAINS = ("plain", "shop", "clinic", "court")


def dressed(generator: str, count: int = 30) -> list[Example]:
    settings = {"generator": generator, "count": count, "dress": DOMAINS}
    return list(draw(ProceduralConfig.model_validate(settings)))


@pytest.mark.parametrize("generator", ["sums", "largest"])
def test_all_domains_ask_the_same_and_have_the_same_reference(generator: str) -> None:
    plain = {e.id: e for e in draw(ProceduralConfig(generator=generator, count=30))}
    found = dressed(generator)
    assert len(found) == len({e.id for e in found}) == len({e.prompt for e in found}) == 120
    for example in found:
        assert example.reference == plain[example.meta["isomer"]].reference
        assert example.meta["domain"] in DOMAINS
        for strategy in built_in():
            text = explain(example.prompt, strategy)
            assert text == explain(plain[example.meta["isomer"]].prompt, strategy)
            assert judge(text, example.answer_type, None, example.reference).value == 1.0


def test_the_wordings_of_a_question_stay_in_one_split() -> None:
    found = dressed("sums", 41)
    splits = Splits(probe=0.15, held_out=0.25, mixtures={"": Mixture(per_task=50)}, seed=3)
    for example in found:
        splits.add(example)
    codes = defaultdict(set)
    for example, code in zip(found, splits.settle(), strict=True):
        codes[example.meta["isomer"]].add(int(code))
    assert all(len(of_one) == 1 for of_one in codes.values())
    assert {code for of_one in codes.values() for code in of_one} == {0, 1, 2, 3}


def test_the_wordings_of_a_question_are_drawn_together() -> None:
    drawn = draw_by_group(dressed("sums"), "evaluate", lambda e: e.task, 20)["sums"]
    assert len({e.meta["isomer"] for e in drawn}) == 5

"""Tasks of reasoning-gym: drawn the same every time, and judged by their own rules."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("reasoning_gym", reason="needs the extra gym")

from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.core.types import Attempt, Example, Sampling
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.tasks.generators.gym import GymConfig, draw_gym
from orcinus.tasks.open import content_of
from orcinus.verifiers.verify import verify


def value(example: Example, text: str) -> float | None:
    attempt = Attempt(
        id="a",
        example_id=example.id,
        task=example.task,
        strategy="direct",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )
    return asyncio.run(verify(example, attempt)).value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["chain_sum", "leg_counting", "spell_backward", "countdown"])
def test_each_generators_own_answer_is_right_and_another_is_wrong(name: str) -> None:
    examples = list(draw_gym(GymConfig(gym=name, count=5)))
    assert [example.id for example in examples] == [f"{name}-0-{place}" for place in range(5)]
    for example in examples:
        assert value(example, f"I worked it out. The answer is {example.reference}") == 1.0
        assert value(example, "The answer is 123454321.") == 0.0
        assert value(example, "") is None


def test_another_right_answer_than_the_reference_is_right() -> None:
    [example] = draw_gym(
        GymConfig(gym="countdown", count=1, settings={"min_numbers": 3, "max_numbers": 3})
    )
    assert isinstance(example.reference, str)
    assert value(example, f"The answer is ({example.reference})") == 1.0


def test_a_question_with_many_right_answers_is_judged_without_a_reference() -> None:
    example = next(draw_gym(GymConfig(gym="propositional_logic", count=1)))
    assert example.reference is None
    assert value(example, "The answer is (Q ∨ P)") == 1.0
    assert value(example, "The answer is 17") == 0.0


def test_the_same_settings_draw_the_same_questions_and_another_seed_does_not() -> None:
    def drawn(**settings: int) -> list[str]:
        config = GymConfig(gym="chain_sum", count=4, **settings)  # type: ignore[arg-type]
        return [example.prompt for example in draw_gym(config)]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=9)


def test_an_unknown_generator_or_setting_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no generator named 'count_down'; did you mean 'countdown'"
    ):
        list(draw_gym(GymConfig(gym="count_down")))
    with pytest.raises(ConfigError, match=r"chain_sum: its settings are refused: .*terms"):
        list(draw_gym(GymConfig(gym="chain_sum", settings={"terms": 3})))
    recipe = load_recipe(
        write_recipe(tmp_path / "r.yaml", tasks=[{"gym": "chain_sum", "count": 20}])
    )
    assert "version" in content_of(recipe.tasks[0], tmp_path)
    with pytest.raises(ConfigError, match=r"unknown key 'tasks.0.cuont'; did you mean 'count'"):
        load_recipe(write_recipe(tmp_path / "r.yaml", tasks=[{"gym": "chain_sum", "cuont": 20}]))

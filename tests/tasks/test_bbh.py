"""Questions in the wording of BIG-Bench Hard, drawn and solved; the same code solves real ones."""

import json
from pathlib import Path

import pytest

from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain

TASKS = {
    "boolean_expressions": (2, 5),
    "navigate": (3, 7),
    "web_of_lies": (4, 5),
    "object_counting": (3, 8),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_real_items_are_solved(task: str, shared_data: Path) -> None:
    items = json.loads(
        (shared_data / "raw" / "BIG-Bench-Hard" / "bbh" / f"{task}.json").read_bytes()
    )["examples"]
    assert len(items) > 90
    for item in items:
        assert explain(item["input"], "step_by_step").endswith(f"The answer is {item['target']}.")


@pytest.mark.parametrize("task", TASKS)
def test_what_is_drawn_can_be_read_back_and_has_both_answers(task: str) -> None:
    drawn = list(draw(ProceduralConfig(generator=task, count=300, seed=3, size=TASKS[task])))
    for example in drawn:
        assert explain(example.prompt, "direct") == f"The answer is {example.reference}."
        for strategy in ("step_by_step", "explain_then_answer", "decompose"):
            assert explain(example.prompt, strategy).endswith(f"The answer is {example.reference}.")
    answers = [example.reference for example in drawn]
    assert max(answers.count(answer) for answer in set(answers)) < 0.75 * len(answers)


def test_instructions_that_lead_back_are_drawn() -> None:
    drawn = draw(ProceduralConfig(generator="navigate", count=300, size=(3, 6)))
    assert sum(example.reference == "Yes" for example in drawn) > 60


@pytest.mark.parametrize(
    ("prompt", "steps"),
    [
        (
            "not ( True and not False ) is",
            "not False = True, True and True = True, not True = False. The answer is False.",
        ),
        ("True is", "it is True. The answer is True."),
        (
            "Question: Ann lies. Bob says Ann lies. Cid says Bob tells the truth. "
            "Does Cid tell the truth?",
            "Ann false, Bob true, Cid true. The answer is Yes.",
        ),
        (
            "I have a flute, two pigs, and a violin. How many musical instruments do I have?",
            "flute 1, pigs 1, violin 2. The answer is 2.",
        ),
        (
            "If you follow these instructions, do you return to the starting point? "
            "Take 3 steps. Turn around. Take 3 steps.\nOptions:\n- Yes\n- No",
            "3 to 0 3, facing south, 3 to 0 0, at 0 0. The answer is Yes.",
        ),
    ],
)
def test_the_steps_of_each_kind(prompt: str, steps: str) -> None:
    assert explain(prompt, "step_by_step") == steps

"""A reply's channels: what is recorded as the answer is also what is judged."""

import pytest

from orcinus.core.channels import split_harmony
from orcinus.models.remote.thinking import split_thinking
from orcinus.verifiers.answers.channels import final_channel

FINAL = "<|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        (f"<|channel|>analysis<|message|>Hm.<|end|>{FINAL}5<|end|>{FINAL}6", "Hm.\n\n5", "6"),
        (f"Hm.<|end|>{FINAL}4<|return|>", "Hm.", "4"),
        ("<|channel|>final<|constrain|>json<|message|>{}<|end|>", "", "{}"),
        ("<|channel|>analysis<|message|>Hm", "Hm", ""),
        ("analysisHm.assistantfinal5assistantfinal6", "Hm.assistantfinal5", "6"),
        ("analysisWe need more", "We need more", ""),
    ],
)
def test_the_last_final_message_is_recorded_and_judged(
    text: str, reasoning: str, answer: str
) -> None:
    assert split_harmony(text) == split_thinking(text) == (reasoning, answer)
    assert final_channel(text) == answer


def test_other_texts_have_no_channels() -> None:
    assert split_harmony("analysis of the words") is None
    assert split_harmony("The answer is 4.") is None


def test_a_tag_is_a_channel_in_capitals_too() -> None:
    text = "<Reasoning>Hm.</Reasoning>4"
    assert split_thinking(text, "How many?") == ("Hm.", "4")
    assert split_thinking(text, "Write <reasoning> first.") == (None, text)
    assert final_channel(text) == "4"

r"""Tell the reasoning in a reply's text from the answer.

    "<think>2 and 2.</think>The answer is 4."   →  "2 and 2.", "The answer is 4."
    "2 and 2.\n</think>\n\nThe answer is 4."    →  the same: the prompt opened the block

Servers without a reasoning parser leave the marks of a model's own format in the text. A lesson
that contains them teaches the marks.
"""

import re

from orcinus.core.channels import split_harmony

_PAIRS: tuple[tuple[str, str], ...] = (
    (r"<(think|thinking|thought|thoughts|seed:think)>", r"</(?:\1)>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|channel>(?:thought|analysis)", r"<channel\|>"),
)
"""Opening and closing marks of reasoning. A block that is not closed is reasoning to its end."""
_BLOCKS = tuple(
    re.compile(rf"\A\s*{opening}(?P<inside>.*?)(?:{closing}\s*|\Z)", re.DOTALL | re.IGNORECASE)
    for opening, closing in _PAIRS
)
_CHANNEL_TAGS = re.compile(
    r"\A\s*<(reflection|reasoning|analysis|scratchpad|inner_monologue)>(?P<inside>.*?)</\1>\s*",
    re.DOTALL | re.IGNORECASE,
)
"""Tags that are a model's channel if nothing asked for them, and a prompt's format otherwise."""
_LONE_CLOSING = re.compile(
    r"(?<![`'\"])(?:</(?:think|thinking|thought|seed:think)>|\[/THINK\]|◁/think▷"
    r"|<\|end_of_thought\|>)\s*",
    re.IGNORECASE,
)
"""The end of a block that the chat template opened, which is therefore not in the reply."""
_SOLUTION = re.compile(
    r"\A<\|begin_of_solution\|>(.*?)\s*(?:<\|end_of_solution\|>\s*)?\Z", re.DOTALL
)


def split_thinking(text: str, prompt: str | None = None) -> tuple[str | None, str]:
    """Split a text into (reasoning, answer).

    Args:
        text: The reply.
        prompt: All that was sent; None when it is not known. A tag like ``<reasoning>`` is a
            channel only where it is known that the prompt does not ask for it.

    Returns:
        The reasoning is None where nothing marks any, and "" where the marks hold none.
    """
    if (split := split_harmony(text)) is not None:
        return split
    if not ("<" in text or "[" in text or "◁" in text):  # one of these begins every mark
        return None, text
    found: list[str] = []
    while (block := _leading_block(text, prompt)) is not None:
        found.append(block["inside"].strip())
        text = text[block.end() :]
    lone = _LONE_CLOSING.search(text)
    if lone is not None and _opening_of(lone[0]) not in text[: lone.start()].lower():
        found.append(text[: lone.start()].strip())
        text = text[lone.end() :]
    if not found:
        return None, text
    if (solution := _SOLUTION.match(text)) is not None:
        text = solution[1].strip()
    return "\n\n".join(part for part in found if part), text


def _leading_block(text: str, prompt: str | None) -> re.Match[str] | None:
    """Return the block of reasoning that the text begins with."""
    for pattern in _BLOCKS:
        if (block := pattern.match(text)) is not None:
            return block
    block = _CHANNEL_TAGS.match(text)
    if block is None or prompt is None or f"<{block[1]}".lower() in prompt.lower():
        return None
    return block


def _opening_of(closing: str) -> str:
    return closing.strip().lower().replace("/", "").replace("end_of", "begin_of")

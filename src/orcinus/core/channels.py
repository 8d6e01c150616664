r"""Split a reply in OpenAI's harmony format into the reasoning and the answer.

"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>4"
    →  "Hm.", "4"

The last message of the channel ``final`` is the answer. All others are reasoning.
"""

import re

_CHANNEL, _MESSAGE = "<|channel|>", "<|message|>"
_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_NAME = re.compile(r"\s*(\w*)")
_WITHOUT_MARKS = re.compile(
    r"\A\s*(?:analysis|commentary)(?P<inside>.+)assistant\s?final"
    r"|\A\s*(?:analysis|commentary)(?=[A-Z\"'(])(?P<unfinished>.*)\Z",
    re.DOTALL,
)
"""Channels whose marks a tokenizer dropped: ``analysis…assistantfinal…``."""


def split_harmony(text: str) -> tuple[str, str] | None:
    """Return (reasoning, answer); None for a text in another format.

    The answer is "" if the reasoning never ends.
    """
    if _CHANNEL in text:
        return _split_messages(text)
    if not text.lstrip()[:10].startswith(("analysis", "commentary")):
        return None
    if (found := _WITHOUT_MARKS.match(text)) is None:
        return None
    if found["unfinished"] is not None:
        return found["unfinished"].strip(), ""
    return found["inside"].strip(), text[found.end() :]


def _split_messages(text: str) -> tuple[str, str]:
    before, *parts = text.split(_CHANNEL)
    said = [("", _END.split(before, maxsplit=1)[0].strip())]
    for part in parts:
        name, _, message = part.partition(_MESSAGE)
        channel = _NAME.match(name)
        said.append((channel[1] if channel else "", _END.split(message, maxsplit=1)[0].strip()))
    last = max((at for at, (name, _) in enumerate(said) if name == "final"), default=None)
    thoughts = [words for at, (_, words) in enumerate(said) if at != last and words]
    return "\n\n".join(thoughts), "" if last is None else said[last][1]

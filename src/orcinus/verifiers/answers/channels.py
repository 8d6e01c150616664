r"""Keep what a response says in its final channel, in plain signs.

    "<think>It may be 6.</think>\r\n<b>5</b></s>"  →  "5"

Reasoning between tags is never judged, and neither is a turn that a model goes on to write. A text
without the signs of a channel passes through untouched.
"""

import re
import unicodedata
from html import unescape

from orcinus.core.channels import split_harmony
from orcinus.core.patterns import compile_later

FIRST, LAST = 3_000, 9_000
"""Characters of a long text's beginning and end that are searched. An answer stands at one of the
two; a limit keeps the cost of a loop of a megabyte below 50 ms."""

_MOST_TAGS = 5_000
"""Signs "<" and "[". A text with more is a loop; only its two ends are searched for tags."""
_REASONING = compile_later(
    r"""[<◁\[](?:(?<!\[)(?:(?<=<)\|)?(/|end_of_|end_)?(?:begin_of_|start_|seed:)?
        (?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|analysis|inner_monologue|cot)
        (?:\s[^<>\n]{0,80})?(?:\|?>|▷)
      | (?<=\[)(/)?THINK\])""",
    re.IGNORECASE | re.VERBOSE,
)
"""A tag that opens or closes reasoning; a group holds what closes it."""
_END_OF_TURN = compile_later(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end|endoftext|end_of_text|return|eot|end_of_turn|start"
    r"|start_header_id|end_header_id|user|system|assistant|end_of_turn_token|turn_end|call)\|>"
    r"|</?s>|<(?:eos|bos|pad|end_of_turn|start_of_turn|end_of_utterance|eod)>|\[/?INST\]"
    r"|<｜[^<>｜\n]{1,40}｜>",
    re.IGNORECASE,
)
_BOX_TOKENS = compile_later(r"<\|begin_of_box\|>(.{0,200}?)<\|end_of_box\|>", re.DOTALL)
_OTHER_TOKEN = compile_later(r"<\|\w{1,40}\|>")
_ROLE = compile_later(r"\A\s*(?:assistant|model|bot)\s*(?:\n|\Z)", re.IGNORECASE)
_BLOCK = compile_later(
    r"</?(?:p|br|div|h[1-6]|ul|ol|li|pre|tr|table|tbody|thead|html|body|blockquote|section|output"
    r"|response|result|solution|details|summary)(?:\s[^<>]{0,200})?\s?/?>",
    re.IGNORECASE,
)
_BETWEEN_CELLS = compile_later(r"</t[dh]>\s*<t[dh](?:\s[^<>]{0,200})?>", re.IGNORECASE)
_INLINE = compile_later(
    r"</?(?:b|i|em|strong|span|u|code|font|center|mark|small|td|th|a|sub)(?:\s[^<>]{0,200})?>",
    re.IGNORECASE,
)
_UNSEEN = compile_later(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<code>script|style|template|noscript)\b[^<>]{0,200}>.*?(?:</(?P=code)\s*>|\Z)"
    r"|<(?P<tag>\w+)\b[^<>]{0,200}?(?:display\s*:\s*none|visibility\s*:\s*hidden"
    r"|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])|\shidden\b)[^<>]{0,200}>"
    r".*?(?:</(?P=tag)\s*>|\Z)"
    r"|^\[(?://|comment)\]:\s*(?:#|<>).*?$"
    r"|\\[hv]?phantom\s*\{[^{}]*\}",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
"""What no reader sees: comments of HTML and Markdown, hidden elements, phantoms of LaTeX."""
_UNSEEN_SIGNS = (
    "<!--",
    "<s",
    "<S",
    "<t",
    "<n",
    "idden",
    "none",
    "size",
    "opacity",
    "]: ",
    "phantom",
)
"""What such text holds; asked first."""
_RAISED_TAG = compile_later(r"<sup>\s*([^<>]{1,20}?)\s*</sup>", re.IGNORECASE)
_LINE_END = compile_later("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = compile_later(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]+"
)
"""Marks without a width, marks of direction, variants of emoji, and halves of characters."""
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "。": ". ",
    "、": ", ",
    "【": "[",
    "】": "]",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
    "\u3000": " ",
}
"""Signs and their plain spelling. Blanks of all kinds are unified by NFKC."""
_VULGAR = compile_later(r"(?<=\d)\s?(?=[¼-¾⅐-⅞])")
_RAISED = compile_later(r"[⁰¹²³⁴-⁹⁻]+")
_OTHER_DIGIT = compile_later(r"[^\W\D0-9]")


def final_channel(response: str) -> str:
    """Return the end user's part of a response; nothing if its reasoning never ends.

    >>> final_channel("[THINK]It may be 6.[/THINK]5")
    '5'
    """
    split = split_harmony(response)
    text = response if split is None else split[1]
    if "<" in text or "[" in text or "◁" in text:
        text = _without_reasoning(text)
    return text


def _without_reasoning(text: str) -> str:
    """Remove reasoning: between tags, before a closing tag alone, behind an opening one alone."""
    if text.count("<") + text.count("[") > _MOST_TAGS:
        text = f"{text[:LAST]}\n\n{text[-LAST:]}"
    parts = _REASONING.split(text)
    if len(parts) == 1:
        return text
    kept, inside = [parts[0]], False
    for closing, closing_think, part in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        closes = bool(closing or closing_think)
        if closes and not inside:
            kept.clear()
        inside = not closes
        if not inside:
            kept.append(part)
    return "".join(kept)


def plain_text(text: str) -> str:
    """Rewrite a text in the signs that the rules know: no tokens, no HTML, one spelling a sign.

    A long text is cut to its beginning and its end.
    """
    if len(text) > FIRST + LAST:
        text = f"{text[:FIRST]}\n\n{text[-LAST:]}"
    if not text.isascii() or "\r" in text:
        text = _INVISIBLE.sub("", _LINE_END.sub("\n", text))
    if ("<" in text or "[" in text or "\\" in text) and any(map(text.__contains__, _UNSEEN_SIGNS)):
        text = _UNSEEN.sub("", text)
    if "<" in text or "[" in text:
        text = _without_html(_first_turn(text))
    if "&" in text and ";" in text:
        text = unescape(text)
    return text if text.isascii() else _in_plain_signs(text)


def lower_case(text: str) -> str:
    """Return a text in lower case and of the same length, for patterns in lower case.

    Such a pattern takes a third of the time of one that ignores case.
    """
    if not text.isascii():
        text = text.replace("İ", "i").replace("ı", "i")
    return text.lower()


def _first_turn(text: str) -> str:
    """Return the first turn that says something, without its tokens."""
    turns = _END_OF_TURN.split(text)
    if len(turns) > 1:
        text = next((said for turn in turns if (said := _ROLE.sub("", turn)).strip()), "")
    if "<|" in text:
        text = _OTHER_TOKEN.sub(" ", _BOX_TOKENS.sub(r"\\boxed{\1}", text))
    return text


def _without_html(text: str) -> str:
    if "<" not in text or ">" not in text:
        return text
    if "<sup>" in text:
        text = _RAISED_TAG.sub(r"^\1", text)
    return _INLINE.sub("", _BLOCK.sub("\n", _BETWEEN_CELLS.sub(" | ", text)))


def _in_plain_signs(text: str) -> str:
    """Give quotes, blanks, digits, fractions and powers one spelling each."""
    for sign, plain in _PLAIN.items():  # takes a tenth of the time of str.translate
        text = text.replace(sign, plain)
    if text.isascii():
        return text
    text = _RAISED.sub(
        lambda match: "^" + unicodedata.normalize("NFKC", match.group()).replace("−", "-"), text
    )
    text = unicodedata.normalize("NFKC", _VULGAR.sub(" ", text)).replace("⁄", "/")
    return _OTHER_DIGIT.sub(
        lambda match: str(unicodedata.decimal(match.group(), match.group())), text
    )

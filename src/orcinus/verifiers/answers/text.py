"""Find the place of the final answer in a text; the finders of all answer types start here.

    "We get 18 + 38 = 56. So the answer is 56."   →   Statement("56.", rule="marker")

The places are ranked: an explicit tag, a box, ``####``, the last sentence that announces an answer,
and only then the text itself. Reasoning between tags is ignored, and so is a new question that a
model goes on to ask itself.
"""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """The part of a text that should hold the answer."""

    text: str
    rule: str
    """How it was found: ``tag``, ``boxed``, ``json``, ``hash``, ``marker``, ``heading`` (a line of
    its own announces what follows), or ``text`` if nothing announced an answer."""


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """The answer that a finder understood, or why there is none."""

    answer: str | None
    rule: str
    """The rule that found the answer, or why there is none."""
    several: bool = False
    """True if two or more different answers were given, which counts as a wrong answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict before it belongs to an attempt."""

    value: float | None
    answer: str | None
    """The final answer as it was understood; None if none was found."""
    reason: str


_TAGS_OF_THINKING = re.compile(r"</?(?:think|reason|scratch)", re.IGNORECASE)
_THINK = re.compile(r"<(think|thinking|reasoning|scratchpad)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN_THINK = re.compile(
    r"<(?:think|thinking|reasoning|scratchpad)>.*\Z", re.DOTALL | re.IGNORECASE
)
_CLOSE_THINK = re.compile(
    r"\A.*</(?:think|thinking|reasoning|scratchpad)>", re.DOTALL | re.IGNORECASE
)
_RUN_ON = re.compile(
    r"\n\s*(?:Q:|Question:|\[Question\]|### ?(?:Question|Instruction)|Human:|User:|<\|im_start\|>)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(answer|final_answer|final)>\s*(.*?)\s*</\1>", re.DOTALL | re.IGNORECASE)
_JSON = re.compile(
    r"[\"'](?:final_)?answer[\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\[[^\]]*\]|[^,}\n]+)",
    re.IGNORECASE,
)
_HASH = re.compile(
    r"(?<!#)####[ \t]*(?!\s*(?:final\s+)?answer)(\S.*)$", re.MULTILINE | re.IGNORECASE
)
_MARKER = re.compile(
    r"""(?:
        (?:answer|choice|option|conclusion|final\ solution)s?\b
        (?:\s+(?:
            to\s+(?:this|the)\s+(?:question|problem)|here|choice|option
          | for\s+this\s+(?:question|problem)|would|should|must|will|has\s+to
        ))*
        \s*(?:\([^()\n]{1,40}\))?\s*["'*_]*\s*
        (?:is|was|be|are|=|:)
        (?:\s+(?:
            therefore|thus|then|clearly|definitely|simply|just|still|now|again|indeed|likely
          | most\ likely|probably
        ))?(?![\w])
      | a:
      | sorted(?:\s+(?:order|list|words))?\s*(?:is|are|:)
      | alphabetical\ order\s*(?:is|are|:)
    )[ \t]*:?""",
    re.IGNORECASE | re.VERBOSE,
)
"""Announces an answer. Parentheses between the word and the verb come from the question: "(Yes or
No)", "(arabic numerals)"."""
_MARKER_WORDS = (
    "answer",
    "choice",
    "option",
    "conclusion",
    "final solution",
    "\na:",
    "sorted",
    "alphabetical order",
)
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
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
    "【": "[",
    "】": "]",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
}
"""Signs and their plain spelling. Blanks of all kinds are unified by NFKC."""
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_RAISED = re.compile(r"[⁰¹²³⁴-⁹⁻]+")
_OTHER_DIGIT = re.compile(r"[^\W\D0-9]")
_BESIDE_IDEOGRAM = re.compile(
    r"(?<=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])(?=[A-Za-z0-9(-])"
    r"|(?<=[A-Za-z0-9)])(?=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])"
)
_ANSWER_ELSEWHERE = re.compile(
    r"答案\s*(?:应该|應該)?\s*(?:是|为|為|选|選|:)|答えは|答え\s*:|정답은|답은|(?:정답|답)\s*:|[Оо]твет\s*(?:это|:|-)?"
    r"|(?:الإجابة|الجواب)\s*(?:هي|هو|:)?|उत्तर\s*(?:है|:)?|[Rr]éponse\s+est"
)
_CORRECTING = (
    "wait",
    "actually",
    "hold on",
    "scratch",
    "correction",
    "second thought",
    "re-check",
    "recheck",
    "oops",
    "mistake",
    "no, ",
)
_CORRECTION = re.compile(
    r"""(?:[.!?,;:\n]|\s-|\A)\s*(?:(?:oh|hmm+|oops|no)\b[,.!]*\s*)*
        (?:wait(?=\s*[,.!:-]|\ (?:no|actually|that|this|i|it|let|maybe)\b)
          |actually|hold\ on|scratch\ that|correction|(?:on|upon)\ (?:second\ thought|reflection)
          |oops|my\ mistake|i\ made\ a\ mistake
          |let\ me\ (?:re-?check|re-?consider|double[ -]check)(?:\ (?:that|this|it))?
          |(?<=,\ )no(?=,)
        )\b
        (?:\s*[,.:!]*\s*(?:wait|actually|no)\b(?!\s*[.!]?\s*\Z))*[\s,.:!-]*""",
    re.IGNORECASE | re.VERBOSE,
)
_NEAR_THE_END = 400
"""Characters at the end of a text that are searched for a correction."""
_EMPHASIS = re.compile(r"\*\*|__+|`+")


def without_thinking(text: str) -> str:
    """Remove the reasoning between tags such as ``<think>``; return nothing if it never ends."""
    if "<" in text and _TAGS_OF_THINKING.search(text):
        text = _OPEN_THINK.sub("", _CLOSE_THINK.sub("", _THINK.sub("", text)))
    return text


def cleaned(response: str) -> tuple[str, str]:
    """Return the text to search for an answer; if it is empty, also the reason."""
    text = response
    if "<<" in text:
        text = _CALCULATOR.sub("", text)
    if "<" in text and not (text := without_thinking(text)).strip():
        return "", "the reasoning never ended"
    if not text.isascii():
        text = _plain(text)
    text = text.strip()
    run_on = _RUN_ON.search(text)
    if run_on and run_on.start() > 0:
        text = text[: run_on.start()].rstrip()
    return text, "" if text else "the response is empty"


def _plain(text: str) -> str:
    """Rewrite a text in the signs that the patterns know.

    Quotes, blanks, digits, fractions, powers and "the answer is" get one spelling each.
    """
    for sign, plain in _PLAIN.items():  # takes a tenth of the time of str.translate
        text = text.replace(sign, plain)
    if text.isascii():
        return text
    text = _RAISED.sub(
        lambda match: "^" + unicodedata.normalize("NFKC", match.group()).replace("−", "-"), text
    )
    text = unicodedata.normalize("NFKC", _VULGAR.sub(" ", text)).replace("⁄", "/")
    text = _OTHER_DIGIT.sub(
        lambda match: str(unicodedata.decimal(match.group(), match.group())), text
    )
    return _BESIDE_IDEOGRAM.sub(" ", _ANSWER_ELSEWHERE.sub(" the answer is ", text))


def corrected(text: str) -> str | None:
    """Return what follows an answer's last self-correction, "(A). Wait, actually (B)", if any."""
    lower = text.casefold()
    if not any(map(lower.__contains__, _CORRECTING)):
        return None
    near = text[-_NEAR_THE_END:]
    ends = [match.end() for match in _CORRECTION.finditer(near)]
    return near[ends[-1] :] if ends else None


def statement(text: str) -> Statement:
    """Return the part of a ``cleaned`` text where the answer should stand."""
    if "<" in text and (tags := _TAG.findall(text)):
        return Statement(tags[-1][1], "tag")
    if "\\boxed" in text or "\\fbox" in text:
        box = last_box(text)
        if box is not None:
            return Statement(box, "boxed")
    if text.endswith(("}", "```")) and (values := _JSON.findall(text)):
        return Statement(values[-1].strip("\"' "), "json")
    if "####" in text and (lines := _HASH.findall(text)):
        return Statement(lines[-1], "hash")
    tail = after_marker(text)
    if tail is None:
        return Statement(text, "text")
    heads = tail.lstrip(" *_:").startswith("\n") and "\n" in tail.strip()
    return Statement(tail.strip(), "heading" if heads else "marker")


def after_marker(text: str) -> str | None:
    """Return what follows the last announcement of an answer, maybe nothing; None without one."""
    # Searching for the words from the end takes a tenth of the time of searching with the pattern.
    lower = "\n" + text.lower()
    best = end = -1
    for word in _MARKER_WORDS:
        at = lower.rfind(word, best + 1)
        while at > best:
            start = at + 1 if word[0] == "\n" else at
            match = _MARKER.match(lower, start)
            if match and not (start and lower[start - 1].isalnum()):
                best, end = at, match.end()
                break
            at = lower.rfind(word, best + 1, at)
    return None if best < 0 else text[end - 1 :]


def last_box(text: str) -> str | None:
    r"""Return the content of the last ``\\boxed{…}``; None if it is not closed."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    start = text.find("{", at)
    if start < 0:
        return text[at:].split()[1].strip("$.") if len(text[at:].split()) > 1 else None
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start + 1 : i].strip()
    return None


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return text.strip().partition("\n")[0].strip()


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return text.strip().rpartition("\n")[2].strip()


_SENTENCE = re.compile(r"[.!?][\"')\]]*\s+(?=\S)|\n+")


def sentences(text: str) -> list[str]:
    """Split a text roughly into sentences: at full stops before a blank, and at line ends."""
    parts, start = [], 0
    for cut in _SENTENCE.finditer(text):
        end = cut.start() + (text[cut.start()] != "\n")
        parts.append(text[start:end])
        start = cut.end()
    parts.append(text[start:])
    return [part for part in parts if part and part.strip()]


def without_emphasis(text: str) -> str:
    """Remove Markdown's bold and code marks."""
    return _EMPHASIS.sub("", text) if "**" in text or "`" in text or "__" in text else text


def without_latex_text(text: str) -> str:
    r"""Replace ``\\text{B}`` by ``B``."""
    return _LATEX_TEXT.sub(r"\1", text) if "\\" in text else text


_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")

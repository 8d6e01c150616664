"""Find the places of a text that announce an answer, the last one first.

"We get 18 + 38 = 56. So the answer is 56."   →   Statement("56.", rule="marker")
"""

import re
from collections.abc import Iterator

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case
from orcinus.verifiers.answers.solutions import last_box, last_hash
from orcinus.verifiers.answers.text import Statement, sentences

_OPEN_TAG = compile_later(r"<(answer|final_answer|final)>", re.IGNORECASE)
_JSON = compile_later(
    r"[\"'](?:final_|correct_)?(?:answer|choice|option|result|solution|total|label|prediction|verdict)[\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\[[^\]]*\]|[^,}\n]+)",
    re.IGNORECASE,
)
_ONLY_VALUE = compile_later(
    r"(?:\A|\n)[ \t]*\{\s*\"\w{1,40}\"\s*:\s*"
    r"(\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|[^,{}\[\]\n]+)\s*\}[\s`]*\Z"
)
"""The value of a JSON object with one key, as the whole answer."""
_MARKER = compile_later(
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
    re.VERBOSE,
)
"""Announces an answer, in lower case. Parentheses between the word and the verb come from the
question: "(Yes or No)", "(arabic numerals)"."""
_A = "\na:"
MARKER_WORDS = (
    "answer",
    "choice",
    "option",
    "conclusion",
    "final solution",
    _A,
    "sorted",
    "alphabetical order",
)
_MOST_MARKERS = 3
"""Announcements. An announcement that says nothing, "the answer is clear", leaves it to earlier
ones."""
_MOST_TRIES = 60
"""Places of one word that are tried; a loop of a word costs no more."""
BEFORE_MARKER = 24
"""Characters before an announcement that may say that it announces something else."""
_OPTIONS = compile_later(r"\W*(?:options|choices)\b")
"""Heads the list of all options, which announces none."""
_NOT_THE_ANSWER = compile_later(
    r"\b(?:wrong|incorrect|false|other|another|bad|rejected|eliminated|excluded|remaining"
    r"|invalid|not\s+an?"
    r"|not\s+the|possible|distractor|unlikely|alternative|each|every|all|these|those|both"
    r"|of\s+the|doubt(?:ful)?(?:\s+(?:that|if|whether))?(?:\s+the)?|second|third|next\s+best)[\s*_]+(?:the\s+)?(?:final\s+|answer\s+)?\Z"
)
"""Words before "answer:" that make it no announcement."""
_SAYS_NOTHING = compile_later(
    r"[\s*_]*(?:(?:indeed\s+|therefore\s+|also\s+)?(?:correct|right|wrong|incorrect|clear"
    r"|obvious|verified|"
    r"confirmed|as\s+follows|below|above|given\s+(?:below|above|by)|based\s+on"
    r"|in\s+the\s+(?:correct|form)|"
    r"supported|unchanged|the\s+same|consistent|reasonable|straightforward)\b[^\n\w]*(?=\n|\Z"
    r"|[.,;!])"
    r"|(?:decided|determined|derived|obtained|explained|supported)\s+(?:by|from|with|in)\b)"
)
_IF = compile_later(r"\bif\b[^.!?\n]{0,100}\Z")
"""Opens the condition of an announcement, which counts only where there is no other."""
_JUDGEMENT = compile_later(r"(?:in)?correct|right|wrong")


def statements(text: str) -> Iterator[Statement]:
    """Yield the places of a ``cleaned`` text that announce an answer, the last one first.

    Most texts have no marks, and of their announcements only the last is asked for.
    """
    if marked := _marked_places(text):
        places = [*marked, *announcements(text)]
        yield from sorted(places, key=lambda place: place.start, reverse=True)
    else:
        yield from announcements(text)


def _marked_places(text: str) -> list[Statement]:
    """Return the places that a mark announces: a tag, a box, a key of JSON, or hashes."""
    places = []
    if "<" in text and (tags := list(_OPEN_TAG.finditer(text))):
        tag = tags[-1]
        end = lower_case(text).find(f"</{tag[1].lower()}", tag.end())
        inside = text[tag.end() : end if end >= 0 else len(text)]
        places.append(Statement(inside.strip(), "tag", tag.start()))
    if "\\" in text and (box := last_box(text)) is not None:
        places.append(Statement(box.content, "boxed", box.start))
    if text.endswith(("}", "```")):
        values = list(_JSON.finditer(text)) or list(_ONLY_VALUE.finditer(text))
        if values:
            places.append(Statement(values[-1][1].strip("\"' "), "json", len(text)))
    if (line := last_hash(text)) is not None:
        places.append(Statement(line[1], "hash", line.start()))
    return places


def announcements(text: str) -> Iterator[Statement]:
    """Yield the places behind the last markers, the last one first."""
    for start, end in _markers(text):
        tail = text[end:]
        said = tail.strip()
        heads = "\n" in said and tail.lstrip(" *_:").startswith("\n")
        if heads and _OPTIONS.match(lower_case(text[start : start + BEFORE_MARKER])):
            continue
        yield Statement(said, "heading" if heads else "marker", start)


def after_marker(text: str) -> str | None:
    """Return what follows the last announcement of an answer, maybe nothing; None without one."""
    return next((text[end:] for _, end in _markers(text)), None)


def _markers(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the last ``_MOST_MARKERS`` announcements, the last one first."""
    # Searching for the words from the end takes a tenth of the time of searching with the pattern.
    lower = "\n" + lower_case(text)
    nexts = [
        (at, word)
        for word in MARKER_WORDS
        if (at := lower.rfind(word)) >= 0
        and (word != _A or "\nb:" not in lower)  # the rows of a listing
    ]
    tries = dict.fromkeys(MARKER_WORDS, 0)
    found = 0
    supposed: list[tuple[int, int]] = []
    while nexts and found < _MOST_MARKERS:
        at, word = last = max(nexts)
        nexts.remove(last)
        start = at + 1 if word == _A else at
        match = _MARKER.match(lower, start)
        if (
            match
            and not (start and lower[start - 1].isalnum())
            and (word == _A or not announces_another(lower, start))
            and not _says_nothing(lower, match)
        ):
            found += 1
            span = max(0, at - 1), match.end() - 1
            if " would" in match[0] and _IF.search(lower, 0, start):
                supposed.append(span)
            else:
                yield span
        tries[word] += 1
        if tries[word] < _MOST_TRIES and (at := lower.rfind(word, 0, at)) >= 0:
            nexts.append((at, word))
    yield from supposed


def announces_another(lower: str, start: int) -> bool:
    """Return True if the words before "answer:" make it no announcement: "the wrong answer"."""
    begin = max(0, start - BEFORE_MARKER)
    if lower.endswith(("so the ", ", the ", ". the ", ".\nthe "), begin, start):
        return False  # nearly always, and cheaper than the pattern
    return _NOT_THE_ANSWER.search(lower, begin, start) is not None


def _says_nothing(lower: str, announced: "re.Match[str]") -> bool:
    """Return True if no answer follows: "the answer is correct", but not "answer: correct"."""
    said = _SAYS_NOTHING.match(lower, announced.end())
    return said is not None and not (
        announced[0].rstrip().endswith(":") and _JUDGEMENT.fullmatch(said[0].strip(" *_.!"))
    )


def explains_only(text: str, start: int) -> bool:
    """Return True if the rest of a text explains the answer before it and arrives at no other."""
    return _ARRIVES.search(text, start) is None


_ARRIVES = compile_later(
    r"[=:?]|\b(?:so|therefore|thus|hence|total|altogether|in\s+all|answer|final(?:ly)?|means|gets?|gives?|leaves"
    r"|makes?|conclude|but|however|actually|instead|remain(?:s|ing)?|left|now)\b",
    re.IGNORECASE,
)
"""What a sentence holds that goes on to another answer."""
_LABELS = (
    "label", "verdict", "class", "predict", "categ", "relation", "sentiment", "judg", "decision",
    "polarity", "stance",
)  # fmt: skip
"""What a label holds, in lower case; asked first."""
_LABEL_LINE = compile_later(
    r"^\W*(?:(?:final|predicted|my|the|overall)\s+)?(?:label|verdict|class(?:ification)?|prediction"
    r"|category|relation(?:ship)?|sentiment|judge?ment|decision|polarity|stance)[*_ ]*:\s*(\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line of its own that names its answer."""
_CONCLUSION = compile_later(
    r"(?:^|[.!?,;]\s+)(?:so|therefore|thus|hence|overall|finally|in\s+conclusion)\b",
    re.IGNORECASE | re.MULTILINE,
)


def labelled(text: str) -> str | None:
    """Return the sentence behind the last label of a line, "Verdict: no".

    It is None without one, and where a conclusion follows.
    """
    if ":" not in text or not any(map(lower_case(text).__contains__, _LABELS)):
        return None
    lines = list(_LABEL_LINE.finditer(text))
    if not lines or _CONCLUSION.search(text, lines[-1].end()):
        return None
    return sentences(lines[-1][1])[0]

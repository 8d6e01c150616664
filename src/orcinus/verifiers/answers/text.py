"""Find the final answer: the last explicit statement in the final channel of a response.

    "We get 18 + 38 = 56. So the answer is 56."   →   Statement("56.", rule="marker")

Five stages lead to a verdict, and the finders of all answer types share the first two:

    channel     ``channels``, ``tails``      what the response says to its reader, without tails
    statement   this module, ``corrections`` the places that announce an answer, the last one first
    piece       the module of the type       the words of a place that hold the answer
    reading     the module of the type       what they mean
    comparison  the module of the type       whether that is the reference
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from orcinus.core.types import Confidence
from orcinus.verifiers.answers.abroad import in_english
from orcinus.verifiers.answers.channels import final_channel, lower_case, plain_text
from orcinus.verifiers.answers.corrections import (
    Correction,
    bare_answer,
    concluding_answer,
    correction,
    restated,
)
from orcinus.verifiers.answers.solutions import last_box, last_hash
from orcinus.verifiers.answers.tails import is_tail, without_preamble, without_tail


# Not frozen: some are made for every verdict, and a frozen one takes three times as long.
@dataclass(slots=True)
class Statement:
    """The part of a text that should hold the answer."""

    text: str
    rule: str
    """How it was found: ``tag``, ``boxed``, ``json``, ``hash``, ``marker``, ``heading`` (a line of
    its own announces what follows), or ``text`` if nothing announced an answer."""
    start: int = 0
    """Where the announcement begins."""


@dataclass(slots=True)
class FoundAnswer:
    """The answer that a finder understood, or why there is none."""

    answer: str | None
    rule: str
    """The rule that found the answer, or why there is none."""
    several: bool = False
    """True if two or more different answers were given, which counts as a wrong answer."""
    confidence: Confidence = "explicit"
    whole: str | None = None
    """The whole line, where ``answer`` is a part of it; a reference may equal either."""


@dataclass(slots=True)
class Outcome:
    """A verdict before it belongs to an attempt."""

    value: float | None
    answer: str | None
    """The final answer as it was understood; None if none was found."""
    reason: str
    confidence: Confidence | None = None
    """How the answer was found; None without one."""


Reader = Callable[[Statement, str], FoundAnswer | None]
"""Reads one place of a text: (place, text) → answer, or why there is none.

It returns None if the place holds nothing that it can read, so that an earlier place may."""


_RUN_ON = re.compile(
    r"\n[ \t]*(?:Q:|Question:|\[Question\]|### ?(?:Question|Instruction)|Human:|User:)",
    re.IGNORECASE,
)
_REPLIES = re.compile(r"\s*(?:so|thus|therefore|hence|that|it|this|the|we)\b", re.IGNORECASE)
_OPEN_TAG = re.compile(r"<(answer|final_answer|final)>", re.IGNORECASE)
_JSON = re.compile(
    r"[\"'](?:final_|correct_)?(?:answer|choice|option|result|solution|total|label|prediction|verdict)[\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\[[^\]]*\]|[^,}\n]+)",
    re.IGNORECASE,
)
_ONLY_VALUE = re.compile(
    r"(?:\A|\n)[ \t]*\{\s*\"\w{1,40}\"\s*:\s*"
    r"(\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|[^,{}\[\]\n]+)\s*\}[\s`]*\Z"
)
"""The value of a JSON object with one key, as the whole answer."""
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
    re.VERBOSE,
)
"""Announces an answer, in lower case. Parentheses between the word and the verb come from the
question: "(Yes or No)", "(arabic numerals)"."""
_A = "\na:"
_MARKER_WORDS = (
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
_BEFORE = 24
"""Characters before an announcement that may say that it announces something else."""
_OPTIONS = re.compile(r"\W*(?:options|choices)\b")
"""Heads the list of all options, which announces none."""
_NOT_THE_ANSWER = re.compile(
    r"\b(?:wrong|incorrect|false|other|another|bad|rejected|eliminated|excluded|remaining"
    r"|invalid|not\s+an?"
    r"|not\s+the|possible|distractor|unlikely|alternative|each|every|all|these|those|both"
    r"|of\s+the)[\s*_]+(?:the\s+)?(?:final\s+|answer\s+)?\Z"
)
"""Words before "answer:" that make it no announcement."""
_SAYS_NOTHING = re.compile(
    r"[\s*_]*(?:(?:indeed\s+|therefore\s+|also\s+)?(?:correct|right|wrong|incorrect|clear"
    r"|obvious|verified|"
    r"confirmed|as\s+follows|below|above|given\s+(?:below|above|by)|based\s+on"
    r"|in\s+the\s+(?:correct|form)|"
    r"supported|unchanged|the\s+same|consistent|reasonable|straightforward)\b[^\n\w]*(?=\n|\Z"
    r"|[.,;!])"
    r"|(?:decided|determined|derived|obtained|explained|supported)\s+(?:by|from|with|in)\b)"
)
_JUDGEMENT = re.compile(r"(?:in)?correct|right|wrong")
_LAST_WORDS = 60
"""Characters at the end of a text that show whether it breaks off."""
_OPEN_CLAUSE = re.compile(
    r"(?<![\w'])(?:the|a|an|of|to|is|are|was|were|and|or|then|we|so|because|"
    r"since|with|in|by|for|that|which|if|from|at|as|have|has|had|i|(?:and|that|then|so|if|but)\s+it|its|their|his|her|this"
    r"|these|be|"
    r"will|would|can|could|should|gives?|let|than|into|per|but|when|where|while|also|need|needs"
    r"|get|"
    r"equals?|plus|minus|times|not|before|after|until|unless|although|though|whereas|among|without|within|upon|about|around|approximately|roughly|nearly|almost|each|every|my"
    r"|your|our|through|during|between|very|such|whose|they|he|she)\s*\Z"
)
"""What no finished sentence ends with. Only lower-case words: "I" and "A" may be answers."""
_OPEN_CLAUSE_ABROAD = re.compile(
    r"(?<=[^.。!?！？,，:：\n]{5})[是为為在与與和或被把将將はがをにで를을]\Z"
)
"""The particle that a sentence breaks off behind, in scripts without blanks."""
_OPEN_FORMULA = re.compile(r"(?:[=/×÷^\\(,]|(?<=\s)\+|(?<=[\w)]\s)\*|(?<=\d)\*)\Z")
"""The last sign of a text that breaks off within a formula."""
_LAST_STEP = 200
"""Characters at the end of a text in which its last step may begin."""
_STEP = re.compile(
    r"(?:first|second|third|next|then|now|finally|after\s+that|step\s+\w+|let(?:'s|\s+us|\s+me)|to\s+\w+)\b[,:]?"
    r"(?:\s+[^\W\d]+,?){2,}",
    re.IGNORECASE,
)
"""A sentence in words alone that opens a step: "Next we need to subtract"."""
_SHORT_TEXT = 4
"""Words. A text as short as this is an answer, whichever word it ends with."""
_BRACKETS = "()[]{}"
_MARKS = " \t\n*_:.…'\"`$\\-"
"""Signs that hold no answer by themselves."""
_UNCHECKED = re.compile(r"^[ \t]*(?:[-*+]\s*)?(?:\[ ?\]|☐|⬜|◯|○)\s.*$", re.MULTILINE)
"""A row of a list whose box is left empty."""
_CHECKED = re.compile(r"^([ \t]*(?:[-*+]\s*)?)(?:\[[xX✓✔]\]|[☑☒✅◉●])\s+", re.MULTILINE)
_JUDGING = ("rader", "rading", "ubric", "reference")
"""What a sentence to a judge holds; asked first, because the pattern is expensive."""
_TO_THE_JUDGE = re.compile(
    r"(?:^|(?<=[.!?]\s))(?![^.!?\n]*\b(?:answer|option)\s*(?:is\b|:))[^.!?\n]*"
    r"\b(?:the\s+grader|graders?(?=:)|grading|rubric|the\s+reference(?:\s+answer)?\s+(?:is|was|says))\b[^\n!?]*?"
    r"(?:[.!?](?=\s|\Z)|$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A sentence that speaks to a judge, or of what it holds, and announces no answer."""
_QUOTE_MARK = re.compile(r"^(?:>[ \t]?)+(?=[\w*\\$])", re.MULTILINE)
"""Before each line of a quotation in Markdown."""
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_ITALICS = re.compile(r"\*(?<![\w*]\*)(?=[^\s*])([^*\n]+)(?<!\s)\*(?![\w*])")
_EMPHASIS = re.compile(r"[*_`](?:(?<=\*)\*(?!(?<=\d\*\*)-?\d)|(?<=_)_+|(?<=`)`*)")
"""Marks of emphasis and of code; between two numbers, 10**8, they raise to a power."""


def cleaned(response: str) -> tuple[str, str]:
    """Return the text to search for an answer; if it is empty, also the reason."""
    text = final_channel(response)
    if not text or text.isspace():
        return "", "the reasoning never ended" if response.strip() else "the response is empty"
    text = plain_text(text)
    if "<<" in text:
        text = _CALCULATOR.sub("", text)
    text = in_english(text)
    if "[ ]" in text or "☐" in text:
        text = _without_unchecked(text)
    if text.startswith(">") or "\n>" in text:
        text = _QUOTE_MARK.sub("", text)
    if any(map(text.__contains__, _JUDGING)):
        text = _TO_THE_JUDGE.sub("", text)
    text = text.strip()
    run_on = _RUN_ON.search(text)
    if run_on and run_on.start() > 0 and not _asks_itself(text, run_on):
        text = text[: run_on.start()].rstrip()
    if text.endswith(":"):
        text = _without_open_repetition(text)
    return without_preamble(without_tail(text)), "" if text else "the response is empty"


def _asks_itself(text: str, run_on: re.Match[str]) -> bool:
    """Return True if a last line repeats the question and answers it, after no answer yet."""
    rest = text[run_on.end() :]
    _, _, reply = rest.partition("?")
    return (
        "\n" not in rest.strip()
        and _REPLIES.match(reply) is not None
        and next(statements(text[: run_on.start()]), None) is None
    )


def _without_open_repetition(text: str) -> str:
    """Remove a last line "Answer:" that only begins to repeat the line before it."""
    before, _, last = text.rpartition("\n")
    head = last.strip()
    if head.endswith(":") and last_line(before).startswith(head) and last_line(before) != head:
        return before.rstrip()
    return text


def _without_unchecked(text: str) -> str:
    """Keep the checked rows of a list with boxes: "[x] Yes", "[ ] No"."""
    checked, boxes = _CHECKED.subn(r"\1", text)
    return _UNCHECKED.sub("", checked) if boxes else text


_PLAIN_ENDING = re.compile(
    r" *(?:(?:(?:so|therefore|thus|hence),? )?(?:the )?(?:final |correct )?(?P<word>answer)"
    r"(?: \((?:yes or no|arabic numerals)\))?(?: is:?|:) |(?P<label>a: )|(?P<hash>#### ?))?"
    r"(?P<said>-?\$?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?%?\.?|\(?[a-z]\)?\.?"
    r"|(?:yes|no|true|false)\.?)",
    re.IGNORECASE,
)
"""A last sentence that announces a number, a letter or a truth value; or nothing but one."""
_LONGEST_PLAIN = 5_000
"""Characters of a response with a plain ending. In a longer one, tags may be too many to search."""
_TAG = re.compile(r"<[a-z/|]|\[(?: |/?(?:think|inst))\]", re.IGNORECASE)
"""What every tag or token in ASCII begins with; or an empty box of a list."""


def _may_run_on(text: str) -> bool:
    """Return True if a text holds a sign of a next question; asked before its pattern."""
    return ":" in text or "#" in text or "[" in text


def find_plainly(response: str, read: Reader, *, cut_off: bool) -> FoundAnswer | None:
    """Return what ``cleaned`` and ``find_final`` would find, in a fifth of the time, or None.

    Most responses end in "The answer is 42." or are nothing but "42". Then the ending decides alone
    because each stage leaves it as it is. There is no tag or token before it that changes the
    channel, no next question that cuts it off, and it is no tail. It is the last announcement, and
    what it says takes nothing back. The test of this compares both ways on texts of all kinds.

    Args:
        response: What the model wrote.
        read: Reads one place. What it says of a plain ending depends on that place alone.
        cut_off: True if the response stopped at the token limit.
    """
    text = response.strip()
    line = text.rfind("\n") + 1
    start = max(line, text.rfind(". ") + 1)
    ending = _PLAIN_ENDING.fullmatch(text, start)
    if ending is None and (comma := text.rfind(", ", start)) > 0:
        ending = _PLAIN_ENDING.fullmatch(text, comma + 2)
        if ending is not None and not ending["word"]:
            return None
    if (
        ending is None
        or len(response) > _LONGEST_PLAIN
        or not text.isascii()
        or "\r" in text
        or text.startswith(("analysis", "commentary"))
        or (("<" in text or "[" in text) and _TAG.search(text))
        or ("&" in text and ";" in text)
        or (line and _may_run_on(text) and _RUN_ON.search(text))
        or (line and ending.start() > line and is_tail(text[line:]))
    ):
        return None
    said = ending["said"]
    if ending["word"]:
        at = ending.start("word")
        near = text[max(0, at - 2 * _BEFORE) : at].lower()
        if _announces_another(near, len(near)):
            return None
        place = Statement(said, "marker")
    elif ending["label"]:
        if start != line or said.strip("().").isalpha() or "\nb:" in f"\n{text}".lower():
            return None  # it may be the label of an option
        place = Statement(said, "marker")
    elif ending["hash"]:
        place = Statement(said, "hash")
    else:
        return None if start or cut_off else read(Statement(text, "text"), text)
    found = read(place, text)
    return None if found is None else _explicit(found, place.rule)


def find_final(
    text: str, read: Reader, *, cut_off: bool = False, may_end_open: bool = False
) -> FoundAnswer:
    """Return the last answer that a ``cleaned`` text states and that ``read`` understands.

    A correction comes first, then the announcements from the last to the first, then the text.

    Args:
        text: The text.
        read: Reads one place.
        cut_off: True if the text stopped at the token limit; then only what it announced counts.
        may_end_open: True if a bracket or a word like "with" may end an answer.
    """
    places = statements(text)
    place = next(places, None)
    nothing = "no answer is given" if place is None else "the answer is announced but not given"
    fix = correction(text, 0 if place is None else place.start + 1)
    if fix is not None and (found := _read_correction(fix, read)) is not None:
        return replace(found, rule=f"corrected: {found.rule}", confidence="explicit")
    while place is not None:
        if not place.text.strip(_MARKS if may_end_open else _MARKS + _BRACKETS):
            return FoundAnswer(None, "the answer is announced but not given")
        if (
            place.rule == "marker"
            and not may_end_open
            and _ends_in_formula(place.text)
            and len(sentences(place.text)) == 1
            and not (place.text.endswith(",") and len(place.text.split()) == 1)
        ):
            return FoundAnswer(None, "the text breaks off")
        found = read(place, text)
        if found is not None:
            if found.several and (decided := _decided_below(place, read)) is not None:
                return decided
            return _explicit(found, place.rule)
        place = next(places, None)
    if cut_off:
        return FoundAnswer(None, "cut off before an answer was announced")
    if not may_end_open and is_broken_off(text):
        return FoundAnswer(None, "the text breaks off")
    return read(Statement(text, "text"), text) or FoundAnswer(None, nothing)


def _decided_below(place: Statement, read: Reader) -> FoundAnswer | None:
    """Return the one answer that later sentences of a place choose among several."""
    first, *later = sentences(place.text)
    rest = " ".join(later)
    found = read(Statement(rest, "text"), rest) if rest else None
    if found is None or found.answer is None or found.several or found.confidence == "guessed":
        return None
    return replace(found, confidence="explicit") if found.answer in first else None


def _explicit(found: FoundAnswer, rule: str) -> FoundAnswer:
    """Return an answer as one that a place with that rule announces."""
    return FoundAnswer(
        found.answer,
        f"{rule}: {found.rule}",
        found.several,
        "guessed" if found.confidence == "guessed" else "explicit",
        found.whole,
    )


def _read_correction(fix: Correction, read: Reader) -> FoundAnswer | None:
    """Read what a correction says instead; None if it says nothing that can be read."""
    for place in _restatements(fix):
        found = read(place, fix.rest) if place.text.strip(_MARKS) else None
        if found is not None and found.answer is not None:
            return found
    if not fix.strong:
        return None
    found = read(Statement(fix.rest.strip(" ,.:!-\n"), "text"), fix.rest)
    return found if found is not None and found.answer is not None else None


def _restatements(fix: Correction) -> list[Statement]:
    """Return the places of a correction that state another answer."""
    stated = list(islice(statements(fix.rest), 1))
    cue = restated(fix.rest)
    if cue is not None and not (stated and len(stated[0].text) <= len(cue)):
        stated.append(Statement(cue.strip(), "marker"))
    elif not stated and (bare := concluding_answer(fix.rest) or bare_answer(fix.rest)):
        stated.append(Statement(bare, "marker"))
    return stated


def statement(text: str) -> Statement:
    """Return the part of a ``cleaned`` text where the answer should stand."""
    place = next(statements(text), None)
    fix = correction(text, 0 if place is None else place.start + 1)
    if fix is not None and (stated := _restatements(fix)):
        return stated[0]
    return place or Statement(text, "text")


def statements(text: str) -> Iterator[Statement]:
    """Yield the places of a ``cleaned`` text that announce an answer, the last one first.

    Most texts have no marks, and of their announcements only the last is asked for.
    """
    if marked := _marked_places(text):
        places = [*marked, *_announcements(text)]
        yield from sorted(places, key=lambda place: place.start, reverse=True)
    else:
        yield from _announcements(text)


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


def _announcements(text: str) -> Iterator[Statement]:
    """Yield the places behind the last markers, the last one first."""
    for start, end in _markers(text):
        tail = text[end:]
        said = tail.strip()
        heads = "\n" in said and tail.lstrip(" *_:").startswith("\n")
        if heads and _OPTIONS.match(lower_case(text[start : start + _BEFORE])):
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
        for word in _MARKER_WORDS
        if (at := lower.rfind(word)) >= 0
        and (word != _A or "\nb:" not in lower)  # the rows of a listing
    ]
    tries = Counter[str]()
    found = 0
    while nexts and found < _MOST_MARKERS:
        at, word = last = max(nexts)
        nexts.remove(last)
        start = at + 1 if word == _A else at
        match = _MARKER.match(lower, start)
        if (
            match
            and not (start and lower[start - 1].isalnum())
            and not _announces_another(lower, start)
            and not _says_nothing(lower, match)
        ):
            found += 1
            yield max(0, at - 1), match.end() - 1
        tries[word] += 1
        if tries[word] < _MOST_TRIES and (at := lower.rfind(word, 0, at)) >= 0:
            nexts.append((at, word))


def _announces_another(lower: str, start: int) -> bool:
    """Return True if the words before "answer:" make it no announcement: "the wrong answer"."""
    begin = max(0, start - _BEFORE)
    if lower.endswith(("so the ", ", the ", ". the ", ".\nthe "), begin, start):
        return False  # nearly always, and cheaper than the pattern
    return _NOT_THE_ANSWER.search(lower, begin, start) is not None


def _says_nothing(lower: str, announced: "re.Match[str]") -> bool:
    """Return True if no answer follows: "the answer is correct", but not "answer: correct"."""
    said = _SAYS_NOTHING.match(lower, announced.end())
    return said is not None and not (
        announced[0].rstrip().endswith(":") and _JUDGEMENT.fullmatch(said[0].strip(" *_.!"))
    )


def is_broken_off(text: str) -> bool:
    """Return True if a text ends within a formula or a clause: "Then 156 + 4 =", "(B) is"."""
    end = text[-_LAST_WORDS:]
    return (
        _ends_in_formula(end)
        or ("\\boxed{" in end and last_box(text) is None)
        or (not end.isascii() and _OPEN_CLAUSE_ABROAD.search(end) is not None)
        or (_OPEN_CLAUSE.search(end) is not None and len(end.split()) > _SHORT_TEXT)
        or _ends_in_a_step(text)
    )


def _ends_in_a_step(text: str) -> bool:
    """Return True if the last sentence opens another step, and has neither a stop nor a number."""
    if not text[-1:].isalpha():
        return False
    last = sentences(text[-_LAST_STEP:])[-1:]
    return bool(last) and len(last[0]) < len(text) and _STEP.fullmatch(last[0].strip()) is not None


def _ends_in_formula(text: str) -> bool:
    end = text.rstrip()
    return _OPEN_FORMULA.match(end, max(0, len(end) - 1)) is not None


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return text.strip().partition("\n")[0].strip()


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return text.strip().rpartition("\n")[2].strip()


_SENTENCE = re.compile(r"[.!?\n](?:(?<=\n)\n*|(?<!\n)[\"')\]]*\s+(?=\S))")
"""Begins with one set of characters, to which the search can jump."""


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
    """Remove Markdown's marks of emphasis and of code."""
    if "**" in text or "`" in text or "__" in text:
        text = _EMPHASIS.sub("", text)
    return _ITALICS.sub(r"\1", text) if "*" in text else text


def without_latex_text(text: str) -> str:
    r"""Replace ``\\text{B}`` by ``B``."""
    return _LATEX_TEXT.sub(r"\1", text) if "\\" in text else text


_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")

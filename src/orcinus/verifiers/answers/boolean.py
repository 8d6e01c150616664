"""Find an answer of yes or no, true or false.

find_bool("No doubt, it is true.")   →  FoundAnswer("yes", …)
find_bool("False or True is True")   →  FoundAnswer("yes", …): the result of the expression
"""

import re
from dataclasses import replace

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case
from orcinus.verifiers.answers.cleaning import cleaned
from orcinus.verifiers.answers.denials import holds_denial, is_denied, is_doubted_at
from orcinus.verifiers.answers.failures import has_refusal
from orcinus.verifiers.answers.final_answer import find_final
from orcinus.verifiers.answers.plain_endings import find_plainly
from orcinus.verifiers.answers.polarity import polarity
from orcinus.verifiers.answers.statements import labelled
from orcinus.verifiers.answers.text import (
    FoundAnswer,
    Statement,
    sentences,
    without_emphasis,
    without_latex_text,
)

_ENGLISH = {
    "yes": "yes",
    "yep": "yes",
    "yeah": "yes",
    "yup": "yes",
    "true": "yes",
    "no": "no",
    "nope": "no",
    "nah": "no",
    "false": "no",
}
_ABROAD = {
    "yes": (
        "ja wahr richtig stimmt oui vrai exact sí sì si verdadero cierto sim verdadeiro vero tak",
        "prawda да верно правда так істина evet doğru có đúng ya benar ναι σωστό ano pravda",
        "verdad verdade verità",
        "igen igaz kyllä jah adevărat 是 是的 对 對 正确 正確 真 はい 正しい 네 예 맞습니다 참",
        "نعم صحيح بله درست हाँ हां सही जी כן נכון ใช่ จริง",
    ),
    "no": (
        "nein falsch non faux falso não nao nie fałsz нет неверно неправда ложь ні hayır yanlış",
        "không sai tidak bukan salah όχι λάθος ne nem hamis ei nej nee onwaar nu",
        "否 不 不是 不对 不對 错误 錯誤 错 錯 假 いいえ 違います 正しくない",
        "아니요 아니오 아니다 거짓",
        "لا خطأ خیر نه غلط नहीं गलत לא ไม่ ไม่ใช่ เท็จ",
    ),
}
"""Words of other languages; they count only at the start of a text or of its answer."""
_WORDS_ABROAD = {
    word: value for value, lines in _ABROAD.items() for line in lines for word in line.split()
}
_VALUES = {**_WORDS_ABROAD, **_ENGLISH}
_OPPOSITE = {"yes": "no", "no": "yes"}
_WORD = compile_later(rf"(?<![\w'-])(?=[ytnf])({'|'.join(_ENGLISH)})(?![\w'-])")
"""A truth value in lower case."""
_FIRST_WORD = compile_later(rf"\W*({'|'.join(_ENGLISH)})(?=[\s.,;:!]|\Z)", re.IGNORECASE)
_ALONE = compile_later(rf"\W*({'|'.join(_ENGLISH)})\W*", re.IGNORECASE)
_INITIAL = compile_later(r"\W*([YNTFyn])\W*")
"""A truth value in one letter, and nothing else."""
_SPACED_ABROAD = "|".join(
    sorted((re.escape(word) for word in _WORDS_ABROAD if not "぀" <= word[0] <= "鿿"), key=len)[::-1]
)
_UNSPACED_ABROAD = "|".join(
    sorted((re.escape(word) for word in _WORDS_ABROAD if "぀" <= word[0] <= "鿿"), key=len)[::-1]
)
_IT_IS_ABROAD = r"(?:(?:das ist|es ist|c'est|es|è|é|isso é|это|dat is|det är|to)\s+)?"
_FIRST_WORD_ABROAD = compile_later(
    rf"\W*(?:{_IT_IS_ABROAD}({_SPACED_ABROAD})(?=[\s.,;:!،।]|\Z)|({_UNSPACED_ABROAD}))",
    re.IGNORECASE,
)
_AND_ITS_OPPOSITE = compile_later(
    r"[\s,]+(?:e|y|und|et|и|en|och|og|o|oder|ou|или)\s+(?:no|nein|non|нет|nee|nej|nei|não)\b",
    re.IGNORECASE,
)
_PAIR = r"(?:yes\W+{0}\W+no|no\W+{0}\W+yes|true\W+{0}\W+false|false\W+{0}\W+true)"
_BOTH = compile_later(
    rf"\b(?:{_PAIR.format('(?:and|or|nor)')}|(?:yes|no|true|false)\s*/\s*(?:yes|no|true|false))\b",
    re.IGNORECASE,
)
_TRIGGER = compile_later(
    r"[(\[]\s*(?:answer\s+)?(?:with\s+)?(?:yes|no|true|false)\s*(?:or|/|,|\|)\s*(?:yes|no|true"
    r"|false)\s*[)\]]",
    re.IGNORECASE,
)
"""The question's own words: "(Yes or No)"."""
_OPENING_TRIGGER = compile_later(r"\A\W*(?:yes or no|true or false)\s*[:?]", re.IGNORECASE)
_OPENING = 100
"""Characters at the start of a text that may hold the question's own words."""
_ROW = compile_later(
    r"\W*(?:yes|no|true|false)(?:[\s,;/]+(?:yes|no|true|false))+\W*", re.IGNORECASE
)
"""Nothing but truth values."""
_REWRITING = compile_later(r"(?:[=(]|\bnot)\s*not\s+\Z")
"""A step of a computation, such as "= not False", states no answer yet."""
_RESULT = compile_later(
    r"(?:=|→|->|=>|\b(?:is|equals?|gives?|becomes?|yields?|evaluates?\s+to|results?\s+in"
    r"|simplifies\s+to"
    r"|reduces\s+to|returns?|be))\s*(?:therefore\s+|thus\s+|simply\s+)?[\"'(*]*(yes|no|true"
    r"|false)\W*\Z"
)
"""The result of an expression at the end of a sentence in lower case."""
_STOPS = " .!?;:,\"')]}*`$"
_EXPRESSION = compile_later(
    r"\b(?:true|false)\b[\s()\"'`]*(?:and|or|xor|&+|\|+|==)[\s()\"'`]*(?:not\b[\s()]*)*(?:true"
    r"|false)\b",
    re.IGNORECASE,
)
"""Truth values joined by operators."""
_IDIOM = compile_later(
    r"\bno (?:doubt|matter|problem|worries|one|longer|more|way|comment|idea|answer|information"
    r"|data|clue|consensus|agreement|certainty"
    r"|definiti?ve|conclusive|clear|simple|single|straightforward"
    r"|opinion)\b,?"
    r"|\bthere (?:is|are|was|were) no\b|\b(?:has|have|had) no\b|\btrue to\b|\bin no (?:way|case)\b",
    re.IGNORECASE,
)
_TRUTH = r"(?:yes|no|true|false)"
_COMPARED = compile_later(
    r"(?:(?P<denied>(?:\bnot|n't|\bno)\s+(?:any\s+)?)?(?:\b(?:more|rather|closer|nearer|likelier)|(?P<less>\bless))\b"
    rf"(?:(?!\b{_TRUTH}\b)[^,;.]){{0,30}})?\b(?P<first>{_TRUTH})\b"
    rf"(?P<between>(?:(?!\b{_TRUTH}\b)[^,;.]){{0,40}})(?<!other )\bthan\b"
    rf"(?:(?!\b{_TRUTH}\b)[^,;.]){{0,15}}\b(?P<second>{_TRUTH})\b"
)
"""Prefers one truth value to the other, in lower case."""
_CONCESSION = compile_later(
    r"(?:\A|,?\s)(?:although|though|even\s+though|while|whereas)\s[^,;]*(?:[,;]|\Z)", re.IGNORECASE
)
"""Grants something to the other value: "although many say that it is false"."""
_MAY_BE_TURNED = compile_later(r"n't\b|\b(?:no|nothing|mistake|wrong|far)\b", re.IGNORECASE)
"""What a sentence about the statement holds that may deny its truth value at a distance."""
_REPORTED = compile_later(
    r"\W*(?:some|others|many|(?:most|some|many)\s+people|people|critics|skeptics)\s+(?:\w+\s+)?"
    r"(?:say|think|believe|claim|argue|answer|hold)\b(?!.*(?:,\s*(?:but|and|so|yet)|;)\s)",
    re.IGNORECASE,
)
"""Opens what others say."""
_SUPPOSED = compile_later(
    r"\bwould\b.*\bif\b.*\b(?:had|were|did|could)\b|\b(?:had|were)\b.*\bwould\b", re.IGNORECASE
)
"""What would hold under another condition: "it would be yes if the law had passed"."""
_AS_SUBJECT = compile_later(
    r"\W*(?:yes|no|true|false)\W?\s(?:would|might|could|is|was|seems|cannot|can't)\b", re.IGNORECASE
)
"""A truth value that something is said of: "yes would be wrong"."""
_PARTLY = compile_later(
    r"\b(?:part(?:ly|ially)|half|(?:the|quite)\s+(?:opposite|contrary|reverse)|sometimes|only\s+(?:if|when|where|in\s+part)|(?:could|might|may)\s+(?:\w+\s+)?be\s+(?:true|false|yes|no))\b"
    r"(?!.*\b(?:but|so|therefore|thus|hence)\b)",
    re.IGNORECASE,
)
"""Leaves a truth value open."""
_UNDER_CONDITIONS = compile_later(
    r"\W*(yes|no|true|false)\b[^,;.]*(?:,|;|\bbut\b|\band\b)\s*(?:but\s+|and\s+)?(?!\1\b)(?:yes|no|true|false)\s+"
    r"(?:if|in|when|for|on|at|during|under|otherwise)\b",
    re.IGNORECASE,
)
"""Gives both values, each under its condition: "yes in summer, no in winter"."""
_WHETHER = compile_later(r"\W*whether\b(?!.*[,;])", re.IGNORECASE)
_SOME_AND_OTHERS = compile_later(r"\bsome\b.{0,200}\bothers?\b", re.IGNORECASE)
"""Leaves both open: "in some cases yes, in others no"."""
_BUT_NOT_HERE = compile_later(
    r"\b(?:yes|true)\b[^.;]{0,40}\bbut\s+not\s+(?:in\s+(?:this|that|our|the\s+(?:present|given))\b"
    r"|here\b|now\b|this\s+time\b|today\b|any\s?more\b)",
    re.IGNORECASE,
)
"""Turns what holds in general round: "usually yes, but not in this case"."""
_NO_SUCH = compile_later(
    r"(?<=[a-z;]\s)no\s(?=[a-z])(?!(?:yes|no|true|false|it|they|he|she|you|we|i|this|that|the|an?|because|since|as|but|and|or|nor|in|for"
    r"|if|when|unless|except|not|to|at|there|is|was|with|by|by|on|under|according|due|given)\b)"
)
"""Within a sentence and before a noun: "there's no reason to doubt it"."""
_UNDECIDED = compile_later(
    r"\A\W*(?:is |are )?(?:not (?:known|certain|clear|sure)|unknown|uncertain|unclear|disputed"
    r"|debatable"
    r"|undecided|unsettled|cannot be (?:determined|known|answered)|can't be (?:determined|known)"
    r"|(?:currently |still |highly )?(?:disputed|debated|unknown|unclear))",
    re.IGNORECASE,
)
_OPEN = compile_later(
    r"\b(?:whether|if|depends|unclear|unsure|not sure|not certain|unknown|uncertain|undecided"
    r"|disputed"
    r"|not possible to|impossible to (?:say|tell|know)|hard to (?:say|tell)"
    r"|can(?:not|'t) (?:say|tell|determine|decide|know|be)|could not|no way"
    r" to)\b",
    re.IGNORECASE,
)


def truth_of(word: str) -> str | None:
    """Return ``yes`` or ``no`` for a word that means it."""
    return _VALUES.get(word.strip().casefold().rstrip(".!。"))


def find_bool(response: str, *, cut_off: bool = False) -> FoundAnswer:
    """Find ``yes`` or ``no``; ``true`` and ``false`` mean the same."""
    if (plain := find_plainly(response, _read, cut_off=cut_off)) is not None:
        return plain
    text, why = cleaned(response)
    if not text:
        return FoundAnswer(None, why)
    text = without_emphasis(text)
    if " or " in lower_case(text[:_OPENING]):
        text = _OPENING_TRIGGER.sub(" ", text)
    if "(" in text or "[" in text:
        text = _TRIGGER.sub(" ", text)
    return find_final(text, _read, cut_off=cut_off)


def _read(place: Statement, text: str) -> FoundAnswer | None:
    if value := _ENGLISH.get(place.text.rstrip(".").lower()):  # most places
        return FoundAnswer(value, "first word")
    if place.rule == "text":
        return _of_text(place.text)
    tail = without_latex_text(place.text)
    first = (sentences(tail) or [""])[0]
    if _UNDECIDED.match(first):
        return FoundAnswer(None, "undecided")
    found = (
        _of_sentence(first, last=False)
        or _of_sentence(tail, last=False)
        or _abroad(tail)
        or _in_other_words(first)
    )
    return found or FoundAnswer(None, "the answer is announced but is neither yes nor no")


def _of_text(text: str) -> FoundAnswer | None:
    """Read a text that announces nothing: its first word, or its last sentences."""
    if has_refusal(text):
        return FoundAnswer(None, "refused")
    parts = sentences(text)
    opening = parts[0] if parts else ""
    if label := labelled(text):
        found = _of_sentence(label, last=True) or _in_other_words(label)
        if found is not None and found.answer is not None:
            return replace(found, rule=f"behind a label: {found.rule}")
    start = _FIRST_WORD.match(text)
    if (
        start
        and not _IDIOM.match(opening)
        and not _BOTH.search(opening)
        and not _ROW.fullmatch(opening)
        and not _EXPRESSION.search(opening)
        and not _AS_SUBJECT.match(opening)
        and not _UNDER_CONDITIONS.match(opening)
    ):
        if len(parts) > 1 and (end := _ALONE.fullmatch(parts[-1])):
            return FoundAnswer(_VALUES[end[1].casefold()], "last word")
        return FoundAnswer(_VALUES[start[1].casefold()], "first word")
    if letter := _INITIAL.fullmatch(text):
        return FoundAnswer("yes" if letter[1] in "YyTt" else "no", "first letter")
    if found := _abroad(text):
        return found
    for sentence in reversed(parts[-2:]):
        found = _of_sentence(sentence, last=True)
        if found is not None and found.confidence != "explicit" and _MAY_BE_TURNED.search(sentence):
            found = _in_other_words(sentence) or found
        if found is not None and _is_left_open(sentence, found):
            return FoundAnswer(None, "undecided")
        found = found or _in_other_words(sentence)
        if found is not None:
            return found
    said = _in_other_words(opening) if len(parts) > 1 else None
    return said or FoundAnswer(None, "neither yes nor no is said")


def _is_left_open(sentence: str, found: FoundAnswer) -> bool:
    """Return True if a sentence says a truth value but does not assert it."""
    if found.rule != "last sentence":
        return False
    named = list(_WORD.finditer(lower_case(sentence)))
    return bool(named) and (
        _PARTLY.search(_CONCESSION.sub(" ", sentence)) is not None
        or (
            len(named) == 1
            and is_doubted_at(sentence, *named[0].span())
            and not is_denied(sentence, named[0].start())
        )
        or (sentence.endswith("?") and len(sentence.split()) > 1)
    )


def _in_other_words(sentence: str) -> FoundAnswer | None:
    """Read a judgement of the question, "the claim is accurate", "of course they can"."""
    value = polarity(sentence)
    return FoundAnswer(value, "said in other words", confidence="only candidate") if value else None


def _of_sentence(sentence: str, *, last: bool) -> FoundAnswer | None:
    """Read a sentence: the result of an expression, or else its first or last truth value.

    Args:
        sentence: The sentence.
        last: True if it argues, so that its last truth value counts.
    """
    if last and (_WHETHER.match(sentence) or _REPORTED.match(sentence)):
        return FoundAnswer(None, "undecided")
    if not any(map(lower_case(sentence).__contains__, _ENGLISH)):
        return None
    if any(map(sentence.__contains__, ("hough ", "hile ", "hereas "))):
        main = _CONCESSION.sub(" ", sentence)
        sentence = main if _words(main) else sentence
    if last and "would" in sentence and _SUPPOSED.search(sentence):
        return None
    lower = lower_case(sentence)
    ends = lower.rstrip(_STOPS).endswith(("yes", "no", "true", "false"))
    if ends and (result := _RESULT.search(lower)):
        if last or _EXPRESSION.search(sentence, 0, result.start()):
            sentence = result[1]
    elif _may_compute(sentence) and _EXPRESSION.search(sentence) and not _is_pair(sentence):
        return FoundAnswer(None, "an expression without its result")
    if _may_name_both(sentence) and _BOTH.search(sentence):
        return (
            FoundAnswer(None, "undecided")
            if _OPEN.search(sentence)
            else FoundAnswer("yes, no", "both", several=True)
        )
    if "than" in sentence and (compared := _COMPARED.search(lower_case(sentence))):
        return _of_comparison(compared)
    words = _words(sentence)
    if not words:
        return None
    if _BUT_NOT_HERE.search(sentence):
        return FoundAnswer(_OPPOSITE[words[0]], "turned round")
    if len(set(words)) > 1 and _SOME_AND_OTHERS.search(sentence):
        return FoundAnswer(None, "undecided")
    one = len(set(words)) == 1
    if not one and _ROW.fullmatch(sentence):
        return FoundAnswer("yes, no", "both", several=True)
    if not last:
        return FoundAnswer(words[0], "first word")
    return FoundAnswer(
        words[-1], "last sentence", confidence="only candidate" if one else "guessed"
    )


def _of_comparison(compared: "re.Match[str]") -> FoundAnswer:
    """Read which of both is preferred: "more likely false than true"."""
    first, second = _ENGLISH[compared["first"]], _ENGLISH[compared["second"]]
    if first == second or compared["denied"]:
        return FoundAnswer(None, "undecided")
    less = compared["less"] or " less " in compared["between"]
    return FoundAnswer(second if less else first, "preferred to the other")


def _may_name_both(sentence: str) -> bool:
    """Return True if a sentence holds the words of a pair, which costs less than its pattern."""
    lower = lower_case(sentence)
    return "/" in lower or ("yes" in lower and "no" in lower) or _may_compute(lower)


def _may_compute(sentence: str) -> bool:
    """Return True if a sentence holds two truth values, as an expression does."""
    lower = lower_case(sentence)
    return lower.count("true") + lower.count("false") > 1


def _is_pair(sentence: str) -> bool:
    """Return True if a sentence names just both values, "either false or true"."""
    return _BOTH.search(sentence) is not None and len(_words(sentence)) == 2


def _words(text: str) -> list[str]:
    plain = _IDIOM.sub(" ", text) if "no " in text.casefold() or "true to" in text else text
    if " no " in plain:
        plain = _NO_SUCH.sub(" ", plain)
    words = []
    denies = holds_denial(plain)
    for match in _WORD.finditer(lower_case(plain)):
        word = _ENGLISH[match.group()]
        denied = (
            denies
            and is_denied(plain, match.start())
            and not _REWRITING.search(plain, max(0, match.start() - 20), match.start())
        )
        words.append(_OPPOSITE[word] if denied else word)
    return words


def _abroad(text: str) -> FoundAnswer | None:
    """Read a short sentence of another language, or its first word."""
    match = _FIRST_WORD_ABROAD.match(text)
    if match and _AND_ITS_OPPOSITE.match(text, match.end()):
        return FoundAnswer(None, "undecided")
    if match and not text[match.end() :].lstrip().startswith((",", ".", "!")):
        first = sentences(text)[0]
        if found := _in_other_words(first):
            return found
    return (
        FoundAnswer(
            _WORDS_ABROAD[(match[1] or match[2]).casefold()], "first word in another language"
        )
        if match
        else None
    )

"""Tell whether a sentence states a text: as its subject, its object or its complement.

states("The author was George Orwell.", "George Orwell")     →  True
states("Canberra is the capital of Australia.", "Canberra")  →  True
states("Table salt contains sodium.", "sodium")              →  True
states("It is not Canberra but Sydney.", "Canberra")         →  False
states("Bob got it from Alice.", "Alice")                    →  None: two names compete

Answers of free words often come as a sentence. Which of its words answer the question cannot be
read from the sentence alone, so the reference is looked for, and what counts is its place:

* The last clause counts: what follows "but", "so" or a semicolon.
* A clause before its main clause ("After the war, …", "Although …, …") states nothing.
* Nor does what explains an answer: brackets, "because …", ", who …", ", the friend of …".
* A piece between commas counts only if it is the reference, or has a subject and a verb of its own.
* Denied, compared or listed with another, the reference is not the answer.
* Within a longer name or compound it is another one.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.denials import DENIAL
from orcinus.verifiers.answers.text import sentences

_LONGEST = 400
"""Characters. A longer sentence is an argument, and states nothing that can be read."""
_STOPS = compile_later(r"(?<=\b[ap])\.m\b\.?", re.IGNORECASE)
_ARTICLE = compile_later(r"\A(?:the|an?)\s+(?=\S)", re.IGNORECASE)
_LAST_CLAUSE = compile_later(
    r"[,;:]?\s+(?:but|yet|however|so|therefore|thus|hence|instead(?!\s+of))\b(?=[\s,]+\w),?(?!\s+far\b)"
    r"|;|→|⇒|=>|->",
    re.IGNORECASE,
)
"""A sentence says behind the last of these what it arrives at."""
_BRACKETED = compile_later(r"\s*\([^()]*\)")
_OPENING = compile_later(
    r"""\A[\s"'*]*(?:
        (?:so|thus|therefore|hence|then|and|yes|no|well|ok(?:ay)?
          |hmm+|oh|ah|sure|indeed|clearly|obviously|maybe
          |perhaps|probably|possibly|presumably|surely|certainly
            |definitely|likely|(?:in|to)\s(?:short|fact|conclusion
            |sum|summary|my\sview)
          |(?:i|we)(?:'d|\s+would)?\s(?:think|believe|guess|suppose
            |say|answer)(?:\sthat)?(?!\sof\b))(?=[\s,:])[\s,:]*
    )+""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a sentence may open with and still state what follows: "Well, I think that …"."""
_FRONTED = compile_later(
    r"""\A\W*(?:although|though|even|while|whereas|if|unlike|despite|contrary
      |since|because|as|when|once|after|before
        |given|like|besides|apart|instead|rather|following|until
          |by|from|with|without|among|between|of|out|in|on|at
        |for|during|under|over|originally|initially|(?:one|you)\s(?:might|may|could)|\w+ing
        |\w+\s(?:days?|weeks?|months?|years?|hours?)\s(?:later|before|after|ago|earlier)
        |(?:wenn|weil|obwohl|nach|vor|si|quand|après|aunque|cuando|después)
    )\b[^,]*,\s+(?=\S)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A clause or phrase before the main clause."""
_PIECES = compile_later(r",\s+|:\s+|\s+-+\s+|\.\s+")
_SUBJECT_AND_VERB = compile_later(
    r"(?:then\s+|that\s+)?(?:(?:it|he|she|they|we|you|i|there)\b|(?:this|that|which)(?:'s|'d|'ll"
    r"|\s+(?:is|are|was|were|would|will|must|makes?|means?|gives?|leaves?))"
    r"|namely|i\.?e\.?|that\s+is|called|named|meaning|making|giving|leaving|spelling)\b",
    re.IGNORECASE,
)
_ARRIVES = compile_later(
    r"\A(?!who|which|the|an?\b).*\b(?:is|was|gives?|makes?|spells?|becomes?|equals?)\s(?:the\s"
    r"|an?\s)?"
    r"[\"'*]*\Z",
    re.IGNORECASE,
)
"""Before a reference at which a later piece arrives: "c, a, t gives cat"."""
_IT_IS = compile_later(
    r"""\A[\s"'*]*(?:none\sother\sthan\s|(?:es|è|é|c'est|das\sist|es\sist
      |это|dat\sis|det\sär)\s|(?:it|that|this|he|she|they|these|there)
        (?:'s|'d\sbe|\s+(?:is|was|are|were|(?:would|must|should
          |could|might|may|will|has\sto|had\sto|can\sonly)(?:\shave)?\s(?:be
          |been)))\s+
        (?:(?:likely|probably|definitely|simply|actually|indeed
          |clearly|in\sfact|none\sother\sthan)\s+)*)?
        (?:the\s|an?\s|some\s|my\s|der\s|die\s|das\s|la\s|le\s|el\s|il\s|l')?["'*]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may stand before a reference that is the subject, or all that is said."""
_VERB = compile_later(
    r"""["'*]*\s+(?:(?:also|first|then|actually|really|probably|likely|still|always|originally)\s+)?
        (?:is|are|was|were|has|have|had|will|would|can|could|should
          |must|may|might|does|did|do|ist|war|est|es|era|fue
          |è|é|it|he|she|they|i|wrote|won|made|built|led|sang
            |took|gave|became|began|found|ran|came|went|said|kept
          |held|beat|threw|caught|got|knew|taught|drew|shot|fell|lost|[a-z]+(?:ed|s))\b""",
    re.VERBOSE,
)
"""The verb of a statement behind its subject; or a pronoun, "Sodium it is"."""
_REFUTED = compile_later(
    r"""["'*]*\s+(?:(?:is|are|was|were|has|have|had|will|would|can|could
      |should|must|does|did|do|seems?|looks?|ist|est|es)
        (?:n't\b|not\b|\s+(?:\w+ly\s+)?(?:not\b|never\b|nicht\b
          |pas\b|wrong|incorrect|false|mistaken|out\b|ruled|excluded
          |a\s+distractor
          |my\s+first|often\s+(?:named|said|thought|mistaken|confused)
            |sometimes|also\s+(?:possible|plausible|tempting)|tempting
            |close\b))
      |used\s+to\b|cannot\b|fails?\b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What refutes a subject."""
_ANOTHER = compile_later(
    r"[\"'*]*(?:\s*(?:/|&)|,?\s+(?:or|and|nor|oder|und|ou|et|o|y|e)\b(?!\s+(?:so"
    r"|therefore|thus|that|this|it|not)\b))",
    re.IGNORECASE,
)
"""What joins another candidate to the reference."""
_DENIED = compile_later(
    rf"""(?:{DENIAL}(?!\w)|\b(?:doubt|unlikely|hardly|nobody|no\s+one|none\s+of|without|wrong|mistake|mistaken|incorrect|exclude[sd]?
        |denied|denies|rule[sd]?\s+out|other\s+than|distinct\s+from
          |different\s+from|no\s+(?:es|era|son|fue)
        |nicht|kein\w*|pas|jamais|nunca|não|non|не|нет|niet|geen|inte|ikke|nie)\b)(?!\s+only\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_FORMERLY = compile_later(
    r"\b(?:(?:long|once|formerly|previously|originally|initially|wrongly|mistakenly|falsely)\s+"
    r"(?:been\s+)?(?:believed|thought|said|assumed|supposed|considered|held)"
    r"(?:\s+(?:to\s+(?:be|have\s+been)|as))?|used\s+to\s+be)\s+(?:the\s+|an?\s+)?[\"'*]*\Z",
    re.IGNORECASE,
)
"""Before what was believed and is no longer."""
_AFFIRMED = compile_later(
    r"none\s+other\s+than|no(?:t\s+only|thing\s+(?:but|other\s+than))|without\s+(?:a\s+"
    r"|any\s+)?doubt"
    r"|(?:un)?mistak(?:e|eably)\s+not|(?:isn't|is\s+not)\s+\S+(?:\s\S+)?,\s+it",
    re.IGNORECASE,
)  # fmt: skip
_BESIDE = compile_later(
    r"\b(?:either|or|nor|than|like|unlike|except|not|next\s+to|besides?|behind|between"
    r"|against|versus|vs\.?"
    r"|alongside|instead\s+of|rather\s+than|similar\s+to|(?:reverse|opposite|contrary|inverse|north|south|east|west|left|right|rival|neighbou?r"
    r"|successor|predecessor|front|part|lack|absence|absent)\s+of|compared\s+(?:to|with)|ahead\s+of)"
    r"\s+(?:the\s|an?\s)?[\"'*]*\Z",
    re.IGNORECASE,
)
"""Before a reference that another thing is compared with, or stands beside."""
_EXPLAINS = compile_later(
    r"\b(?:because|since|while|although|though|whereas|unless|until|if|whose|whom|where)\b"
    r"|\b(?:who|which)\b(?!.*\b(?:is|was|are|were|called|named)\b)|\b(?:long|soon"
    r"|even|only)\s+(?:after|before)\b",
    re.IGNORECASE,
)
"""Before a reference that stands in a clause which explains the main one."""
_REASON = compile_later(
    r"""\s(?:(?:because|since)\s+(?:of\s+|(?:it|they|he|she|that|this)(?:'s|'re|\s+\w+)\s+
        (?:\w+\s+){0,2}?)?|(?:due|thanks|owing)\s+to\s+)(?:the\s+|an?\s+|its\s+|their\s+)?\Z""",
    re.VERBOSE | re.IGNORECASE,
)
"""Before words that a sentence gives as its reason: "because of rust", "because it has rust"."""
_ACTS_ON_IT = compile_later(
    r"""\s+(?:\w+\s+){1,2}(?:it|them|him|her|us)\b|\s+(?:\w+\s+){1,3}(?:its|their)\s""",
    re.VERBOSE | re.IGNORECASE,
)
"""Behind the subject of a reason that speaks of the main clause: "because gravity pulls them"."""
_STATED_BY = compile_later(
    r"""(?:\A|[\s"'(]|(?<=\w)(?='s\s))(?:is|are|was|were|be|been|being|'s
      |called|named|termed|dubbed|as|namely|by|of|say|says|said
        |ist|sind|war|heißt|lautet|es|son|est|sont|était|è|é|sono
          |são|in|on|at|to|into|onto|for|through|via)
        (?:\s+(?:likely|probably|definitely|simply|actually|really
          |indeed|clearly|in\sfact|most\slikely))*\s+
        (?:the\s|an?\s|der\s|die\s|das\s|la\s|le\s|el\s|il\s)?["'*]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""The words before a complement, an agent or a place; no other name of its clause competes."""
_ENDS = compile_later(
    r"""["'*]*(?:[\s.!?]*\Z|\s+(?:in|on|at|of|for|to|from|with|by|as|after
      |before|during|around|about|near|when|because|since|who|whom
        |which|that|where|while|here|there|now|then|again|first
          |too|either|instead|rather|not|into|it|he|she|they|we|you|i|\w+ly)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may follow an object: the end, a preposition, an adverb or another clause, but no noun."""
_GOES_ON = compile_later(
    r"(?:a|an|the|one|its?|he|she|they|this|that|which|who|whose|whom|where|when"
    r"|while|because|since|as|if|for"
    r"|i\.e|though|although|even|unlike|rather|instead|after|before|during|in|on|at|of|by|from|with|without|not|i|we|you|no|also|known|located|named"
    r"|called|born|to"
    r"|\w+(?:ly|ing)|\d.*)\b",
    re.IGNORECASE,
)
"""What opens a remark behind an answer, "Rome, the capital …"; a bare noun is another candidate."""
_PHRASE = compile_later(r"\s*(?:the|an?|some|my|his|her|its|our|their)\s+[\w-]+\s+", re.IGNORECASE)
"""Before the head of a phrase without a verb: "the fat cat"."""
_SAYS_MORE = compile_later(r"\b(?:is|are|was|were|not|no)\b|n't\b", re.IGNORECASE)
_NAME_BEFORE = compile_later(r"(?<![.!?]\s)\b[A-Z][\w'-]*\s+\Z")
_NAME_AFTER = compile_later(r"\s+(?:of\s+(?:the\s+)?)?[A-Z][a-z]")
_FIRST_NAME = compile_later(r"\W*([A-Z][\w-]*)")
"""The first word of a clause; if it is a name, it may be the answer in place of its object."""
_FUNCTION_WORD = compile_later(
    r"(?:The|An?|It|He|She|They|We|You|I|This|That|These|In|On|At|By|For|From|With"
    r"|To|As|So|And|There"
    r"|Its|His|Her|Their|My|Your|Our|Of|Here|What|Who|Which|Most|Many|Some|All|Each"
    r"|Every|If|When)\Z"
)
_LOSES = compile_later(r"\sto\s+(?:the\s+)?[A-Z]\w*\W*\Z")
"""Behind a subject that may be the other one of two: "Alice lost to Bob"."""
_SHORT = 3
"""Words. So short a line is a name or a compound unless it holds one of ``_STATED_BY``."""
_BEGINS_WITH_PRONOUN = compile_later(r"\W*(?:it|he|she|they|this|that|these|its|his|her)\b", re.I)
_IDEOGRAM = compile_later("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_IS, _END = (
    "(?:は|是|为|為|叫|就是|이|는|은)\\s*",
    "(?:です|でした|だ|である|입니다)?[\\s.。!！]*\\Z",
)
"""What stands before and behind the answer in scripts without blanks."""


def states(text: str, reference: str) -> bool | None:
    """Return True if the last sentence of ``text`` states the reference; see the module.

    Returns None if the sentence names it beside another, and nothing says which one it means.
    """
    if _IDEOGRAM.match(reference) and (
        said := re.search(rf"{_IS}{re.escape(reference)}{_END}", text)
    ):
        return not text[: said.start()].endswith(("不", "不是"))
    wanted = _ARTICLE.sub("", _STOPS.sub("m", reference).strip(" .\"'"))
    if len(wanted) < 2:
        return False
    words = _pattern(wanted)
    parts = sentences(_STOPS.sub("m", text))
    while len(parts) > 1 and _BEGINS_WITH_PRONOUN.match(parts[-1]) and not words.search(parts[-1]):
        parts.pop()
    if not parts or len(parts[-1]) > _LONGEST or not words.search(parts[-1]):
        return False
    return _is_stated(parts[-1], words)


def denies(text: str, reference: str) -> bool:
    """Return True if the last sentence of ``text`` that holds the reference denies it."""
    words = _pattern(reference)
    for sentence in reversed(sentences(text)):
        for match in words.finditer(sentence):
            before = _AFFIRMED.sub("", sentence[: match.start()])
            return bool(
                _DENIED.search(before)
                or _FORMERLY.search(before)
                or _REFUTED.match(sentence, match.end())
            )
    return False


@lru_cache(maxsize=4096)
def _pattern(reference: str) -> "re.Pattern[str]":
    spelt = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", reference.strip(" .\"'"))))
    return re.compile(rf"(?<![\w-]){spelt}(?![\w-])", re.IGNORECASE)


def _is_stated(sentence: str, words: "re.Pattern[str]") -> bool | None:
    """Judge the last place of a sentence that holds the words."""
    if sentence.lstrip().startswith("("):
        return False
    alone = any(words.fullmatch(aside.strip(" ()")) for aside in _BRACKETED.findall(sentence))
    sentence = _BRACKETED.sub("", sentence).strip()
    clause = _LAST_CLAUSE.split(sentence)[-1]
    if ";" in sentence and words.fullmatch(clause.strip(" .")) and not _SAYS_MORE.search(sentence):
        return False  # a list, "fat; cat"
    if ";" in sentence and len((said := sentence.partition(";")[0]).split()) < _SHORT:
        return words.fullmatch(said.strip()) is not None  # an answer, and a remark behind it
    opening = _OPENING.match(clause)
    clause = clause[opening.end() :] if opening else clause
    while fronted := _FRONTED.match(clause):
        clause = clause[fronted.end() :]
    if alone and not words.search(sentence):
        return not _DENIED.search(sentence)
    if clause.rstrip().endswith("?") and len(clause.split()) > 2 * _SHORT:
        return False
    verdicts = list(_verdicts(clause, words))
    return verdicts[-1] if verdicts else False


def _verdicts(clause: str, words: "re.Pattern[str]") -> Iterator[bool | None]:
    """Yield what each piece between commas says of the words, if it holds them."""
    start = 0
    label = True
    for cut in (*_PIECES.finditer(clause), None):
        end = cut.start() if cut else len(clause)
        piece = clause[start:end].strip()
        rest = clause[cut.end() :] if cut else ""
        for match in words.finditer(piece):
            before, after = piece[: match.start()], piece[match.end() :]
            whole = bool(_IT_IS.match(before)) and not after.strip(" .!?\"'*")
            if whole and rest and not label and cut and cut[0].strip() == ",":
                yield bool(_VERB.match(f" {rest}"))  # "The astronomer, Galilei, was born …"
            elif whole and rest and cut:
                yield _followed(cut[0], rest)
            elif whole or label or _SUBJECT_AND_VERB.match(piece) or _ARRIVES.search(before):
                is_name = match[0][:1].isupper()
                yield _in_piece(before, after, bare=whole, is_name=is_name)
            else:
                yield False
        label = bool(cut and cut[0].strip() == ":")
        start = cut.end() if cut else end


def _followed(cut: str, rest: str) -> bool | None:
    """Judge what follows a bare answer and a comma or dash: a remark, or another candidate."""
    if cut.strip() != ",":
        return not _DENIED.match(rest)
    if re.match(r"(?:or|and|but|then|nor)\b", rest, re.IGNORECASE):
        return False
    if _GOES_ON.match(rest):
        return True
    return None if len(rest.split()) == 1 else False


def _in_reason(main: str, reason: str, after: str) -> bool:
    """Judge words within a reason by what leads to them, "because of", and what follows."""
    if _DENIED.search(main) or len(main.split()) < _SHORT - 1:
        return False
    if reason.rstrip().endswith(("because", "since")):  # its subject
        return _ACTS_ON_IT.match(after) is not None
    return _ENDS.match(after) is not None


def _in_piece(before: str, after: str, *, bare: bool, is_name: bool) -> bool | None:
    """Judge the words by what stands before and behind them in one clause."""
    if bare:
        return True
    if _ANOTHER.match(after) or _REFUTED.match(after):
        return False
    if before.endswith(" from ") and after.startswith(" to "):
        return False
    before = _AFFIRMED.sub("", before)
    if (reason := _REASON.search(before)) is not None:
        return None if is_name else _in_reason(before[: reason.start()], reason[0], after)
    if (
        _DENIED.search(before)
        or _FORMERLY.search(before)
        or _BESIDE.search(before)
        or _EXPLAINS.search(before)
    ):
        return False
    name = _NAME_AFTER.match(after) if is_name else None
    if _IT_IS.match(before):
        if name or not (_VERB.match(after) or _ENDS.match(after)):
            return False
        return None if _LOSES.search(after) else True
    longer = _NAME_BEFORE.search(before) if is_name else None
    if name or (longer and not _FUNCTION_WORD.match(longer[0].strip())):
        return False
    if not _ENDS.match(after):
        return False
    if _STATED_BY.search(before):
        return True
    if len(before.split()) + len(after.split()) < _SHORT - 1 or _PHRASE.fullmatch(before):
        return False
    first = _FIRST_NAME.match(before)
    return None if is_name and first and not _FUNCTION_WORD.match(first[1]) else True

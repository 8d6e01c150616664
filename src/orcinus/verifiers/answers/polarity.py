"""Tell whether a sentence affirms or denies the question without "yes" or "no".

polarity("The claim doesn't hold.")   →  "no"
polarity("Of course they are!")       →  "yes"
polarity("Das stimmt nicht.")         →  "no"
polarity("It depends.")               →  None

Four rules, each for a whole sentence:

* An assurance, "certainly", "without a doubt", "by no means"; "not" behind it turns it round.
* A pronoun and an auxiliary, "it does", "they can't", which repeat the question's verb.
* The statement, or a pronoun for it, is judged by one word for true or false; each denial turns
  that round.
* The same in other languages: one word for true or false in a short sentence, and denials.
"""

import re

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case

_OPPOSITE = {"yes": "no", "no": "yes"}
_LONGEST = 200
"""Characters. A longer sentence argues."""
_MOST_WORDS_ABROAD = 9
"""Words of a sentence in another language that only judges."""
_OPENING = compile_later(
    r"""\W*(?:(?:so|thus|therefore|hence|then|and|well|hmm+|oh|ah|sure(?:\sthing)?
      |yes|no|indeed|of\scourse|certainly|in\s(?:short|fact|conclusion)
        |overall|sadly|unfortunately|(?:most\s|very\s|quite\s)?(?:probably|likely|presumably|apparently|clearly|obviously|definitely|surely)
        |as\sfar\sas\si\s(?:know|can\stell)
          |everything\sconsidered|my\s(?:verdict|conclusion)\sis\sthat
        |(?:i|we)(?:'d|\swould)?\s(?:do\s)?(?:think|believe|guess
          |suppose|say|conclude|answer)(?:\sthat)?|it\sturns\sout\sthat)\b[\s,:]*)*""",
    re.VERBOSE,
)
_FRONTED = compile_later(r"(?:in|on|at|by|under|with|from|for|during|after|before)\s[^,;]{1,40},\s")
"""A phrase before the main clause: "in practice, it cannot"."""
_ASSURED = compile_later(
    r"""(?:(?P<no>never|hardly|nay|negative|impossible|implausible|no\s(?:way
      |chance)|by\sno\smeans|(?:in|under)\sno\s(?:way|circumstances?)
          |far\sfrom\sit|on\sthe\scontrary|quite\sthe\s(?:opposite
            |contrary)|not\s(?:at\sall|in\sthe\sleast|a\schance)
          |(?:(?:very|highly|most|rather|quite|extremely|pretty|fairly|somewhat)\s)?unlikely
          |i\s(?:strongly\s)?disagree(?:\swith\s(?:the|this|that)\s\w+)?
          |not\s(?:really|exactly|quite|entirely|necessarily|always
            |possible|true|correct|so|likely|very\slikely|plausible)
          |(?:i\s|we\s)?(?:do\snot|don't|doubt|hardly)\s(?:really\s)?(?:think|believe|it)(?:\sso)?)
        |(?P<yes>(?:of\s)?course|sure(?:ly)?|certainly(?:\sso)?
          |definitely|absolutely|undoubtedly|unquestionably|indubitably
          |indeed|affirmative|exactly|naturally
          |obviously|clearly|aye|(?:you\s)?bet|totally|precisely|positively
          |(?:without|no|there\sis\sno|there's\sno)\s(?:a\s|any\s)?(?:doubt
            |question)(?:\s(?:about|of)\s(?:it|this|that))?|for\s(?:sure
            |certain)
          |(?:very\s|quite\s|most\s)?(?:likely|plausible|probably)
          |(?:all|the)\sevidence\s(?:supports|confirms)\s(?:it
            |this)|(?:i\scan\s)?confirm(?:ed)?(?:\s(?:it|this|that))?
          |i\s(?:strongly\s)?agree(?:\swith\s(?:the|this|that)\s\w+)?
            |(?:that|it|this)(?:'s|\sis)\s(?:right|so|correct)|you(?:'re
            |\sare)\sright
          |(?:it|that)\s(?:seems|appears|looks)(?:\sto\sbe)?\s(?:so
            |that\sway)|i\s(?:do\s)?(?:think|believe|guess|suppose)\sso)
      )(?P<not>\snot)?(?=\s*[,.;:!]|\s*\Z)
      | (?P<so>perhaps|maybe|\w+ly|i(?:'m|\sam)\safraid|i\s(?:guess
        |suppose|think)|in\sgeneral|as\sa\srule|of\scourse)\snot(?=\s*[,.;:!]
        |\s*\Z)""",
    re.VERBOSE,
)
"""An assurance at the start of a sentence, in lower case."""
_ELLIPSIS = compile_later(
    r"""(?:it|they|he|she|you|we|one|this|that|these|those|there)\s
        (?:\w+ly\s)?(?:(?:is|are|was|were|does|do|did|can|could|would|will
          |has|have|had|should|must|may|might)\s?(?:most\s|very\s)?
           (?P<not>not\b|n't)?|(?P<cannot>can't|cannot|won't))
        (?:\s(?:have|be|been|so|do|indeed|\w+ly))*\W*""",
    re.VERBOSE,
)
"""A pronoun and the question's verb, and nothing else."""
_SUBJECT = compile_later(
    r"""(?:it|this|that|which|there|(?:the|this|that|your|such\san?)\s(?:\w+\s){0,2}?(?:statement
      |claim|assertion|sentence|proposition|premise|hypothesis|idea|notion
          |conclusion|assumption|answer|belief|suggestion|theory
            |fact|argument|answer\sto\s(?:this|the)\squestion))
        (?='s|\b|n't)""",
    re.VERBOSE,
)
_TRUE = (
    r"true|correct|right|accurate|valid|sound|factual|plausible|possible|likely|supported"
    r"|confirmed|justified|borne\sout|well[\s-](?:supported|founded)"
    r"|a\sfact|the\scase|holds?|stands?(?=\s(?:up\b|to\b)|\W*\Z)|checks\sout|applies|so|in\sthe\saffirmative"
    r"|reasonable|verified|proven"
)  # fmt: skip
_FALSE = (
    r"false|wrong|incorrect|inaccurate|invalid|untrue|mistaken|a\smistake|refuted"
    r"|unfounded|baseless|impossible|implausible|unlikely|improbable|(?:common\s)?myth"
    r"|"
    r"misconception|falsehood|fiction|nonsense|a\slie|fails|fails?\sto\shold|contradicted"
    r"|contradicts|unsupported|debunked|disproven|disproved|rejected|flawed|"
    r"in\sthe\snegative|doubtful|erroneous|fallacy|misleading|fabricated"
)
_JUDGEMENT = compile_later(rf"(?<![\w'-])(?:(?P<true>{_TRUE})|(?P<false>{_FALSE}))(?![\w'-])")
_GOES_ON = compile_later(
    r"(?:by|in|at|from|on|about|it|this|that|according|with|overall|here|indeed|then"
    r"|true|up|under|of|to|water|statement"
    r"|claim|answer|assertion|belief)\b"
)
"""What may follow a judgement: "false in every respect", "a true statement"."""
_DENIAL = compile_later(
    r"\b(?:not|never|no|nothing|nobody|hardly|cannot|neither|far\sfrom|anything\sbut"
    r"|without)\b|n't\b"
)
_MISTAKE_TO_SAY = compile_later(
    r"\b(?:a\smistake|wrong|incorrect|an\serror|false|misleading)\sto\s(?:say|call"
    r"|claim|think|believe|assume)\b"
)
_OPENS_WITH_MISTAKE = compile_later(
    r"(?:'s|\s(?:is|was|would\sbe))\s(?:\w+ly\s)?"
    r"(?:a\smistake|wrong|incorrect|an\serror|false|untrue|inaccurate)\s"
    r"(?:to\s(?:say|call|claim|think|believe|assume|state|conclude)\b|that\b)"
    r"|\sdo(?:es)?(?:\snot|n't)\s(?:necessarily\s)?follow\b"
)
"""Denies all that follows: "it is incorrect to say that the Wall is seen from the Moon"."""
_BEYOND_DOUBT = compile_later(
    r"\bno\s(?:question|doubt|denying|dispute)\b|\bwithout\s(?:a\s|any\s)?(?:question|doubt)\b"
)
"""Denials that affirm."""
_LAST_CLAUSE = compile_later(
    r"(?<!anything),?\s+(?:so|therefore|thus|hence|but|which\smeans(?:\sthat)?|meaning(?:\sthat)?)\b(?=[\s,]+\w),?\s+"
)
_ASIDE = compile_later(
    r",\s(?:not|and\snot|rather\sthan)\s.*|\s(?:because|since|as|although|though"
    r"|even\sthough|given)\s.*|[;:].*"
)
"""What a judgement adds: a contrast, or its reason."""
_OPEN = compile_later(
    r"\b(?:whether|if|depends|unclear|unsure|sure|certain|unknown|uncertain|undecided"
    r"|disputed|debatable|maybe|perhaps|can\sbe|could\sbe|might\sbe|may\sbe|sometimes"
    r"|partly|partially|half|both|either|neither|not\sonly|hard\sto)\b"
)
"""What leaves a judgement open."""

_TRUE_ABROAD = compile_later(
    r"""(?<!\w)(?:wahr|richtig|korrekt|zutreffend|stimmt|trifft\szu|zu(?=\W*\Z)
      |vraie?|exacte?|correcte?|verdad(?:er[oa])?|ciert[oa]|correct[oa]|corrett?[oa]
      |cert[oa]
          |verdade(?:ir[oa])?|ver[oa]|verità|giust[oa]|esatt[oa]
            |верно|правда|так|правильно|правд[аы]|waar|juist|klopt
            |sant|stämmer|rätt|sandt|riktig|rigtigt
          |prawd[aąy]|prawdziw[ey]|doğru|benar|đúng|αλήθεια|σωστό|adevărat|igaz|totta|pravda)(?!\w)
      | 对|對|正确|正確|(?<!不)是真|真的|属实|正し|本当
      |その通り|そのとおり|맞|그렇|사실|صحيح|सही|सच|נכון|ถูก|จริง""",
    re.VERBOSE,
)  # fmt: skip
_FALSE_ABROAD = compile_later(
    r"""(?<!\w)(?:falsch|unwahr|unrichtig|gelogen|fauss?e?|faux|inexacte?
      |fals[oa]|incorrect[oa]|erróne[oa]|incorret[oa]|errad[oa]|scorrett[oa]
      |sbagliat[oa]|errat[oa]
          |неверно|неправда|неправильно|ложь|ложно|onwaar|onjuist
            |fel|falskt?|galt|forkert|nieprawd[aąy]|fałsz\w*|błędn[ey]
            |yanlış|salah|sai|λάθος|ψευδές|hamis|väärin)(?!\w)
      | 错|錯|假|間違|違|嘘|誤り|틀|거짓|خطأ|गलत|ग़लत|झूठ|שקר|ผิด|เท็จ""",
    re.VERBOSE,
)  # fmt: skip
_NOT_ABROAD = compile_later(
    r"""(?<!\w)(?:nicht|kein\w*|n'|pas|jamais|no|nunca|não|non|не|нет|вряд\sли|едва\sли|niet
      |geen|inte|ikke|ikkje|nie|değil|bukan|tidak|không|δεν|nu|nem|ei)(?!\w)
      |(?<!\w)n'(?=est)
      | 不|没|沒|非|ません|ない|ではな|じゃな|아니|않|아닙|ليس|غير|नहीं|לא|ไม่""",
    re.VERBOSE,
)  # fmt: skip
_NO_AND_MORE = compile_later(r"\W*(?:no|non|não|nein|нет|nee|nej|nei|nie|hayır)[,.!]\s+")
"""An answer of its own, which denies nothing of what follows: "Non, c'est faux"."""
_ALONE_ABROAD = compile_later(
    r"\W*(?:不是|没有|沒有|(?:そう)?ではありません|아니(?:요|오|다)|아닙니다|pas\sdu\stout|keineswegs|auf\skeinen\sfall"
    r"|en\sabsoluto|de\sninguna\smanera|claro\sque\sno|assolutamente\sno"
    r"|(?P<yes>claro(?:\sque\ssí)?|natürlich|selbstverständlich|auf\sjeden\sfall"
    r"|bien\ssûr|certamente|certo|конечно|desde\sluego|com\scerteza|对|對|そうです|はい))\W*"
)
_ENGLISH = compile_later(r"\b(?:the|is|are|was|it|of|that|this|and|to|in|but)\b")
"""Words that show that a sentence is English."""


_I_DO_NOT_THINK = compile_later(
    r"(?:i|we)\s(?:do\snot|don't|wouldn't|would\snot|cannot|can't|doubt)(?:\s(?:really|think|believe|say|agree|claim|assume|see))*\sthat\s"
)
"""A denial of the clause behind it."""
_THEREFORE = ("so ", "so,", "therefore", "thus", "hence", "consequently")
_CONCLUDES_NOT = compile_later(
    r"(?:\A|[,;]\s)(?:so|therefore|thus|hence|consequently)\b,?\s(?!not\b)(?:\w+\s){1,4}?"
    r"(?:is|are|was|were|does|do|did|can|could|will|would|has|have|had)(?:\snot|n't)\s(?!(?:only|just|clear|known|sure|certain|possible)\b)"
    r"[^,;]*\Z"
    r"|(?:\A|[,;]\s)(?:so|therefore|thus|hence|consequently)\b,?\s(?:\w+\s){1,4}?(?:cannot|can't|never)\s(?!(?:be|say|tell)\b)[^,;]*\Z"
)
"""A conclusion that denies what was asked: "so it does not reach the sea"."""
_NAMED_VALUE = compile_later(
    r"\W*(yes|no|true|false)\W?\s(?:would\sbe|is|was|seems)\s(?:\w+ly\s)?(?:the\s)?(?:(wrong|incorrect|false|mistaken)"
    r"|right|correct|answer)\b"
)
"""A truth value that is called right or wrong: "yes would be wrong here"."""
_NO_WAY = compile_later(r"(?:there(?:'s|\sis)\s)?no\sway\s(?!to\b|of\b)\w")
_MODAL_PERFECT = compile_later(
    r"(?:it|they|he|she|this|that|these|those|there|\w+)\s(?:could|would|can)(?:n't|\snot)\s(?:possibly\s)?have\s\w+"
)
"""What cannot have been: "it couldn't have happened"."""


def polarity(sentence: str) -> str | None:
    """Return "yes" or "no" for a sentence that judges the question; see the module."""
    if len(sentence) > _LONGEST:
        return None
    lower = " ".join(lower_case(sentence).split()).strip(" *_\"'")
    if not _ENGLISH.search(lower) and (found := _abroad(lower)):
        return found
    start = _end_of_opening(lower)
    if assured := _ASSURED.match(lower) or (start and _ASSURED.match(lower, start)):
        return "no" if assured["no"] or assured["not"] or assured["so"] else "yes"
    if doubt := _I_DO_NOT_THINK.match(lower):
        said = _judged(lower[doubt.end() :])
        return _OPPOSITE.get(said) if said else None
    if named := _NAMED_VALUE.match(lower):
        value = "yes" if named[1] in ("yes", "true") else "no"
        return _OPPOSITE[value] if named[2] else value
    if _NO_WAY.match(lower, start) or _MODAL_PERFECT.match(lower, start):
        return "no"
    if repeated := _ELLIPSIS.fullmatch(lower, start):
        return "no" if repeated["not"] or repeated["cannot"] else "yes"
    if any(map(lower.__contains__, _THEREFORE)) and _CONCLUDES_NOT.search(lower):
        return "no"
    last = None
    for part in reversed(lower[start:].split("; ")):
        clause = _LAST_CLAUSE.split(part)[-1]
        last = last or _judged(clause[_end_of_opening(clause) :])
    return last


def _end_of_opening(lower: str) -> int:
    opening = _OPENING.match(lower)
    end = opening.end() if opening else 0
    fronted = _FRONTED.match(lower, end)
    return fronted.end() if fronted else end


def _judged(clause: str) -> str | None:
    """Read what is said of the statement: one word for true or false, and its denials."""
    subject = _SUBJECT.match(clause)
    mistake = _OPENS_WITH_MISTAKE.match(clause, subject.end()) if subject else None
    if mistake and not _JUDGEMENT.search(clause, mistake.end()):
        return "no"
    if (subject is None and not _JUDGEMENT.match(clause)) or _OPEN.search(clause):
        return None
    said = _ASIDE.sub("", clause[subject.end() if subject else 0 :])
    said = _BEYOND_DOUBT.sub("", _MISTAKE_TO_SAY.sub("not", said))
    words = list(_JUDGEMENT.finditer(said))
    if len(words) != 1:
        return None
    rest = said[words[0].end() :].strip(" ,.!*\"'")
    if rest and not _GOES_ON.match(rest):
        return None
    if rest.startswith("that ") and words[0][0].endswith(("ible", "ely", "able")):
        return None  # "it is possible that they do not"
    verdict = "yes" if words[0]["true"] else "no"
    if len(_DENIAL.findall(said)) % 2 == 0:
        return verdict
    return None if words[0][0] == "untrue" else _OPPOSITE[verdict]  # "not untrue" leaves it open


def _abroad(lower: str) -> str | None:
    """Read a short sentence of another language."""
    if alone := _ALONE_ABROAD.fullmatch(lower):
        return "yes" if alone["yes"] else "no"
    if len(lower.split()) > _MOST_WORDS_ABROAD:
        return None
    lower = _NO_AND_MORE.sub("", lower)
    true, false = _TRUE_ABROAD.findall(lower), _FALSE_ABROAD.findall(lower)
    if bool(true) == bool(false):
        return None
    denied = _NOT_ABROAD.search(lower) is not None
    return "yes" if bool(true) != denied else "no"

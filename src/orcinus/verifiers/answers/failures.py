"""Recognise texts that answer nothing: refusals and loops.

refuses("Unfortunately, I cannot help with that.")  →  True
loop_in("we go on " * 20)                           →  "94% of its runs of 8 words repeat …"
"""

import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.text import sentences

LONGEST_REFUSAL = 600
"""Characters. A longer text may begin like a refusal, but then goes on and gives an answer."""
_NEAR_THE_START = 300
"""Characters in which ``has_refusal`` looks for one."""
_CANNOT = (
    r"(?:can(?:no|['’])t|cannot|can not|won['’]t|(?:am|['’]m) (?:sorry,? but )?(?:not able"
    r"|unable) to"
    r"|do(?:n['’]t| not) feel comfortable)"
    r"(?! (?:emphasi|stress|overstate|rule out|exclude|wait|believe|imagine"
    r"|help (?:but|feel|think)))"
)
_REFUSAL_ABROAD = compile_later(
    r"\A\W*(?:lo siento|no (?:lo )?sé\b|no puedo (?:responder|contestar|ayudar)"
    r"|(?:je suis )?désolée?\b|je ne (?:sais|peux) pas"
    r"|ich weiß (?:es |das )?(?:leider )?nicht|(?:es )?tut mir leid|leider kann ich"
    r"|mi dispiace|non (?:lo )?so\b|non posso (?:rispondere|aiutar)"
    r"|(?:desculpe|lamento)\b|não (?:sei|posso (?:responder|ajudar))"
    r"|извините|я не (?:знаю|могу)|ik weet het niet|jag vet inte|nie wiem|bilmiyorum|maaf"
    r"|(?:很|非常)?抱歉|对不起|對不起|我不知道|我无法|無法回答|无法回答"
    r"|わかりません|分かりません|申し訳|すみません|모르겠|죄송)",
    re.IGNORECASE,
)
_WILL_NOT = (
    r"(?:will not|won['’]t|should not|shouldn['’]t|(?:would|['’]d) (?:rather|prefer) not(?: to)?"
    r"|refuse to|(?:must |have to )?decline to)"
    r" (?:answer|take|help|assist|provide|comply|respond|say|discuss|give|do (?:that|this|so))\b"
    r"|(?:must|(?:will )?have to|need to) (?:respectfully |politely )?decline\b"
)
_DOES_NOT_KNOW = (
    r"do(?:n['’]t| not) know(?: the (?:correct |right )?answer| how to answer)?"
    r"(?: to (?:this|the|that|your) question)?\s*(?:[.,;!]|\Z)"
)
_REFUSAL = compile_later(
    r"\A\W*(?:(?:no|yes|well|hmm|oh|sorry)\b[\s,.!]+)?(?:"
    r"[^.!?\n]{1,60},\s+but\s+i\s(?:can(?:no|['’])t|cannot)\s(?:answer|help|decide)\b|"
    r"i(?:['’]m| am)(?: very| really| deeply)? sorry\b"
    r"(?! to hear| about| for (?:your|the|being|not)\b)"
    r"|my apologies\b(?! for)"
    r"|i apologi[sz]e\b(?! for)"
    r"|sorry,? (?:but )?i\b"
    rf"|(?:unfortunately,? )?i ?(?:{_CANNOT}|{_WILL_NOT}|{_DOES_NOT_KNOW})"
    r"|as an ai\b"
    r"|i do(?:n['’]t| not) have (?:enough|sufficient|any) (?:\w+ )?(?:information|data|context)"
    r"|i(?:['’]m| am) not (?:sure|certain) (?:what|who|which|how|where|when|whether|if)\b"
    r"|i have no (?:idea|clue|way of knowing)|no idea\b|(?:there is|there['’]s|i have) (?:not"
    r" enough"
    r"|insufficient) (?:information|data|context)|(?:not enough|insufficient) (?:information|data)"
    r"|(?:the|this) (?:question|problem|answer)(?: \([^()\n]*\))? (?:can(?:no|['’])t|cannot|can"
    r" not|could"
    r" not) be (?:answered|determined|solved|known))",
    re.IGNORECASE,
)

_UNDETERMINED = compile_later(
    r"\b(?:can(?:not|['’]t)|could(?: not|n['’]t)) be (?:determined|known|answered|calculated"
    r"|computed|solved|found)\b|\b(?:impossible|not possible|no way) to (?:determine|know|answer"
    r"|calculate|tell|say)\b"
    r"|\b(?:not enough|insufficient|missing) (?:information|data)\b"
    r"|\b(?:can(?:not|['’]t)|could(?: not|n['’]t)|unable to|do(?: not|n['’]t)|not) "
    r"(?:tell|decide|say|know|choose|sure|certain|clear) (?:which|whether|between)\b"
    r"(?![^.!?]*\bbut\b)",
    re.IGNORECASE,
)

_HINTS = ("i ", "i'", "sorry", "apolog", "no idea", "nough", "nsufficient", " be ")
"""What a refusal in English holds, in lower case; asked first, because the patterns are slow."""

LOOP_LINES = 6
"""Times. A line repeated this often, and as half of all lines, is a loop; a rarer one is a list."""
LOOP_WORDS = 8
"""Words in the runs that are compared."""
LOOP_SHARE = 0.5
"""Share of a text's runs of ``LOOP_WORDS`` words that repeat earlier ones in a loop."""
LONGEST_WORD = 200
"""Letters. A longer word is searched for repeated letters: a script without blanks, or a loop."""
LOOP_PERIOD, LOOP_REPEATS, LOOP_LENGTH = 40, 8, 60
"""A cut-off text is a loop if it ends in copies of one piece: the longest piece, the fewest copies,
and the fewest characters of all copies together."""
_WORD = compile_later(r"\w+")
_ASCII_WORDS = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or chr(code) == "_" else ord(" ")
    for code in range(128)
).ljust(256)
"""Maps the letters of a text to lower case, and what is between words to blanks."""


@lru_cache(maxsize=1)
def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; cached, because several filters ask for them."""
    if text.isascii():  # six times as fast, and the same words
        return text.encode().translate(_ASCII_WORDS).decode().split()
    return _WORD.findall(text.casefold())


def refuses(text: str) -> bool:
    """Return True if a text declines to answer."""
    return len(text) < LONGEST_REFUSAL and (
        _REFUSAL.match(text) is not None or _REFUSAL_ABROAD.match(text) is not None
    )


def has_refusal(text: str) -> bool:
    """Return True if a sentence near the start of a text declines to answer."""
    start = text[:_NEAR_THE_START]
    lower = start.lower()
    if start.isascii() and "the " in lower and not any(map(lower.__contains__, _HINTS)):
        return False
    return any(map(refuses, sentences(start)))


def ends_undetermined(text: str) -> bool:
    """Return True if the last sentence of a text says that there is no way to know the answer."""
    last = sentences(text[-_NEAR_THE_START:])[-1:]
    return bool(last) and _UNDETERMINED.search(last[0]) is not None


def loop_in(text: str, *, cut_off: bool = False) -> str | None:
    """Return why a text is a loop of the same lines, words or characters; None if it is not.

    >>> loop_in("4 + 4 = 8, " * 20, cut_off=True)
    '94% of its runs of 8 words repeat earlier ones'
    >>> loop_in("x = (7 - (-1)) = " + "(7 - 1) = " * 9 + "(7", cut_off=True)
    "it ends in repetitions of ' - 1) = (7'"

    Args:
        text: The whole text.
        cut_off: True if it stopped at the token limit. Then a loop at its end is enough, for a
            model that loops rarely stops by itself.
    """
    if reason := repeated_line(text) or _repeated_words(words_of(text)):
        return reason
    return _loop_at_end(text.rstrip()) if cut_off else None


def repeated_line(text: str) -> str | None:
    """Return why a text is a loop of the same line; None if it is not."""
    lines = text.splitlines()
    if len(lines) < LOOP_LINES:
        return None
    lines = list(filter(None, map(str.strip, lines)))
    if len(lines) >= LOOP_LINES:
        line, times = Counter(lines).most_common(1)[0]
        if times >= LOOP_LINES and 2 * times >= len(lines) and len(line) > 10:
            return f"one line stands {times} times"
    return None


def _repeated_words(words: list[str]) -> str | None:
    if words and max(map(len, words)) > LONGEST_WORD:
        longest = max(words, key=len)
        words = list(longest)
    # Most words of nearly all texts are new; their runs need not be counted.
    if len(words) < 4 * LOOP_WORDS or 2 * len(set(words)) > len(words):
        return None
    # So are most pairs of words where few words are. A new run begins with each new pair, but for
    # the last ones.
    pairs = len(set(pairwise(words))) - (LOOP_WORDS - 2)
    if 2 * pairs > len(words) - LOOP_WORDS + 1:
        return None
    runs = list(zip(*(words[k:] for k in range(LOOP_WORDS)), strict=False))
    share = 1 - len(set(runs)) / len(runs)
    if share < LOOP_SHARE:
        return None
    return f"{share:.0%} of its runs of {LOOP_WORDS} words repeat earlier ones"


def _loop_at_end(text: str) -> str | None:
    for period in range(1, LOOP_PERIOD + 1):
        length = max(LOOP_LENGTH, LOOP_REPEATS * period)
        end = text[-length:]
        if len(end) == length and end[period:] == end[:-period]:
            return f"it ends in repetitions of {text[-period:]!r}"
    return None

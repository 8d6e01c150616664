"""Read number words of German, French, Spanish, Italian and Portuguese, from 2 to 100.

find_abroad("Die Lösung ist zweiundvierzig.")  →  "zweiundvierzig"
value_abroad("cuarenta y dos")                  →  42

Words that also mean something in English, like "six", are left out where they stand alone.
"""

import re
from collections.abc import Iterator

from orcinus.core.patterns import compile_later

_LANGUAGES = {
    "{one}und{ten}": (
        "ein zwei drei vier fünf sechs sieben acht neun",
        "zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn",
        "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert",
    ),
    "{ten}-{one}": (
        "et-un deux trois quatre cinq six sept huit neuf",
        "dix onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf",
        "vingt trente quarante cinquante soixante soixante-dix quatre-vingt quatre-vingt-dix cent",
    ),
    "{ten} y {one}": (
        "uno dos tres cuatro cinco seis siete ocho nueve",
        "diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve",
        "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien",
    ),
    "{ten} e {one}": (
        "um dois três quatro cinco seis sete oito nove",
        "dez onze doze treze quatorze quinze dezesseis dezessete dezoito dezenove",
        "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem",
    ),
    "{ten}{one}": (
        "uno due tre quattro cinque sei sette otto nove",
        "dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove",
        "venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento",
    ),
}
"""How each language joins tens and ones; then its words for 1 to 9, 10 to 19, and 20 to 100."""
_IRREGULAR = (
    ("veinti", 21, "uno dós trés cuatro cinco séis siete ocho nueve"),
    ("soixante-", 72, "douze treize quatorze quinze seize dix-sept dix-huit dix-neuf"),
    ("quatre-vingt-", 91, "onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf"),
)
"""How words begin that join otherwise, the first value, and how they end."""
_ENGLISH = frozenset(("elf", "once", "six", "sei", "um", "uno", "ein", "et-un", "due", "cent"))
"""Words that mean something else in English, or are an article."""


def _words() -> Iterator[tuple[str, int]]:
    for joined, lines in _LANGUAGES.items():
        ones, teens, tens = map(str.split, lines)
        for first, words in ((1, ones), (10, teens)):
            yield from ((word, first + i) for i, word in enumerate(words) if word not in _ENGLISH)
        for i, ten in enumerate(tens, 2):
            yield ten, 10 * i
            for one, word in enumerate(ones, 1):
                stem = ten[:-1] if joined == "{ten}{one}" and one in (1, 8) else ten
                yield joined.format(ten=stem, one=word), 10 * i + one
                if word == "tre":
                    yield f"{ten}tré", 10 * i + one
    for beginning, since, endings in _IRREGULAR:
        yield from ((beginning + end, since + i) for i, end in enumerate(endings.split()))
    yield "quatre-vingts", 80


_VALUES = {word: value for word, value in _words() if value <= 100}
_WORD = compile_later(
    rf"(?<!\w)(?:{'|'.join(sorted(_VALUES, key=len, reverse=True))})(?!\w)", re.IGNORECASE
)


_SCALES = (
    (9, r"(?:milliarden?|mrd\.?|mil\s+millones|miliard[io]|bilhões|миллиард\w*)(?!\w)|십억"),
    (3, r"(?:tausend|mil(?:le|a)?|tys\.?|тыс\.?|тысяч\w?)\b|千(?![克米瓦卡赫焦])|천"),
    (
        6,
        r"(?:millionen|mio\.?|millones|millón|milhões|milhão|milion[ie]|миллион\w*|млн\.?)(?!\w)|百万|백만",
    ),
    (4, "[万萬만]"),
    (8, "[亿億억]"),
    (5, r"lakhs?\b|लाख"),
    (7, r"crores?\b|करोड़"),
)
"""Powers of ten, and the words behind a number that mean them."""
_SCALE = compile_later(
    r"[0-9](?=\s?(?:[tmlcTMLC]|[^\x00-\x7f]))\s?(?i:"
    + "|".join(f"(?P<p{power}>{words})" for power, words in _SCALES)
    + ")"
)
"""Begins with one set of signs, to which the search can jump."""


SCALES_ABROAD = (
    "usend",
    " mil ",
    "mille",
    "mila ",
    "ionen",
    "lones",
    "ilion",
    "liard",
    *("lakh", "crore", "io.", "Mio", "rd."),
)
"""What such words in ASCII hold; asked first, because the pattern is expensive."""


def in_powers(text: str) -> str:
    """Write scales of other languages as powers of ten: "3 Millionen" as "3×10^6"."""
    return _SCALE.sub(lambda scale: f"{scale[0][0]}×10^{(scale.lastgroup or '')[1:]}", text)


def value_abroad(text: str) -> int | None:
    """Return the value of a number word of another language; None for any other text."""
    return _VALUES.get(text.strip().casefold())


def find_abroad(text: str) -> str | None:
    """Return the only number word of another language in a text; None without one."""
    found = {match[0] for match in _WORD.finditer(text)}
    return found.pop() if len(found) == 1 else None

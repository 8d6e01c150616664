"""Rewrite in English what joins the parts of an answer in other languages.

in_english("Die richtige Antwort ist A oder B.")     →  " the answer is A or B."
in_english("La respuesta no es 9 sino 7.")           →  " the answer is 7."

Everything else stays as it is; the finders look for letters, numbers, formulas and names.
"""

import re

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case

_BESIDE_IDEOGRAM = compile_later(
    r"(?<=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])(?=[A-Za-z0-9(-])"
    r"|(?<=[A-Za-z0-9)])(?=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])"
)
_ANSWER_ABROAD = compile_later(
    r"""(?:\b(?:die|la|el|a|il|le|het|o)\s)?
      (?:\b(?:richtige|korrekte|correcta|correta|corretta|bonne|juiste|finale|endgültige|правильный
          |верный|最终|最終|正确|正確)\s?)?
      (?:(?<!\w)(?:antwort|ergebnis|lösung|respuesta|resultado|resposta|risposta|risultato|réponse
          |antwoord|odpowiedź|cevap|jawaban(?:nya)?|svaret|ответ|відповідь|απάντηση|پاسخ|תשובה
          |התשובה|उत्तर|đáp\ án)
        |答案|答え|正解|结果|結果|정답|답|الإجابة|الجواب|คำตอบ)
      (?:\s(?:final|correcta|correta|corretta|correcte|finale|richtige|الصحيحة))?\s?
      (?:(?<!\w)(?:ist|lautet|es|é|è|est|is|to|adalah|är|είναι|это|này|là|هي|هو|است|היא|है)(?!\w)
        |应该是|應該是|是|为|為|选|選|は|이?은|는|คือ|:)
      (?:\s(?:daher|also|somit|donc|por\ lo\ tanto|portanto|quindi|dunque|la|el|il
          |option|opción|opção|opzione)\b)*:?""",
    re.IGNORECASE | re.VERBOSE,
)
"""Announces an answer in another language."""
_WORDS_ABROAD = ("ntwo", "rgebnis", "espuesta", "sposta", "sulta", "cevap", "awaban", "svaret")
"""What such an announcement in ASCII holds; asked first, because the pattern is expensive."""
_STEMS_ABROAD = (
    *_WORDS_ABROAD,
    *("lösung", "réponse", "odpowied", "đáp", "ответ", "відповідь", "απάντηση", "پاسخ", "תשובה"),
    *("उत्तर", "答案", "答え", "正解", "结果", "結果", "답", "الإجابة", "الجواب", "คำตอบ"),
)
"""What such an announcement in any script holds, in lower case."""
_NOT_BUT_ABROAD = compile_later(
    r"""\b(?:(?:nicht|weder)\s{0}sondern|pas\s{0}mais|(?:no|non|não)\s(?P<verb>(?:es|son|era|fue|è|sono|é|foi)\s)?
        {0}(?:sino|ma|bensì|mas|mais)|niet\s{0}maar|не\s{0}а|inte\s{0}utan|ikke\s{0}men)\s+
      | (?<=[は、,\s])[^は、。,\n]{{1,30}}?(?:では|じゃ)なく(?:て)?[、,]?\s*
      | 不是[^。\n]{{1,30}}?[,，]?\s*(?=而?是)而?
      | [^\s.]{{1,20}}(?:이|가)?\s?아니라\s*""".format(r"[^.;\n]{1,60}?,?\s"),
    re.IGNORECASE | re.VERBOSE,
)
"""Rules out what the answer is contrasted with: "nicht 9, sondern"."""
_NOT_ABROAD = compile_later(r"(?<=[\w)]),\s(?:nicht|pas|niet|inte|ikke|nie|не)\s")
"""Before what an answer is not: "Antwort C, nicht B"."""
_OR = (
    r"\s*(?:(?<=\s)(?:oder|oppure|ou|o|eller|of|или|або|lub|albo|veya|ya\sda|atau|hoặc|या|או|أو|หรือ|ή)(?=\s)"
    r"|或者?|還是|还是|または|もしくは|또는|혹은)\s*"
)
_AND = (
    r"\s*(?:(?<=\s)(?:und|y|e|et|och|og|en|и|та|ve|dan|và|और|ו|و|και)(?=\s)"
    r"|和|以及|及|および|ならびに|그리고|및)\s*"
)
"""Words between two candidates, and between two parts of one answer."""
_PIECE_ENDS, _PIECE_BEGINS = r"(?<=[A-Z0-9$)\]}%])", r"(?=\$|[-(\[]?[A-Z0-9\\](?![a-z]))"
"""The last and the first sign of a letter, a number or a formula."""
_JOINED_BY_OR = compile_later(rf"{_PIECE_ENDS},?{_OR}{_PIECE_BEGINS}")
_JOINED_BY_AND = compile_later(rf"{_PIECE_ENDS},?{_AND}{_PIECE_BEGINS}")
_LAST_OF_SEVERAL = compile_later(rf"(?<=\w),?{_AND}(?=[^\s,]+\W*\Z)")
"""Before the last item of a list that has commas."""
_THAT_IS = compile_later(
    r"(?<=[\w%]),?\s*(?:\b(?:soit|das\s+heißt|d\.\s?h\.|beziehungsweise|es\s+decir|o\s+sea|cioè|ossia|ou\s+seja"
    r"|isto\s+é|c'est-à-dire|то\s+есть|т\.\s?е\.|dwz|oftewel|yani|artinya)(?=\s)|即|也就是|つまり|すなわち|즉)\s*(?=[-$€£]?\d)"
)
"""Before a number in another form: "1/5, soit 20 %"."""


def in_english(text: str) -> str:
    """Rewrite announcements, denials and conjunctions of other languages in English ones."""
    if leaves_english(text):
        return text
    announced = any(map(text.__contains__, _WORDS_ABROAD))
    joined = not _JOINTS.isdisjoint(text.split())
    if not text.isascii():
        lower = lower_case(text)
        joined = joined or any(map(text.__contains__, _JOINTS_WITHOUT_BLANKS))
        announced = announced or any(map(lower.__contains__, _STEMS_ABROAD))
    if joined:
        text = _NOT_BUT_ABROAD.sub(lambda denied: denied["verb"] or "", text)
        text = _NOT_ABROAD.sub(", not ", text)
    if announced:
        text = _ANSWER_ABROAD.sub(" the answer is ", text)
    if not text.isascii():
        text = _BESIDE_IDEOGRAM.sub(" ", text)
    if joined:
        text = _JOINED_BY_AND.sub(" and ", _JOINED_BY_OR.sub(" or ", text))
        text = _THAT_IS.sub(", i.e. ", text)
    return text


def leaves_english(text: str) -> bool:
    """Return True if ``in_english`` leaves a text as it is.

    Two words of English are asked first: they cost a tenth of all words.
    """
    return (
        text.isascii()
        and not any(map(text.__contains__, _WORDS_ABROAD))
        and (" the " in text or " is " in text or _JOINTS.isdisjoint(text.split()))
    )


def join_last_item(line: str) -> str:
    """Write the last item of a list with commas behind a comma, not behind "und"."""
    return _LAST_OF_SEVERAL.sub(", ", line) if "," in line else line


_JOINTS = frozenset(
    (
        *("nicht", "pas", "niet", "inte", "ikke", "nie", "не"),
        *("sondern", "mais", "sino", "mas", "ma", "bensì", "maar", "utan", "men", "а", "sim"),
        *("oder", "oppure", "ou", "o", "eller", "или", "або", "lub", "albo", "veya", "ya", "atau"),
        *(
            "hoặc",
            "या",
            "או",
            "أو",
            "หรือ",
            "ή",
            "und",
            "y",
            "e",
            "et",
            "och",
            "og",
            "en",
            "и",
            "та",
        ),
        *("ve", "dan", "và", "और", "ו", "و", "και", "soit", "heißt", "d.", "d.h.", "decir", "sea"),
        *("cioè", "ossia", "seja", "é", "c'est-à-dire", "есть", "е.", "т.е.", "yani", "artinya"),
        *("oftewel", "dwz", "beziehungsweise"),
    )
)
_JOINTS_WITHOUT_BLANKS = (
    *("或", "還是", "还是", "または", "もしくは", "또는", "혹은", "和", "及", "および", "ならびに"),
    *("그리고", "なく", "而是", "아니라", "即", "就是", "つまり", "すなわち", "즉"),
)
"""What joins the parts of an answer; asked first, because the patterns are expensive."""

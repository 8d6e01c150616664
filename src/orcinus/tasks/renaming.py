"""Find the names in items, and rename them the same way everywhere.

    names = Names(texts)                          reads all texts once, to know what is a name
    renaming = names.found_in(["Anna met Bo in Paris."])
    renamed("Anna met Bo in Paris.", renaming)    →   "Clara met Ivan in Velor."

A word is a name if it is capitalised within a sentence and never written in lower case in any text.
Given names become given names of the same gender, so that pronouns fit; other names are invented.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, pairwise
from random import Random

WOMEN = (
    "Alice", "Amy", "Anna", "Beth", "Clara", "Claire", "Diana", "Elena", "Ella", "Emma", "Eve",
    "Fiona", "Grace", "Hanna", "Helga", "Ida", "Jane", "Julia", "Karen", "Lea", "Lola", "Lucy",
    "Maria", "Melissa", "Mia", "Millie", "Nora", "Olivia", "Rachel", "Rosa", "Sara", "Sophie",
    "Tina", "Vera",
)  # fmt: skip
MEN = (
    "Adam", "Alejandro", "Amir", "Ben", "Bo", "Bob", "Carl", "Dan", "Dave", "David", "Eric",
    "Felix", "Fred", "George", "Hans", "Henry", "Igor", "Ivan", "Jack", "James", "Jerry", "John",
    "Karl", "Leo", "Luis", "Max", "Mike", "Noah", "Oscar", "Otto", "Paul", "Peter", "Rob", "Tom",
)  # fmt: skip
_KEPT = {
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "January"),
    *("February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December", "True", "False", "Yes", "No", "None", "Options", "Question"),
    *("Answer", "English", "Roman", "Arabic", "Latin", "Greek"),
}
"""Capitalised words whose meaning decides answers, or that belong to the form of an item."""
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_NAME = re.compile(r"\b[A-Z][a-z]+(?:-[A-Z][a-z]+)*\b")
_AT_START = re.compile(r"(?:^|[.!?:;\n]|\([A-Z]\)|[A-Z][.)]|--?)[\s\"'“‘(\[*-]*\Z")
"""What stands before the first word of a sentence, a line or an option."""
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "gr")
_VOWELS = ("a", "e", "i", "o", "u")
_ENDS = ("", "l", "n", "r", "s", "th", "x")
SHORT = 4
"""Letters. A shorter name is only looked for as a whole word: Al is no part of Also."""
ENDING = 4
"""Letters of an ending, at most, that makes another word of a name: Paris, Parisian."""


class Names:
    """The names of a set of texts, each with its new name."""

    def __init__(self, texts: Iterable[str], *, seed: int = 0) -> None:
        """Read all texts once.

        Args:
            texts: Every text in which the names may occur.
            seed: Another seed gives other new names.
        """
        self._seed = seed
        self._written: set[str] = set()
        """Words that occur in lower case."""
        self._within: set[str] = set()
        """Words that occur capitalised within a sentence."""
        for text in texts:
            self._written.update(word for word in _WORD.findall(text) if word.islower())
            self._within.update(
                found[0]
                for found in _NAME.finditer(text)
                if not _AT_START.search(text[max(0, found.start() - 8) : found.start()])
            )
        self._given = {
            old: new for group in (WOMEN, MEN) for old, new in _shifted(group, seed).items()
        }
        self._new: dict[str, str] = {}
        self._taken: set[str] = {word.casefold() for word in self._written | self._within}

    def is_name(self, word: str) -> bool:
        """Return whether a capitalised word is a name."""
        if word in _KEPT or word.lower() in self._written:
            return False
        return word in self._within or word in self._given

    def found_in(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the names in some texts, each with its new name."""
        words = {match[0]: None for text in texts for match in _NAME.finditer(text)}
        names = [word for word in words if self.is_name(word)]
        return {name: self._with_ending(name, names) for name in names}

    def _with_ending(self, name: str, names: Iterable[str]) -> str:
        """Return the new name; that of Parisian is the new name of Paris with the ending."""
        for base in names:
            ending = name.removeprefix(base)
            is_derived = len(base) >= SHORT and 0 < len(ending) <= ENDING and ending.islower()
            if is_derived and name != base and name not in self._given:
                return self._renamed(base) + ending
        return self._renamed(name)

    def _renamed(self, word: str) -> str:
        """Return the new name of a name; the same at every call, and no other name's."""
        if word in self._given:
            return self._given[word]
        if word not in self._new:
            random = Random(f"name/{self._seed}/{word}")
            drawn = (_invented(random, 2 + tries // 100) for tries in count())
            new = next(new for new in drawn if new.casefold() not in self._taken)
            self._taken.add(new.casefold())
            self._new[word] = new
        return self._new[word]


def _shifted(names: tuple[str, ...], seed: int) -> dict[str, str]:
    """Return each name with another one of the list, drawn by the seed."""
    order = list(names)
    Random(f"given/{seed}").shuffle(order)
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def _invented(random: Random, length: int) -> str:
    """Return a word of ``length`` syllables."""
    syllables = [random.choice(_ONSETS) + random.choice(_VOWELS) for _ in range(length)]
    return ("".join(syllables) + random.choice(_ENDS)).capitalize()


def renamed(text: str, renaming: Mapping[str, str]) -> str:
    """Return a text in which every name is replaced, as a whole word."""
    return _NAME.sub(lambda found: renaming.get(found[0], found[0]), text)


def left_over(text: str, renaming: Mapping[str, str]) -> str | None:
    """Return an old name that is still in a renamed text, alone or at the beginning of a word.

    Old names that are also new names of others cannot be told and are not looked for.
    """
    new = set(renaming.values())
    for old in renaming:
        if old in new:
            continue
        whole = re.search(rf"\b{re.escape(old)}\b", text, re.IGNORECASE)
        case = re.IGNORECASE if len(old) > SHORT else 0  # the name Mark does not begin market
        begins = len(old) >= SHORT and re.search(rf"\b{re.escape(old)}", text, case)
        if whole or begins:
            return old
    return None


def edges(text: str, names: Iterable[str]) -> Counter[tuple[str, str, str]]:
    """Return the relations of a text: two names that follow each other, and the words between."""
    known = set(names)
    found = [match for match in _NAME.finditer(text) if match[0] in known]
    return Counter(
        (first[0], " ".join(text[first.end() : second.start()].split()), second[0])
        for first, second in pairwise(found)
    )


def same_relations(old: str, new: str, renaming: Mapping[str, str]) -> bool:
    """Return whether the relations of two texts are equal up to the renaming."""
    before = Counter(
        {
            (renaming[first], words, renaming[second]): count
            for (first, words, second), count in edges(old, renaming).items()
        }
    )
    return before == edges(new, renaming.values())

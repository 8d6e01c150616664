"""Answers within sentences: a few rows for each rule that reads one, not a list of wordings."""

import pytest

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.dates import Date, dates_in, names_date
from orcinus.verifiers.answers.polarity import polarity
from orcinus.verifiers.answers.stated import states
from orcinus.verifiers.rules import judge

CITIES = ("London", "Paris", "Berlin", "Madrid")


@pytest.mark.parametrize(
    ("text", "reference", "stated"),
    [
        # the last clause counts
        ("Kepler is often named, but it was Galilei.", "Galilei", True),
        ("Galilei is often named, but it was Kepler.", "Galilei", False),
        # a clause before the main one states nothing
        ("After swapping with Alice, Bob has the ball.", "Alice", False),
        ("If today is Monday, in two days it is Wednesday.", "Wednesday", True),
        # nor does what explains the answer
        ("It was Kepler, who wrote to Galilei.", "Galilei", False),
        ("Kepler, a friend of Galilei.", "Galilei", False),
        ("He came by bus because the car was broken.", "car", False),
        ("cat (the dog is elsewhere)", "dog", False),
        # a remark behind the answer takes nothing away
        ("Sodium - a soft metal", "sodium", True),
        ("Galilei, the Italian astronomer", "Galilei", True),
        ("North, since the turns cancel.", "north", True),
        # subject, object, complement
        ("Alice ends up with it.", "Alice", True),
        ("Table salt contains sodium.", "sodium", True),
        ("You end up facing north.", "north", True),
        ("Sodium it is.", "sodium", True),
        # denied, compared, listed
        ("I doubt that it was Galilei.", "Galilei", False),
        ("They drink tea instead of coffee.", "coffee", False),
        ("They drink tea instead of coffee.", "tea", True),
        ("Galilei and Kepler", "Galilei", False),
        ("Bob sits next to Alice.", "Alice", False),
        # part of a longer name or compound
        ("It was proposed by Charles Darwin.", "Darwin", False),
        ("the United States of America", "United States", False),
        ("hot dog stand", "dog", False),
        # two names compete
        ("Bob received it from Alice.", "Alice", None),
        ("Alice is shorter than Bob.", "Alice", True),
        ("sodium, Na", "sodium", None),
    ],
)
def test_the_place_of_the_words_decides(text: str, reference: str, stated: bool | None) -> None:
    assert states(text, reference) is stated


def test_a_reference_beside_another_has_no_verdict() -> None:
    outcome = judge("Bob received it from Alice.", "exact", None, "Alice")
    assert (outcome.value, outcome.confidence) == (None, "guessed")


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The claim doesn't hold.", "no"),
        ("The claim checks out.", "yes"),
        ("It is anything but true.", "no"),
        ("It would be a mistake to call this true.", "no"),
        ("There is nothing true about it.", "no"),
        ("I don't think that this is right.", "no"),
        ("Of course they are!", "yes"),
        ("Most probably it isn't.", "no"),
        ("They can't.", "no"),
        ("It couldn't have happened.", "no"),
        ("Without a doubt.", "yes"),
        ("I'm afraid not.", "no"),
        ("Das stimmt nicht.", "no"),
        ("Ce n'est pas vrai.", "no"),
        ("C'est exact.", "yes"),
        ("Non, c'est faux.", "no"),
        ("これは間違いです。", "no"),
        ("没错。", "yes"),
        ("이것은 사실이 아닙니다.", "no"),
        ("It depends.", None),
        ("It is possible that they do not.", None),
        ("Whether it is true is unclear.", None),
        ("It is a mammal.", None),
    ],
)
def test_a_judgement_in_other_words_is_yes_or_no(sentence: str, value: str | None) -> None:
    assert polarity(sentence) == value


ROWS: list[tuple[AnswerType, tuple[str, ...] | None, str, str, float | None]] = [
    # what is given, compared or conditional is no answer
    ("number", None, "15", "With 3 machines, 15 parts are made.", 1.0),
    ("number", None, "12", "So x equals 12 when y equals 3.", 1.0),
    ("number", None, "75", "He scored 75 points, 5 fewer than last time's 80.", 1.0),
    ("number", None, "18", "18 is the sum of 12 and 6.", 1.0),
    ("number", None, "9", "30 students minus 21 girls leaves 9 boys.", 1.0),
    ("number", None, "5", "5 kilometers, which is about 3.1 miles", 1.0),
    ("number", None, "3", "Lisa bought 3 books at $5 each for $15.", None),
    # parts of a whole, and quantities in words
    ("number", None, "1/6", "one out of six", 1.0),
    ("number", None, "0.25", "a 1 in 4 chance", 1.0),
    ("number", None, "8", "8 out of 10 people agree.", 1.0),
    ("number", None, "6", "half a dozen", 1.0),
    ("number", None, "5.25", "It is five dollars and twenty-five cents.", 1.0),
    ("number", None, "2500", "Es sind 2.500 Euro.", 1.0),
    ("number", None, "0.000001", "10^-6", 1.0),
    ("number", None, "3", "n = 3, 4, 5", 0.0),
    # a text that breaks off in a step
    ("number", None, "84", "First, 7 × 12 = 84. Next we need to subtract", None),
    # rows of a listing, an option's place, its date
    ("choice", CITIES, "B", "a. London - no\nb. Paris - yes\nc. Berlin - no\nd. Madrid - no", 1.0),
    ("choice", CITIES, "C", "London? No. Paris? No. Berlin? Yes! Madrid? No.", 1.0),
    ("choice", CITIES, "C", "a) Ok\nb) Ok\nc) Ok\nd) Ok\n\nThe capital is meant, hence c).", 1.0),
    ("choice", CITIES, "D", "The last option.", 1.0),
    ("choice", CITIES, "A", "The first one is wrong.", None),
    ("choice", CITIES, "B", "I'd eliminate A, C and D.", 1.0),
    ("choice", ("07/04/1776", "07/05/1776"), "A", "It was on 4 July 1776.", 1.0),
    ("choice", CITIES, "C", "The answer is (B) or (C). Given the map, it must be (C).", 1.0),
    # sets with a name
    ("math", None, r"\mathbb{R}", "all real numbers", 1.0),
    ("math", None, r"\mathbb{R}", r"$[0,\infty)$", 0.0),
    ("math", None, r"\emptyset", "There is no real solution.", 1.0),
    ("math", None, "4", r"$$\begin{aligned} 2x &= 8 \\ x &= 4 \end{aligned}$$", 1.0),
    # the only date or time of a sentence
    ("exact", None, "10:45", "The train arrives at 10:45 am.", 1.0),
    ("spans", None, "12 March 1912", "It happened on March 12, 1912.", 1.0),
    ("exact", None, "well-known", "well known", 1.0),
    ("exact", None, "Saturn", "| Planet | Rings |\n|---|---|\n| largest | Saturn |", 1.0),
    ("bool", None, "yes", "In some cases yes, in others no.", None),
    ("number", None, "14", "14, or perhaps 15", 0.0),
    ("number", None, "11", "11 and 13 are both prime.", 0.0),
    ("exact", None, "Helsinki", "Tallinn. Sorry, I mixed them up: Helsinki.", 1.0),
    ("bool", None, "no", "The claim is wrong, even though parts of it are true.", 1.0),
    (
        "choice",
        ("1", "2", "3", "4"),
        "B",
        "A is too small, B is just right, and C and D are too big.",
        1.0,
    ),
]


@pytest.mark.parametrize(("kind", "choices", "reference", "response", "value"), ROWS)
def test_a_rule_reads_its_sentence(
    kind: AnswerType,
    choices: tuple[str, ...] | None,
    reference: str,
    response: str,
    value: float | None,
) -> None:
    assert judge(response, kind, choices, reference).value == value


def test_a_date_is_read_in_any_order() -> None:
    assert dates_in("the 4th of July, 1776") == dates_in("July 4, 1776") == [Date(4, 7, 1776)]
    assert names_date("On 4 July 1776.", "July 4, 1776")
    assert not names_date("4 July 1776 or 5 July 1776", "July 4, 1776")
    assert not names_date("July 1776", "July 1776")

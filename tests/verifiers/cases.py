r"""What counts as right: one table for the tests and for docs/verdicts.md.

Add a case here; ``tests/verifiers/test_cases.py`` checks it, and ``scripts/verdicts_page.py``
writes it into the page. ``value`` is 1.0 for right, 0.0 for wrong, None for no verdict.
"""

from dataclasses import dataclass

from orcinus.core.types import AnswerType

CITIES = ("London", "Paris", "Berlin", "Madrid")


@dataclass(frozen=True, slots=True)
class Case:
    """A response to a question, the reference, and the verdict."""

    reference: str | tuple[str, ...] | None
    response: str
    value: float | None
    choices: tuple[str, ...] | None = None


RIGHT: dict[AnswerType, str] = {
    "choice": """
The letter of the right option, or its text.
A letter and another option's text contradict each other: the letter counts.
Two options are wrong, also when one of them is right. A letter that is no option is wrong.
"The second option" names one, too. Of a listing that judges each
option, the one called right counts.
""",
    "number": """
The same number: exactly, or within 1 part in 10,000 if the reference is no whole number.
Thousands separators, currencies, units, percent, fractions, powers of ten and number words are
read. "8 out of 10" is 8 and 0.8. Two different numbers, and a quantity of two units such as
5 ft 11, are not one of them. Of several numbers in a sentence, those behind a preposition, "the" or
a condition are given, and the one that is left is the answer. A bound ("more than 12", "it is at
least 12") is no number. Neither is a sum that is not done, nor a row of a list without its total.
If both have a unit of one kind, the answer is taken in the reference's unit: 2400 mL is 2.4 L. A
date with a year is that year.
""",
    "math": """
An equal expression. Whole numbers, fractions and polynomials are compared exactly, of any size.
Other values are computed to forty digits.

* A decimal reference of three digits or more stands for every exact value that rounds to it:
  π is 3.14. A decimal answer to an exact reference is right only from ten digits on.
* 25 % is 0.25, and also 25 with its unit left out. Units are left out on either side.
* Names are left out: x = 5 is 5, and so is an inverse, f^{-1}(x) = 2x. Of an identity, which holds
  for all values, the last side counts; 2x = 10 is not 10.
* Lists and sets may have any order; pairs, intervals and matrices have one, and intervals their
  brackets. An inequality is its interval. "All real numbers" and "no solution" are the sets that
  they name.
* Several boxes with "and" between them are one answer of several values.
* Text is no expression. What no rule and no library can read has no verdict.
""",
    "bool": """
Yes or no; true and false mean the same, and so do statements that begin with them. Short replies
("of course they can", "it doesn't") and judgements of the question ("that is a myth", "das stimmt
nicht") count, too, in many languages. "It is possible" is no answer.
""",
    "exact": """
The same words: case, articles, hyphens, quotes and a final full stop do not matter, and neither
does the order of a date. A plural stands for its singular, "USA" for "U.S.A.", and "Curie, Marie"
for "Marie Curie". A sentence that states them in its last main clause is right, too, unless
it denies them, compares them or lists others beside them. If it names another that may be meant as
well, there is no verdict.
""",
    "list": """
The same items in the same order, with commas, numbers or "and" between them.
""",
    "spans": """
The same words by DROP's rule: a number, a date or some words of a text, without articles. Several
spans may have any order.
""",
    "json": """
An equal JSON value, wherever it stands in the response. The order of keys does not matter; true is
not 1, and "1" is not 1.
""",
    "program": """
A program that passes the tests. It runs in a sandbox, without files or network and for two seconds.
The judge compares values, so an object of the program's own class is never equal to a plain value,
whatever its `__eq__` says. A program that ends early still has its tests run. One that replaces a
built-in function of its tests gets no verdict.
""",
    "free": """
No rule can tell, except for puzzles of the form "24 from 4 5 7 9". A judge decides.
""",
}
"""What counts as right for each answer type, as the page says it."""

CASES: dict[AnswerType, tuple[Case, ...]] = {
    "choice": (
        Case("B", "The answer is (B).", 1.0, CITIES),
        Case("B", "Paris is the capital, so the answer is Paris.", 1.0, CITIES),
        Case("B", "Paris would be a mistake.", None, CITIES),
        Case("B", r"$\boxed{\text{(B) Paris}}$", 1.0, CITIES),
        Case("B", "**Answer:** B", 1.0, CITIES),
        Case("C", "Die richtige Antwort ist (C).", 1.0, CITIES),
        Case("B", "The answer is (B) Berlin.", 1.0, CITIES),
        Case("B", "I choose the second option.", 1.0, CITIES),
        Case("B", "a) no b) yes c) no d) no", 1.0, CITIES),
        Case("B", "❌ London\n✅ Paris\n❌ Berlin\n❌ Madrid", 1.0, CITIES),
        Case("B", "It is Paris (option B), although London (A) is larger.", 1.0, CITIES),
        Case("B", "The answer is (A) or (B).", 0.0, CITIES),
        Case("B", "The answer is (D). <!-- The answer is (B). -->", 0.0, CITIES),
        Case("B", "The answer is not (B). It is (C).", 0.0, CITIES),
        Case("A", "<think>The answer is (A).</think>The answer is (D).", 0.0, CITIES),
        Case("A", "<think>The answer is (A)", None, CITIES),
        Case("B", "I cannot answer this question.", None, CITIES),
    ),
    "number": (
        Case("1250", "$1,250.00", 1.0),
        Case("0.75", "3/4", 1.0),
        Case("2.4 L", "2400 mL", 1.0),
        Case("45 kg", "45 g", 0.0),
        Case("25%", "25 percent", 1.0),
        Case("0.25", "The probability is 25%.", 1.0),
        Case("6.02e23", "6.02 × 10^23", 1.0),
        Case("12", "There are a dozen: twelve.", 1.0),
        Case("42", "The answer is 42 apples.", 1.0),
        Case("7", "3 + 4 = 7", 1.0),
        Case("15", "With 3 machines, 15 parts are made in 5 minutes.", 1.0),
        Case("1/6", "one out of six", 1.0),
        Case("16", "16. There are 4 rows of 4 seats.", 1.0),
        Case("7", "It arrives on the 7th day.", 1.0),
        Case("2.3", "7/3", 0.0),
        Case("5", "The city has 5 million inhabitants.", 0.0),
        Case("1234567", "1234568", 0.0),
        Case("20", "The answer is 20. Wait, that is wrong. The answer is 27.", 0.0),
        Case("42", "La respuesta no se sabe.", None),
        Case("12", "It is at least 12.", None),
        Case("8", "Tom: 5\nAnn: 8", None),
    ),
    "math": (
        Case("x^2-1", "The answer is $(x-1)(x+1)$.", 1.0),
        Case(r"\frac{15}{2}", r"\boxed{7\frac12}", 1.0),
        Case(r"\frac{3}{5}", "So we obtain\n\\[\n0.6\n\\]", 1.0),
        Case(r"2\sqrt{2}", r"\(\sqrt{8}\)", 1.0),
        Case("30", r"\boxed{30\text{ cm}^2}", 1.0),
        Case("0.335", r"\boxed{33.5\%}", 1.0),
        Case("3.14", r"\boxed{\pi}", 1.0),
        Case(r"(-\infty,3]", r"$x \le 3$", 1.0),
        Case(r"\{1,2,3\}", r"$\{3,2,1\}$", 1.0),
        Case(r"\mathbb{R}", "all real numbers", 1.0),
        Case("-2, 2", r"x = \boxed{2} or x = \boxed{-2}", 1.0),
        Case("12345678901", "The answer is 12345678902.", 0.0),
        Case("2^{100}", r"\boxed{2^{100}+1}", 0.0),
        Case(r"\pi", r"\boxed{3.14}", 0.0),
        Case("(3,4)", "(4,3)", 0.0),
        Case("3", "x = 3 or x = 5", 0.0),
        Case("9", r"\boxed{9^{9^{9^{9}}}}", None),
        Case("5", "We get $x = 5$, and then $y = 2x +", None),
    ),
    "bool": (
        Case("yes", "Yes, it can.", 1.0),
        Case("yes", "The claim is true.", 1.0),
        Case("no", "No, except in Nevada, where it is legal.", 1.0),
        Case("no", "False.", 1.0),
        Case("no", "So the answer is no.", 1.0),
        Case("no", "That is a common misconception.", 1.0),
        Case("no", "It is more likely false than true.", 1.0),
        Case("no", "Das stimmt nicht.", 1.0),
        Case("yes", "Of course they can.", 1.0),
        Case("yes", "It is not true that whales are fish, so no.", 0.0),
        Case("yes", "Answer: No", 0.0),
        Case("no", r"\boxed{\text{Yes}}", 0.0),
        Case("no", "I'm sorry, I can't assist with that request.", None),
        Case("yes", "It is possible that they do.", None),
        Case("yes", "", None),
    ),
    "exact": (
        Case("Paris", "Paris", 1.0),
        Case("Paris", "The answer is Paris.", 1.0),
        Case("Eiffel Tower", 'The answer is "eiffel tower".', 1.0),
        Case("] )", "The answer is ] ).", 1.0),
        Case(("Paris", "City of Light"), "The answer is City of Light.", 1.0),
        Case("Paris", "<answer>Paris</answer>", 1.0),
        Case("George Orwell", "It was written by George Orwell.", 1.0),
        Case("sodium", "Table salt contains sodium.", 1.0),
        Case("Rome", "Rome, the capital of Italy", 1.0),
        Case("apple", "apples", 1.0),
        Case("Ann", "Ann is taller than Bob.", 1.0),
        Case("rust", "The gate squeaks because of rust.", 1.0),
        Case("Paris", "He was not born in Paris.", 0.0),
        Case("coffee", "They drink tea instead of coffee.", 0.0),
        Case("Bob", "Alice got it from Bob.", None),
        Case("Paris", "The answer is London.", 0.0),
        Case("Paris", "The answer is not Paris but London.", 0.0),
        Case("] )", "The answer is ] ] ).", 0.0),
        Case("Paris", "I don't know.", None),
    ),
    "list": (
        Case(("bean", "corn", "pea"), "The sorted list is bean, corn and pea.", 1.0),
        Case(("bean", "corn", "pea"), "bean corn pea", 1.0),
        Case(("bean", "corn", "pea"), "bean < corn < pea", 1.0),
        Case(("bean", "corn", "pea"), "1) bean 2) corn 3) pea", 1.0),
        Case(("bean", "corn", "pea"), "The soup is made of bean, corn and pea.", 1.0),
        Case(("bean", "corn", "pea"), "Sorted: Bean, Corn, Pea", 1.0),
        Case(("bean", "corn", "pea"), r"\boxed{bean, corn, pea}", 1.0),
        Case(("bean", "corn", "pea"), "Sorted order: bean, pea, corn", 0.0),
        Case(("bean", "corn", "pea"), "The answer is bean, corn.", 0.0),
        Case(("bean", "corn", "pea"), "The answer is bean, corn, pea, squash.", 0.0),
        Case(("bean", "corn", "pea"), "", None),
    ),
    "spans": (
        Case("4 July 1776", "July 4, 1776", 1.0),
        Case("5 March 1871", "The 5th of March, 1871", 1.0),
        Case("Denver Broncos", "The answer is the Denver Broncos.", 1.0),
        Case("12", "The answer is 12 yards.", 1.0),
        Case("12 March 1912", "It happened on March 12, 1912.", 1.0),
        Case("Smith", "The answer is Smith.", 1.0),
        Case(("Smith", "Jones"), "The answer is Smith.", 1.0),
        Case("12", "The answer is 13.", 0.0),
        Case("Smith", "The answer is Jones.", 0.0),
        Case("4 July 1776", "4 July 1778", 0.0),
        Case("Smith", "", None),
    ),
    "json": (
        Case('{"a": 1, "b": [2, 3]}', '{"b": [2, 3], "a": 1}', 1.0),
        Case('{"a": 1}', 'Here it is:\n```json\n{"a": 1}\n```', 1.0),
        Case('{"a": 1}', '{"a": 1.0}', 1.0),
        Case("[1, 2]", "The list is [1, 2].", 1.0),
        Case('{"a": null}', '{"a": null}', 1.0),
        Case('{"a": 1}', '{"a": 2}', 0.0),
        Case('{"a": 1}', '{"a": "1"}', 0.0),
        Case('{"a": 1}', '{"a": 1, "b": 2}', 0.0),
        Case("[1, 2]", "[2, 1]", 0.0),
        Case('{"a": 1}', "There is no such object.", None),
    ),
    "program": (
        Case("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    return a + b\n```", 1.0),
        Case("assert add(2, 3) == 5", "def add(a, b):\n    return a + b", 1.0),
        Case("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    return a * b\n```", 0.0),
        Case("assert add(2, 3) == 5", "```python\ndef plus(a, b):\n    return a + b\n```", 0.0),
        Case("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    return a +\n```", 0.0),
        Case("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    open('x')\n```", 0.0),
        Case("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    return 1 / 0\n```", 0.0),
        Case("assert f() == 1", "```python\ndef f():\n    return f()\n```", 0.0),
        Case("assert add(2, 3) == 5", "Add the two numbers with +.", None),
        Case(None, "```python\nprint(5)\n```", None),
    ),
    "free": (
        Case("24 from 4 5 7 9", "The answer is (9 - 5) * 7 - 4.", 1.0),
        Case("24 from 4 6 8 2", "The answer is 4 * 6 * (8 / 8).", 0.0),
        Case("10 from 1 2 3 4", "1 + 2 + 3 + 4 = 10", 1.0),
        Case("10 from 1 2 3 4", "The answer is 1 * 2 * 3 * 4.", 0.0),
        Case("10 from 1 2 3 4", "The answer is 4 + 6.", 0.0),
        Case("6 from 1 2 3", "The answer is 1 * 2 * 3.", 1.0),
        Case("6 from 1 2 3", "There is no way.", None),
        Case("A good summary.", "Another summary.", None),
        Case("A poem.", "A poem.", None),
        Case(None, "Anything.", None),
    ),
}
"""Ten examples and more for each answer type."""

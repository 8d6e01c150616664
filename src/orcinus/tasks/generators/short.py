"""Six kinds of short question, which the demo runs on offline.

sums      "Add 4 7 2 9 5." → 27          4 + 7 = 11, 11 + 2 = 13, 13 + 9 = 22, 22 + 5 = 27. …
largest   "Largest of 38 10 75?" → 75    38, 38, 75. The answer is 75.
parity    "Odd or even ones in 1 0 1 1?" → odd
logic     "From left to right: true and false xor true?" → true
item      "Item 2 of k a t?" → a
reverse   "Reverse k a t." → t a k
"""

import re
from collections.abc import Callable, Mapping
from random import Random

from orcinus.tasks.generators.generator import LETTERS, Generator, Words, explanations


def _digits(random: Random, n: int) -> str:
    return " ".join(str(random.randint(1, 9)) for _ in range(n))


def _running_sum(items: Words) -> list[str]:
    total, steps = int(items[0]), []
    for item in items[1:]:
        steps.append(f"{total} + {item} = {total + int(item)}")
        total += int(item)
    return steps


def _sum(items: Words) -> int:
    return sum(map(int, items))


def _sum_halves(items: Words) -> list[str]:
    a, b = _split_in_half(items)
    return [
        f"{' '.join(a)} makes {_sum(a)}",
        f"{' '.join(b)} makes {_sum(b)}",
        f"{_sum(a)} + {_sum(b)} = {_sum(items)}",
    ]


def _split_in_half(items: Words) -> tuple[Words, Words]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _running_max(items: Words) -> list[str]:
    return [str(max(map(int, items[: i + 1]))) for i in range(len(items))]


def _max_halves(items: Words) -> list[str]:
    a, b = _split_in_half(items)
    top = max(map(int, items))
    return [
        f"of {' '.join(a)} it is {max(map(int, a))}",
        f"of {' '.join(b)} it is {max(map(int, b))}",
        f"of both {top}",
    ]


def _parity(items: Words) -> str:
    return "odd" if items.count("1") % 2 else "even"


def _running_parity(items: Words) -> list[str]:
    return [f"{item} {_parity(items[: i + 1])}" for i, item in enumerate(items)]


def _parity_halves(items: Words) -> list[str]:
    a, b = _split_in_half(items)
    return [
        f"{' '.join(a)} is {_parity(a)}",
        f"{' '.join(b)} is {_parity(b)}",
        f"together {_parity(items)}",
    ]


def _draw_logic(random: Random, size: int) -> str:
    words = [random.choice(("true", "false"))]
    for _ in range(size - 1):
        words += [random.choice(("and", "or", "xor")), random.choice(("true", "false"))]
    return f"From left to right: {' '.join(words)}?"


_OPERATORS: Mapping[str, Callable[[bool, bool], bool]] = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a is not b,
}


def _logic_steps(words: Words) -> list[str]:
    value, steps = words[0] == "true", []
    for operator, word in zip(words[1::2], words[2::2], strict=True):
        result = _OPERATORS[operator](value, word == "true")
        steps.append(f"{_truth_word(value)} {operator} {word} = {_truth_word(result)}")
        value = result
    return steps


def _logic(words: Words) -> str:
    return _logic_steps(words)[-1].rpartition(" ")[2]


def _truth_word(value: bool) -> str:
    return "true" if value else "false"


def _logic_halves(words: Words) -> list[str]:
    return ["start " + words[0], *[step.partition(" = ")[2] for step in _logic_steps(words)]]


def _draw_item(random: Random, size: int) -> str:
    place = random.randint(1, size)
    return f"Item {place} of {' '.join(random.choice(LETTERS) for _ in range(size))}?"


def _item(words: Words) -> str:
    return words[int(words[0])]


def _item_halves(words: Words) -> list[str]:
    return [
        f"count to {words[0]}",
        " ".join(words[1 : int(words[0]) + 1]),
        f"stop at {_item(words)}",
    ]


def _reverse_steps(words: Words) -> list[str]:
    return [" ".join(reversed(words[-i - 1 :])) for i in range(len(words))]


def _reverse_halves(words: Words) -> list[str]:
    a, b = _split_in_half(words)
    return [" ".join(reversed(b)), " ".join(reversed(a)), "together " + " ".join(reversed(words))]


SHORT: tuple[Generator, ...] = (
    Generator(
        name="sums",
        answer_type="number",
        draw=lambda random, size: f"Add {_digits(random, size)}.",
        pattern=re.compile(r"Add ([\d ]+)\."),
        answer=lambda items: str(_sum(items)),
        explanations=explanations(
            steps=_running_sum,
            idea=lambda items, answer: f"All of {' '.join(items)} together make {answer}.",
            parts=_sum_halves,
        ),
        dresses={
            "shop": "The prices are {} dollars. What is the total?",
            "clinic": "The doses are {} grams. How many grams in all?",
            "court": "The sentences are {} years. How many years together?",
        },
    ),
    Generator(
        name="largest",
        answer_type="number",
        draw=lambda random, size: (
            f"Largest of {' '.join(str(random.randint(10, 99)) for _ in range(size))}?"
        ),
        pattern=re.compile(r"Largest of ([\d ]+)\?"),
        answer=lambda items: str(max(map(int, items))),
        explanations=explanations(
            steps=_running_max,
            idea=lambda items, answer: f"No number is greater than {answer}.",
            parts=_max_halves,
        ),
        dresses={
            "shop": "The prices are {} dollars. Which is the highest?",
            "clinic": "The doses are {} grams. Which is the largest?",
            "court": "The sentences are {} years. Which is the longest?",
        },
    ),
    Generator(
        name="parity",
        answer_type="exact",
        draw=lambda random, size: (
            f"Odd or even ones in {' '.join(random.choice('01') for _ in range(2 * size))}?"
        ),
        pattern=re.compile(r"Odd or even ones in ([01 ]+)\?"),
        answer=_parity,
        explanations=explanations(
            steps=_running_parity,
            idea=lambda items, answer: f"The ones in it are {items.count('1')}.",
            parts=_parity_halves,
        ),
    ),
    Generator(
        name="logic",
        answer_type="bool",
        draw=_draw_logic,
        pattern=re.compile(r"From left to right: ([a-z ]+)\?"),
        answer=_logic,
        explanations=explanations(
            steps=_logic_steps,
            idea=lambda words, answer: (
                f"The last part is {words[-2]} {words[-1]}, which makes it {answer}."
            ),
            parts=_logic_halves,
        ),
    ),
    Generator(
        name="item",
        answer_type="exact",
        draw=_draw_item,
        pattern=re.compile(r"Item (\d) of ([a-z ]+)\?"),
        answer=_item,
        explanations=explanations(
            steps=lambda words: list(words[1 : int(words[0]) + 1]),
            idea=lambda words, answer: f"In place {words[0]} is {answer}.",
            parts=_item_halves,
        ),
    ),
    Generator(
        name="reverse",
        answer_type="list",
        draw=lambda random, size: (
            f"Reverse {' '.join(random.choice(LETTERS) for _ in range(size))}."
        ),
        pattern=re.compile(r"Reverse ([a-z ]+)\."),
        answer=lambda words: " ".join(reversed(words)),
        explanations=explanations(
            steps=_reverse_steps,
            idea=lambda words, answer: f"It ends in {words[-1]} and starts with {words[0]}.",
            parts=_reverse_halves,
        ),
    ),
)

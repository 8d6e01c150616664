"""A program's own objects and names cannot make its tests pass."""

import pytest

from orcinus.verifiers.programs import passes

ADD = "assert add(2, 3) == 5"
ALWAYS = "class A:\n    def __eq__(self, other):\n        return True\n"
GIVES_A = "def add(a, b):\n    return A()\n"
WRONG = "def add(a, b):\n    return 0\n"

CHEATS = {
    "an object that equals everything": (ALWAYS + GIVES_A, ADD),
    "the value on the left": (ALWAYS + GIVES_A, "assert 5 == add(2, 3)"),
    "an object that is unequal to nothing": (
        ALWAYS + "    def __ne__(self, other):\n        return False\n" + GIVES_A,
        "assert not add(2, 3) != 5",
    ),
    "an object in a list": (ALWAYS + "def add(a, b):\n    return [A()]", "assert add(2, 3) == [5]"),
    "an object among values": (ALWAYS + GIVES_A, "assert add(2, 3) in (5, 6)"),
    "a list of objects that hold the value": (
        ALWAYS + "def add(a, b):\n    return [A()]",
        "assert 5 in add(2, 3)",
    ),
    "an object with a hash in a set": (
        ALWAYS
        + "    def __hash__(self):\n        return hash(5)\ndef add(a, b):\n    return {A()}",
        "assert add(2, 3) == {5}",
    ),
    "an object as a key": (
        ALWAYS
        + "    def __hash__(self):\n        return hash(5)\ndef add(a, b):\n    return {A(): 1}",
        "assert add(2, 3) == {5: 1}",
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\n"
        "class A:\n    x: int = 0\n    def __eq__(self, other):\n        return True\n" + GIVES_A,
        ADD,
    ),
    "a class without a class statement": (
        "A = type('A', (), {'__eq__': lambda self, other: True})\n" + GIVES_A,
        ADD,
    ),
    "a subclass of int": (
        "class A(int):\n    def __eq__(self, o):\n        return True\n" + GIVES_A,
        ADD,
    ),
    "a subclass of str": (
        "class A(str):\n    def __eq__(self, o):\n        return True\n" + GIVES_A,
        ADD,
    ),
    "a subclass of list": (
        "class A(list):\n    def __eq__(self, o):\n        return True\n" + GIVES_A,
        "assert add(2, 3) == [5]",
    ),
    "a difference that is always 0": (
        "class A:\n    def __sub__(self, other):\n        return 0\n" + GIVES_A,
        "assert abs(add(2, 3) - 5) < 1e-6",
    ),
    "a number that is always 5": (
        "class A:\n    def __round__(self, digits):\n        return 5\n" + GIVES_A,
        "assert round(add(2, 3), 2) == 5",
    ),
    "abs is replaced": ("def abs(x):\n    return 0\n" + WRONG, "assert abs(add(2, 3) - 5) < 1e-6"),
    "isinstance is replaced": (
        "isinstance = lambda value, kind: True\n" + WRONG,
        "assert isinstance(add(2, 3), str)",
    ),
    "math is replaced": (
        "class math:\n    isclose = lambda *values: True\n" + WRONG,
        "assert math.isclose(add(2, 3), 5.0)",
    ),
    "an error is replaced": ("def AssertionError(*said):\n    return None\n" + WRONG, ADD),
    "a return before the tests": (WRONG + "return", ADD),
    "exit": (WRONG + "exit(0)", ADD),
    "sys.exit": ("import sys\n" + WRONG + "sys.exit(0)", ADD),
    "an open quote": (WRONG + "x = '''", ADD + "\n'''"),
    "a condition before the tests": (WRONG + "if False:", f"    {ADD}"),
    "the words of a verdict": (WRONG + "print('passes its tests')", ADD),
    "the name of the judge": ("def judge(operators, values):\n    return True\n" + WRONG, ADD),
    "within a function": (
        ALWAYS + GIVES_A,
        f"def check(f):\n    {ADD.replace('add', 'f')}\ncheck(add)",
    ),
    "a chain": (ALWAYS + GIVES_A, "assert 5 == add(2, 3) == 5"),
}


@pytest.mark.parametrize(("program", "tests"), CHEATS.values(), ids=CHEATS.keys())
def test_no_wrong_program_says_yes_for_itself(program: str, tests: str) -> None:
    assert passes(f"```python\n{program}\n```", tests).value != 1.0


HONEST = {
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\n"
        "def both(a, b):\n    return P(a, b)",
        "assert both(2, 3) == (2, 3)",
    ),
    "a class of the task": (
        "class Stack:\n    def __init__(self):\n        self.items = []\n"
        "    def push(self, item):\n        self.items.append(item)\n"
        "    def pop(self):\n        return self.items.pop()",
        "stack = Stack()\nstack.push(3)\nassert stack.pop() == 3 and not stack.items",
    ),
    "a class that compares": (
        "class P:\n    def __init__(self, x):\n        self.x = x\n"
        "    def __eq__(self, other):\n        return self.x == other.x\n"
        "    def __add__(self, other):\n        return P(self.x + other.x)",
        "assert P(3) == P(3)\nassert not P(3) == P(4)\nassert P(1) + P(2) == P(3)",
    ),
    "a local name": (
        "def total(values):\n    sum = 0\n    for value in values:\n        sum += value\n"
        "    return sum",
        "assert total([1, 2]) == sum([1, 2]) == 3",
    ),
    "kinds that are equal": (
        "from collections import Counter, deque\n"
        "def count(text):\n    return Counter(text)\n"
        "def last(values):\n    return deque(values, 2)",
        "assert count('aab') == {'a': 2, 'b': 1}\nassert list(last([1, 2, 3])) == [2, 3]\n"
        "assert count('a').keys() == {'a'} and 1.0 == count('a')['a'] and True == 1",
    ),
    "numbers of a class of the task": (
        "class V:\n    def __init__(self, x):\n        self.x = x\n"
        "    def __mul__(self, other):\n        return self.x * other.x",
        "assert V(2) * V(3) == 6",
    ),
    "tests with a name that the sandbox lacks": (
        "def double(x):\n    return 2 * x",
        "input = 3\nassert double(input) == 6\nif __name__ == 'x':\n    open('file')",
    ),
    "an error that is expected": (
        "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x ** 0.5",
        "try:\n    root(-1)\n    assert False\nexcept ValueError as error:\n"
        "    assert 'neg' in str(error)\nassert abs(root(2) - 1.41421) < 1e-4",
    ),
}


@pytest.mark.parametrize(("program", "tests"), HONEST.values(), ids=HONEST.keys())
def test_right_programs_pass(program: str, tests: str) -> None:
    outcome = passes(f"```python\n{program}\n```", tests)
    assert (outcome.value, outcome.reason) == (1.0, "passes its tests")


def test_a_replaced_function_is_named() -> None:
    program, tests = CHEATS["abs is replaced"]
    outcome = passes(f"```python\n{program}\n```", tests)
    assert (outcome.value, outcome.reason) == (None, "it replaces abs, which its tests use")

"""Four kinds of question in the wording of BIG-Bench Hard.

    boolean_expressions  "not ( True and False ) is"                → True
    navigate             "… Take 3 steps. Turn left. Take 2 steps." → No
    web_of_lies          "Question: Ann lies. Bob says Ann lies. Does Bob tell the truth?"  → Yes
    object_counting      "I have a flute, two pigs, and a yam. How many objects do I have?"  → 4

The generators are our own. The wording is that of the public tasks, so that a student can be tested
on the real items afterwards (Suzgun et al. 2022, arXiv:2210.09261). The same code solves the real
items, which is tested. If a real item is drawn by chance, ``sample`` removes it, because it
overlaps with the evaluation set.
"""

import re
from itertools import pairwise
from random import Random

from orcinus.tasks.generators.generator import Generator, Words, explanations

NAMES = [
    "Ada",
    "Abe",
    "Bea",
    "Ben",
    "Cara",
    "Carl",
    "Dana",
    "Dean",
    "Edda",
    "Earl",
    "Fay",
    "Finn",
    "Gail",
    "Gus",
    "Hope",
    "Hugh",
    "Iris",
    "Ivan",
    "Jade",
    "Jack",
    "Kira",
    "Kurt",
    "Lena",
    "Lars",
    "Mona",
    "Mark",
    "Nora",
    "Noel",
    "Olga",
    "Omar",
    "Petra",
    "Paul",
    "Quinn",
    "Rosa",
    "Rolf",
    "Sara",
    "Saul",
    "Tina",
    "Theo",
    "Una",
    "Uwe",
    "Vera",
    "Vito",
    "Wanda",
    "Walt",
    "Xenia",
    "Yara",
    "York",
    "Zoe",
    "Zeno",
]
NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
}
THINGS: dict[str, dict[str, str]] = {
    "fruits": {
        "apple": "apples",
        "banana": "bananas",
        "blackberry": "blackberries",
        "grape": "grapes",
        "nectarine": "nectarines",
        "orange": "oranges",
        "peach": "peaches",
        "plum": "plums",
        "raspberry": "raspberries",
        "strawberry": "strawberries",
    },
    "vegetables": {
        "cabbage": "cabbages",
        "carrot": "carrots",
        "cauliflower": "cauliflowers",
        "garlic": "garlics",
        "head of broccoli": "heads of broccoli",
        "lettuce head": "lettuce heads",
        "onion": "onions",
        "potato": "potatoes",
        "stalk of celery": "stalks of celery",
        "yam": "yams",
    },
    "animals": {
        "bear": "bears",
        "cat": "cats",
        "chicken": "chickens",
        "cow": "cows",
        "dog": "dogs",
        "donkey": "donkeys",
        "duck": "ducks",
        "fish": "fish",
        "frog": "frogs",
        "goat": "goats",
        "mouse": "mice",
        "pig": "pigs",
        "rabbit": "rabbits",
        "snail": "snails",
        "snake": "snakes",
    },
    "musical instruments": {
        "accordion": "accordions",
        "clarinet": "clarinets",
        "drum": "drums",
        "flute": "flutes",
        "piano": "pianos",
        "trombone": "trombones",
        "trumpet": "trumpets",
        "violin": "violins",
    },
    "objects": {
        "bed": "beds",
        "car": "cars",
        "chair": "chairs",
        "couch": "couches",
        "fridge": "fridges",
        "lamp": "lamps",
        "microwave": "microwaves",
        "oven": "ovens",
        "stove": "stoves",
        "table": "tables",
        "toaster": "toasters",
    },
}
_KIND_OF = {
    form: kind for kind, things in THINGS.items() for pair in things.items() for form in pair
}
_COUNTED = re.compile(r"I have (.*)\. How many (.*) do I have\?")
_STEP = re.compile(r"Take (\d+) steps?(?: (forward|backward|left|right))?\.")
_CLAIM = re.compile(r"(\w+) (lies|tells the truth)\.|(\w+) says (\w+) (lies|tells the truth)\.")
_TURNS = {"left": 3, "right": 1, "around": 2}
_DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""North, east, south, west: (right, forward) of one step."""


def _draw_boolean(random: Random, size: int) -> str:
    """Draw an expression of about ``size`` operands, some of it in brackets."""
    return f"{_expression(random, size)} is"


def _expression(random: Random, size: int) -> str:
    if size <= 1:
        return random.choice(("", "not ", "not not ")) + random.choice(("True", "False"))
    if size <= 3 and random.random() < 0.3:
        return random.choice(("", "not ")) + f"( {_expression(random, size)} )"
    left = random.randint(1, size - 1)
    first = _expression(random, left)
    operator = random.choice(("and", "or"))
    return f"{first} {operator} {_expression(random, size - left)}"


def _boolean_steps(words: Words) -> list[str]:
    """Evaluate the innermost brackets first, one operation a step, until one value is left."""
    tokens, steps = list(words), []
    while len(tokens) > 1:
        close = tokens.index(")") if ")" in tokens else len(tokens)
        start = max((i for i in range(close) if tokens[i] == "("), default=-1) + 1
        inner = tokens[start:close]
        if len(inner) == 1:
            tokens[start - 1 : close + 1] = inner
            continue
        at, length = _next_operation(inner)
        operation = inner[at : at + length]
        value = _value_of(operation)
        steps.append(f"{' '.join(operation)} = {value}")
        tokens[start + at : start + at + length] = [value]
    return steps or [f"it is {tokens[0]}"]


def _next_operation(tokens: Words) -> tuple[int, int]:
    """Return (place, length) of the operation that binds most tightly.

    The last ``not`` of a row comes first, then ``and``, then ``or``.
    """
    for i, token in enumerate(tokens):
        if token == "not" and tokens[i + 1] != "not":
            return i, 2
    word = "and" if "and" in tokens else "or"
    return tokens.index(word) - 1, 3


def _value_of(operation: Words) -> str:
    if operation[0] == "not":
        return str(operation[1] != "True")
    left, right = operation[0] == "True", operation[2] == "True"
    return str((left and right) if operation[1] == "and" else (left or right))


def _boolean_answer(words: Words) -> str:
    """Return ``True`` or ``False``."""
    return _boolean_steps(words)[-1].rpartition(" ")[2]


def _draw_navigate(random: Random, size: int) -> str:
    """Draw ``size`` instructions; about half of the questions get more, which lead back."""
    facing = random.random() < 0.45
    said = ["Always face forward."] if facing else []
    for _ in range(size):
        if not facing and random.random() < 0.4:
            said.append(random.choice(("Turn left.", "Turn right.", "Turn around.")))
        else:
            way = f" {random.choice(('forward', 'backward', 'left', 'right'))}" if facing else ""
            said.append(_take_steps(random.randint(1, 10), way))
    if random.random() < 0.5:
        said += _instructions_back(said, facing)
    return (
        "If you follow these instructions, do you return to the starting point? "
        f"{' '.join(said)}\nOptions:\n- Yes\n- No"
    )


def _take_steps(n: int, way: str) -> str:
    return f"Take {n} step{'s' if n > 1 else ''}{way}."


def _instructions_back(said: Words, facing: bool) -> list[str]:
    """Return instructions that lead back to the start.

    Without a fixed heading, none are returned when the way back would need a second turn.
    """
    x, y, heading = _positions(said)[-1] if _positions(said) else (0, 0, 0)
    if facing:
        back = [
            (abs(x), "left" if x > 0 else "right"),
            (abs(y), "backward" if y > 0 else "forward"),
        ]
        return [_take_steps(n, f" {way}") for n, way in back if n]
    if x and y:
        return []
    wanted = next(
        (
            i
            for i, (dx, dy) in enumerate(_DIRECTIONS)
            if (dx * x < 0 and not y) or (dy * y < 0 and not x)
        ),
        None,
    )
    if wanted is None:
        return []
    turn = {1: ["Turn right."], 2: ["Turn around."], 3: ["Turn left."]}.get(
        (wanted - heading) % 4, []
    )
    return [*turn, _take_steps(abs(x) + abs(y), "")]


def _positions(said: Words) -> list[tuple[int, int, int]]:
    """Return (right, forward, heading) after each instruction."""
    x = y = heading = 0
    places = []
    for instruction in said:
        if turned := re.fullmatch(r"Turn (left|right|around)\.", instruction):
            heading = (heading + _TURNS[turned[1]]) % 4
        elif taken := _STEP.fullmatch(instruction):
            way = (
                heading
                if taken[2] is None
                else {"forward": 0, "right": 1, "backward": 2, "left": 3}[taken[2]]
            )
            x, y = x + _DIRECTIONS[way][0] * int(taken[1]), y + _DIRECTIONS[way][1] * int(taken[1])
        places.append((x, y, heading))
    return places


def _instructions(words: Words) -> list[str]:
    return re.findall(r"[A-Z][^.]*\.", " ".join(words))


def _navigate_steps(words: Words) -> list[str]:
    """Return the position after each instruction, in steps right and forward of the start."""
    said = _instructions(words)
    steps = []
    for instruction, (x, y, heading) in zip(said, _positions(said), strict=True):
        if instruction.startswith("Turn"):
            steps.append(f"facing {('north', 'east', 'south', 'west')[heading]}")
        elif instruction.startswith("Take"):
            steps.append(f"{instruction.split()[1]} to {x} {y}")
    return [*steps, f"at {x} {y}"]


def _navigate_answer(words: Words) -> str:
    """Return ``Yes`` if the instructions end where they began."""
    x, y, _ = _positions(_instructions(words))[-1]
    return "Yes" if (x, y) == (0, 0) else "No"


def _draw_lies(random: Random, size: int) -> str:
    """Draw a chain of ``size`` people, each but the first speaking about the one before."""
    people = random.sample(NAMES, size)
    said = [f"{people[0]} {random.choice(('lies', 'tells the truth'))}."]
    said += [
        f"{b} says {a} {random.choice(('lies', 'tells the truth'))}." for a, b in pairwise(people)
    ]
    return f"Question: {' '.join(said)} Does {people[-1]} tell the truth?"


def _lies_steps(words: Words) -> list[str]:
    """Return for each person in turn whether they tell the truth."""
    honest: dict[str, bool] = {}
    for first, word, speaker, about, claim in _CLAIM.findall(" ".join(words)):
        if first:
            honest[first] = word != "lies"
        else:
            honest[speaker] = (claim != "lies") == honest[about]
    return [f"{name} {'true' if value else 'false'}" for name, value in honest.items()]


def _lies_answer(words: Words) -> str:
    """Return ``Yes`` if the last person tells the truth."""
    return "Yes" if _lies_steps(words)[-1].endswith("true") else "No"


def _draw_counting(random: Random, size: int) -> str:
    """Draw a list of ``size`` things of one kind, or of two kinds of which one is asked for."""
    kind = random.choice(list(THINGS))
    others = [other for other in THINGS if other != kind]
    forms = [(thing, plural) for thing, plural in THINGS[kind].items()]
    if kind != "objects" and random.random() < 0.6:
        forms = random.sample(forms, min(len(forms), (size + 1) // 2)) + list(
            THINGS[random.choice(others)].items()
        )
    drawn = random.sample(forms[: max(size, len(forms))], min(size, len(forms)))
    said = []
    for thing, plural in drawn:
        n = random.choice((1, 1, 1, 1, 2, 3, 4, 5))
        article = "an" if thing[0] in "aeiou" else "a"
        said.append(
            f"{article} {thing}"
            if n == 1
            else f"{('two', 'three', 'four', 'five')[n - 2]} {plural}"
        )
    listed = f"{', '.join(said[:-1])}, and {said[-1]}" if len(said) > 1 else said[0]
    return f"I have {listed}. How many {kind} do I have?"


def _counting_steps(words: Words) -> list[str]:
    """Return the running count after each thing; things of another kind do not change it."""
    listed, kind = _COUNTED.fullmatch(" ".join(words)).groups()  # type: ignore[union-attr]
    total, steps = 0, []
    for item in re.split(r", and |, | and ", listed):
        number, _, thing = item.partition(" ")
        if kind == "objects" or _KIND_OF[thing] == kind:
            total += NUMBERS[number]
        steps.append(f"{thing} {total}")
    return steps


def _counting_answer(words: Words) -> str:
    """Return how many there are of the kind that is asked for."""
    return _counting_steps(words)[-1].rpartition(" ")[2]


BBH: tuple[Generator, ...] = (
    Generator(
        name="boolean_expressions",
        answer_type="bool",
        draw=_draw_boolean,
        pattern=re.compile(r"((?:True|False|not|and|or|\(|\)| )+) is"),
        answer=_boolean_answer,
        explanations=explanations(
            steps=_boolean_steps,
            idea=lambda words, answer: (
                f"It has {words.count('and')} and, {words.count('or')} or, "
                f"{words.count('not')} not."
            ),
            parts=lambda words: [
                "the parts are",
                *[step.rpartition(" ")[2] for step in _boolean_steps(words)],
            ],
        ),
    ),
    Generator(
        name="navigate",
        answer_type="bool",
        draw=_draw_navigate,
        pattern=re.compile(
            r"If you follow these instructions, do you return to the starting point\? "
            r"(.*)\nOptions:\n- Yes\n- No"
        ),
        answer=_navigate_answer,
        explanations=explanations(
            steps=_navigate_steps,
            idea=lambda words, answer: (
                f"The way {'ends' if answer == 'Yes' else 'does not end'} where it began."
            ),
            parts=lambda words: ["the places are", *_navigate_steps(words)[-2:]],
        ),
    ),
    Generator(
        name="web_of_lies",
        answer_type="bool",
        draw=_draw_lies,
        pattern=re.compile(r"Question: (.*) Does \w+ tell the truth\?"),
        answer=_lies_answer,
        explanations=explanations(
            steps=_lies_steps,
            idea=lambda words, answer: (
                f"There are {words.count('lies.')} claims of lies, "
                "so the answer is decided by them."
            ),
            parts=lambda words: ["of all", *_lies_steps(words)[-2:]],
        ),
    ),
    Generator(
        name="object_counting",
        answer_type="number",
        draw=_draw_counting,
        pattern=re.compile(r"(I have .*\. How many .* do I have\?)"),
        answer=_counting_answer,
        explanations=explanations(
            steps=_counting_steps,
            idea=lambda words, answer: f"All that is asked for together makes {answer}.",
            parts=lambda words: [
                "the counts are",
                *[step.rpartition(" ")[2] for step in _counting_steps(words)],
            ],
        ),
    ),
)

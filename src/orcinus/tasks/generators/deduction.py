"""Questions about what follows from facts and rules, with a dial for the depth of the proof.

    "Ada is kind. If Ada is kind, then Ada is wise. If Ada is calm, then Ada is brave.
    Which statement follows?
    Options:
    (A) Ada is brave
    (B) Ada is wise"                                                   →  B, depth 1

Several chains of rules of one depth are drawn, and all but one are broken. A prover then decides:
a question is kept only where the facts agree and exactly one option follows. Each language holds
the one before it: implications, ``and`` in premises, ``not``, ``or`` in conclusions, and rules for
``all``. The idea of the dial is ScaleLogic's; the prover, the wording and the closed vocabulary,
which small students can read, are ours.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from random import Random
from typing import Any, Literal, get_args

from orcinus.tasks.generators.bbh import NAMES
from orcinus.tasks.generators.generator import Generator, Words
from orcinus.tasks.generators.prover import Inference, Proof, Rule, Undecided, solve

Language = Literal["imply", "and", "not", "or", "all"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""Each holds those before it."""
BRANCHES = 4
"""Options of a question, unless the recipe says otherwise."""
_ADJECTIVES = """
able bold brave brief bright brisk broad busy calm careful cheerful civil clean clear clever close
cold common cool crisp curious daring dear deep dry eager early easy even exact fair famous fast
fine firm fit fond formal frank free fresh friendly full funny gentle glad good grand grateful great
happy hardy harsh heavy helpful honest hopeful hot huge humble hungry jolly just keen kind large
late lazy lean light little lively lonely long loud loyal lucky mature mean merry mild modest moody
neat new nice noble noisy odd old open patient plain polite poor proud pure quick quiet rare ready
rich rough round rude safe scared serious shallow sharp short shy silent silly simple sincere slim
slow sly small smart smooth sober social soft solemn solid stable steady stern stiff strange strict
strong sturdy sunny sweet swift tall tame tense tender thick thin tidy tired tough upset useful vain
vivid warm weak weary wet wide wild wise witty young
"""
PROPERTIES = tuple(_ADJECTIVES.split())
"""Adjectives. A question takes each one once, so that chains never meet by chance."""
TRIES = 1000
"""Draws. After this many refused ones in a row something is wrong with the drawing."""
_QUESTION = "Which statement follows?"
_WORDING = re.compile(
    rf"((?:\w+ is|Everyone who|If|Only) [^?]*\n{re.escape(_QUESTION)}\nOptions:\n.*)", re.DOTALL
)
_OPTION = re.compile(r"\([A-Z]\) (\w+ is (?:not )?\w+)")
_STATEMENT = re.compile(r"(\w+) is (not )?(\w+)")
_PERSONS = re.compile(r"Only (\w+) and (\w+) are here\.")
_UNIVERSAL = re.compile(r"Everyone who is (not )?(\w+) is (not )?(\w+)")

EVERYONE = "everyone"
Statement = tuple[str, bool, str]
"""(person or ``EVERYONE``, holds, property)."""


def deepest(branches: int) -> int:
    """Return the greatest depth that the words suffice for: a chain takes two a round, and seven.

    >>> deepest(4)
    16
    """
    return (len(PROPERTIES) // branches - 7) // 2


@dataclass(frozen=True, slots=True)
class Sentence:
    """A fact or a rule in words, about persons or about everyone."""

    premises: tuple[Statement, ...]
    heads: tuple[Statement, ...]
    universal: bool = False
    """True for "Everyone who is kind is wise", with one premise and one head: their person stands
    for each."""

    def text(self) -> str:
        """Return the sentence."""
        if self.universal:
            return f"Everyone who {_predicate(self.premises[0])} {_predicate(self.heads[0])}."
        then = " or ".join(map(_words_of, self.heads))
        if not self.premises:
            return f"{then[0].upper()}{then[1:]}."
        return f"If {' and '.join(map(_words_of, self.premises))}, then {then}."


def _predicate(statement: Statement) -> str:
    _, holds, name = statement
    return f"is {name}" if holds else f"is not {name}"


def _words_of(statement: Statement) -> str:
    return f"{statement[0]} {_predicate(statement)}"


def _negated(statement: Statement) -> Statement:
    person, holds, name = statement
    return person, not holds, name


@dataclass(slots=True)
class _Chain:
    """A proof under construction."""

    goal: Statement
    facts: list[Sentence] = field(default_factory=list)
    rules: list[Sentence] = field(default_factory=list)


class _Drawer:
    """Draws one question: it hands out properties, and knows the persons and the language."""

    def __init__(self, random: Random, language: Language) -> None:
        self._random = random
        self._level = LANGUAGES.index(language)
        self._properties = iter(random.sample(PROPERTIES, len(PROPERTIES)))
        self.persons = random.sample(NAMES, 2)

    def has(self, language: Language) -> bool:
        """Return True when the question may use the words of ``language``."""
        return self._level >= LANGUAGES.index(language)

    def fresh(self, person: str) -> Statement:
        """Return a statement about a property that no other statement has."""
        holds = not (self.has("not") and self._random.random() < 0.3)
        return person, holds, next(self._properties)

    def chain(self, depth: int) -> _Chain:
        """Draw a chain of rules that proves its goal in ``depth`` rounds."""
        person = self._random.choice(self.persons)
        start = self.fresh(person)
        found = _Chain(start, [Sentence((), (start,))])
        while depth:
            depth -= self._extend(found, depth)
        self._add_dead_rule(found)
        return found

    def _extend(self, found: _Chain, depth: int) -> int:
        """Add one link to a chain; return how many rounds it takes."""
        person, before, after = found.goal[0], found.goal, self.fresh(found.goal[0])
        links = [word for word in LANGUAGES if self.has(word) and (word != "or" or depth >= 2)]
        match self._random.choice(links):
            case "or":
                cases = self.fresh(person), self.fresh(person)
                found.rules.append(Sentence((before,), cases))
                found.rules += [Sentence((case,), (after,)) for case in cases]
                found.goal = after
                return 2
            case "and":
                beside = self.fresh(person)
                found.facts.append(Sentence((), (beside,)))
                premises = [before, beside]
                self._random.shuffle(premises)
                found.rules.append(Sentence(tuple(premises), (after,)))
            case "not" if self._random.random() < 0.5:
                found.rules.append(Sentence((_negated(after),), (_negated(before),)))
            case "all" if self._random.random() < 0.5:
                other = next(name for name in self.persons if name != person)
                found.facts.append(Sentence((), ((other, *before[1:]),)))
                found.rules.append(Sentence(((EVERYONE, *before[1:]),), (after,)))
            case "all":
                found.rules.append(Sentence((before,), (after,), universal=True))
            case _:
                found.rules.append(Sentence((before,), (after,)))
        found.goal = after
        return 1

    def _add_dead_rule(self, found: _Chain) -> None:
        """Add a rule that leads away from the chain, or one that never fires."""
        rule = self._random.choice(found.rules)
        person = found.goal[0]
        if self._random.random() < 0.5:
            found.rules.append(Sentence((found.facts[0].heads[0],), (self.fresh(person),)))
        else:
            found.rules.append(Sentence((self.fresh(person),), (self._random.choice(rule.heads),)))

    def break_chain(self, found: _Chain) -> None:
        """Break a chain's proof: cut a rule off from what fires it, or turn a literal around."""
        place = self._random.randrange(len(found.rules) - 1)  # the last rule is a dead one
        rule = found.rules[place]
        if self.has("not") and self._random.random() < 0.5:
            turned = [*rule.premises]
            which = self._random.randrange(len(turned))
            turned[which] = _negated(turned[which])
            found.rules[place] = replace(rule, premises=tuple(turned))
            return
        if self._random.random() < 0.5:
            away = (*rule.premises[:-1], self.fresh(found.goal[0]))
            found.rules[place] = replace(rule, premises=away)
        else:
            found.rules[place] = replace(rule, heads=(self.fresh(found.goal[0]),))

    def hide_right_chain(self, chains: Sequence[_Chain]) -> None:
        """Add rules that never fire, until every goal is the conclusion of as many rules.

        Else the goal of a chain that was cut off at its end would stand in the options only, and
        an option could be ruled out by that. Each goal gets one such rule at least.
        """
        concluding = [sum(found.goal in rule.heads for rule in found.rules) for found in chains]
        for found, count in zip(chains, concluding, strict=True):
            found.rules += [
                Sentence((self.fresh(found.goal[0]),), (found.goal,))
                for _ in range(max(concluding) + 1 - count)
            ]


def draw_question(random: Random, depth: int, *, language: Language, branches: int) -> str:
    """Draw questions until the prover decides one.

    Args:
        random: Where they are drawn from.
        depth: Rounds of the proof that the construction means.
        language: Which words the rules may use.
        branches: Number of options.

    Raises:
        RuntimeError: The prover refused ``TRIES`` in a row.
    """
    for _ in range(TRIES):
        text = draft_question(random, depth, language=language, branches=branches)
        try:
            _solve(" ".join(text.split()))
        except Undecided:
            continue
        return text
    raise RuntimeError(f"deduction: {TRIES} questions in a row have no single answer")


def draft_question(random: Random, depth: int, *, language: Language, branches: int) -> str:
    """Draw a question that the prover has not seen, with the arguments of ``draw_question``."""
    drawer = _Drawer(random, language)
    chains = [drawer.chain(depth) for _ in range(branches)]
    for broken in chains[1:]:
        drawer.break_chain(broken)
    drawer.hide_right_chain(chains)
    sentences = [*chain.from_iterable([*found.facts, *found.rules] for found in chains)]
    random.shuffle(sentences)
    goals = [found.goal for found in chains]
    random.shuffle(goals)
    said = [sentence.text() for sentence in sentences]
    if drawer.has("all"):
        said.insert(0, f"Only {' and '.join(drawer.persons)} are here.")
    listed = "\n".join(
        f"({chr(ord('A') + place)}) {_words_of(goal)}" for place, goal in enumerate(goals)
    )
    return f"{' '.join(said)}\n{_QUESTION}\nOptions:\n{listed}"


@dataclass(frozen=True, slots=True)
class _Solved:
    """A question with its answer."""

    letter: str
    proof: Proof
    options: tuple[str, ...]
    names: tuple[str, ...]
    """The words of each atom, as "Ada is kind"; atom 1 is the first."""
    rules: tuple[Rule, ...]
    goals: tuple[int, ...]

    def say(self, literal: int) -> str:
        words = self.names[abs(literal) - 1]
        return words if literal > 0 else words.replace(" is ", " is not ", 1)


@lru_cache(maxsize=4096)
def _solve(text: str) -> _Solved:
    """Read a question back and solve it.

    Raises:
        Undecided: It has not exactly one answer.
    """
    known, _, listed = text.partition(_QUESTION)
    atoms: dict[tuple[str, str], int] = {}
    persons: tuple[str, ...] = ()
    if found := _PERSONS.match(known):
        persons, known = found.groups(), known[found.end() :]
    options = [_statement(match[1]) for match in _OPTION.finditer(listed)]
    sentences = [_read(sentence) for sentence in re.findall(r"[^.]+\.", known)]

    def literal(statement: Statement) -> int:
        person, holds, name = statement
        atom = atoms.setdefault((person, name), len(atoms) + 1)
        return atom if holds else -atom

    rules = [
        Rule(
            tuple(literal(s) for s in grounded.premises),
            tuple(literal(s) for s in grounded.heads),
        )
        for sentence in sentences
        for grounded in _ground(sentence, persons)
    ]
    goals = [literal(option) for option in options]
    solution = solve(rules, goals)
    return _Solved(
        letter=chr(ord("A") + solution.right),
        proof=solution.proof,
        options=tuple(map(_words_of, options)),
        names=tuple(f"{person} is {name}" for person, name in atoms),
        rules=tuple(rules),
        goals=tuple(goals),
    )


def _statement(text: str) -> Statement:
    person, negation, name = _STATEMENT.fullmatch(text.strip()).groups()  # type: ignore[union-attr]
    return person, not negation, name


def _read(text: str) -> Sentence:
    """Read a sentence back from its words."""
    words = text.strip().rstrip(".")
    if found := _UNIVERSAL.fullmatch(words):
        held, then = (EVERYONE, not found[1], found[2]), (EVERYONE, not found[3], found[4])
        return Sentence((held,), (then,), universal=True)
    held_text, comma, then_text = words.removeprefix("If ").partition(", then ")
    if not comma:
        return Sentence((), tuple(map(_statement, words.split(" or "))))
    return Sentence(
        tuple(map(_statement, held_text.split(" and "))),
        tuple(map(_statement, then_text.split(" or "))),
    )


def _ground(sentence: Sentence, persons: Sequence[str]) -> list[Sentence]:
    """Return a sentence for each person, or with each person in place of everyone."""
    if sentence.universal:
        return [
            Sentence(
                tuple((person, *s[1:]) for s in sentence.premises),
                tuple((person, *s[1:]) for s in sentence.heads),
            )
            for person in persons
        ]
    premises = chain.from_iterable(
        [(person, *s[1:]) for person in persons] if s[0] == EVERYONE else [s]
        for s in sentence.premises
    )
    return [replace(sentence, premises=tuple(premises))]


def _answer(words: Words) -> str:
    return _solve(" ".join(words)).letter


def _facts(words: Words) -> dict[str, Any]:
    depth = _solve(" ".join(words)).proof.depth
    return {"difficulty": depth, "depth": depth}


def _forwards(words: Words, answer: str) -> str:
    """Return the proof in order."""
    solved = _solve(" ".join(words))
    said = [_line(line, solved) for line in solved.proof.lines if line.premises or line.cases]
    return f"{'; '.join(said)}. The answer is {answer}."


def _line(line: Inference, solved: _Solved) -> str:
    conclusion = solved.say(line.literal)
    if not line.cases:
        return f"{' and '.join(map(solved.say, line.premises))}, so {conclusion}"
    heads = " or ".join(solved.say(case[0].literal) for case in line.cases)
    shown = f"{' and '.join(map(solved.say, line.premises))}, so {heads}"
    for case in line.cases:
        steps = [solved.say(step.literal) for step in case]
        shown += f"; if {', then '.join(steps)}"
    return f"{shown}; so {conclusion}"


def _backwards(words: Words, answer: str) -> str:
    """Return what each option rests on, from the option back to a fact or to a gap."""
    solved = _solve(" ".join(words))
    proved = solved.proof.lines[-1].literal
    said = []
    for place, goal in enumerate(solved.goals):
        needs = _path_by_proof(solved) if goal == proved else _path_to_gap(goal, solved)
        said.append(f"({chr(ord('A') + place)}) {', '.join(needs)}")
    return f"{'; '.join(said)}. The answer is {answer}."


def _path_by_proof(solved: _Solved) -> list[str]:
    """Return the proof from its end: each line's premises, and at last that they are given."""
    path = [solved.say(solved.proof.lines[-1].literal)]
    for line in reversed(solved.proof.lines):
        if line.cases:
            heads = " or ".join(solved.say(case[0].literal) for case in line.cases)
            path.append(f"needs {heads}")
        if line.premises:
            path.append(f"needs {' and '.join(map(solved.say, line.premises))}")
    return [*path, "given"]


def _path_to_gap(goal: int, solved: _Solved) -> list[str]:
    """Return a path back from a goal that does not follow, one rule after another, to its gap."""
    given = {rule.heads[0] for rule in solved.rules if not rule.premises and len(rule.heads) == 1}
    path, seen = [solved.say(goal)], {goal}
    while True:
        missing = (
            -literal
            for rule in solved.rules
            if goal in rule.clause
            for literal in rule.clause - {goal}
            if -literal not in given | seen
        )
        following = next(missing, None)
        if following is None:
            return [*path, "nothing gives it"]
        seen.add(following)
        path.append(f"needs {solved.say(following)}")
        goal = following


def _idea(words: Words) -> str:
    solved = _solve(" ".join(words))
    return f"It takes {solved.proof.depth} steps to {solved.say(solved.proof.lines[-1].literal)}."


DEDUCTION = Generator(
    name="deduction",
    answer_type="choice",
    draw=partial(draw_question, language="imply", branches=BRANCHES),
    pattern=_WORDING,
    answer=_answer,
    explanations={
        "direct": lambda words, answer: f"The answer is {answer}.",
        "answer_then_explain": lambda words, answer: f"The answer is {answer}. {_idea(words)}",
        "explain_then_answer": lambda words, answer: f"{_idea(words)} The answer is {answer}.",
        "decompose": _backwards,
        "step_by_step": _forwards,
    },
    choices=lambda words: _solve(" ".join(words)).options,
    facts=_facts,
)
"""The family; ``deduction`` sets its language and number of options."""


def deduction(language: Language, branches: int) -> Generator:
    """Return the generator of one language."""
    return replace(
        DEDUCTION,
        name=f"{DEDUCTION.name}_{language}",
        draw=partial(draw_question, language=language, branches=branches),
    )

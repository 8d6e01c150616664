"""Decide what follows from rules, and find the shortest proof.

    rules = [Rule((), (1,)), Rule((1,), (2,)), Rule((2,), (3,)), Rule((4,), (5,))]
    solve(rules, [3, 5])    →  Solution(right=0, proof=Proof(depth=2, …)): 3 follows, 5 does not

A literal is a number: 3 says that atom 3 holds, -3 that it does not. What follows is decided by
satisfiability (unit propagation and case splits: DPLL, Davis, Logemann and Loveland 1962), which is
complete. The proof is found by rounds of inference, so that its depth is the smallest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Literal = int
Clause = frozenset[Literal]


@dataclass(frozen=True)
class Rule:
    """A rule: if all ``premises`` hold, at least one head does. Without premises it is a fact.

    It also says that a premise fails where all heads and the other premises are decided.
    """

    premises: tuple[Literal, ...]
    heads: tuple[Literal, ...]

    @cached_property
    def clause(self) -> Clause:
        """The same as one disjunction."""
        return frozenset((*(-premise for premise in self.premises), *self.heads))


@dataclass(frozen=True, slots=True)
class Inference:
    """One line of a proof. Without premises and cases it is given, or assumed in a case."""

    literal: Literal
    premises: tuple[Literal, ...] = ()
    cases: tuple[tuple["Inference", ...], ...] = ()
    """Proofs of ``literal``, one for each head of a rule whose premises hold; each begins with the
    head that it assumes."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A shortest proof."""

    depth: int
    """Rounds of inference: the longest chain of rules from a given fact to the conclusion."""
    lines: tuple[Inference, ...]
    """In order, the conclusion last; only what it needs."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The one candidate that follows."""

    right: int
    """Its place."""
    proof: Proof


class Undecided(ValueError):
    """Not exactly one candidate follows, or the rules contradict each other."""


def solve(rules: Sequence[Rule], candidates: Sequence[Literal]) -> Solution:
    """Return the candidate that follows from ``rules``, with its proof.

    Raises:
        Undecided: Its text says why: "contradiction", "none follows", "several follow", or "no
            proof" where the proof needs cases within cases.
    """
    decided = _propagate([rule.clause for rule in rules])
    if decided is None or not is_satisfiable(decided[0]):
        raise Undecided("contradiction")
    left, units = decided
    following = [
        place
        for place, candidate in enumerate(candidates)
        if candidate in units
        or (-candidate not in units and not is_satisfiable([*left, frozenset((-candidate,))]))
    ]
    if len(following) != 1:
        raise Undecided("several follow" if following else "none follows")
    proof = prove(rules, candidates[following[0]])
    if proof is None:
        raise Undecided("no proof")
    return Solution(right=following[0], proof=proof)


def is_satisfiable(clauses: Iterable[Clause]) -> bool:
    """Return True when some assignment of truth makes every clause true."""
    decided = _propagate(clauses)
    if decided is None:
        return False
    left, _ = decided
    if not left:
        return True
    shortest = min(left, key=len)
    literal = next(iter(shortest))
    return is_satisfiable(_assume(left, literal)) or is_satisfiable(_assume(left, -literal))


def _propagate(clauses: Iterable[Clause]) -> tuple[list[Clause], set[Literal]] | None:
    """Return what single literals leave, and those literals; None where a clause is empty."""
    left, units = list(clauses), set[Literal]()
    while unit := next((clause for clause in left if len(clause) == 1), None):
        (literal,) = unit
        units.add(literal)
        left = _assume(left, literal)
    return None if frozenset() in left else (left, units)


def _assume(clauses: Iterable[Clause], literal: Literal) -> list[Clause]:
    """Return what is left of the clauses where ``literal`` holds."""
    return [clause - {-literal} for clause in clauses if literal not in clause]


_Known = dict[Literal, Inference]


def prove(rules: Sequence[Rule], goal: Literal) -> Proof | None:
    """Return a shortest proof of ``goal``; None where rules and single case splits find none.

    In each round every rule that leaves one literal open decides it. A rule with several heads
    whose premises hold opens a case for each head in that round. The cases go on side by side, and
    what all of them find holds.
    """
    known: _Known = {
        rule.heads[0]: Inference(rule.heads[0])
        for rule in rules
        if not rule.premises and len(rule.heads) == 1
    }
    cases: dict[int, list[_Known]] = {}
    _open_cases(rules, known, cases, are_facts=True)
    depth = 0
    while goal not in known:
        size = _size(known, cases)
        found = _infer(rules, known)
        fired = dict(known)
        for several in cases.values():
            for case in several:
                case |= _infer(rules, known | case)
        for place, several in cases.items():
            for literal in _in_all(several, known):
                found.setdefault(literal, _by_cases(literal, rules[place], several))
        _open_cases(rules, fired, cases, are_facts=False)
        known |= found
        depth += 1
        if _size(known, cases) == size:
            return None
    return Proof(depth=depth, lines=_needed(goal, known))


def _size(known: _Known, cases: Mapping[int, list[_Known]]) -> int:
    return len(known) + sum(len(case) for several in cases.values() for case in several)


def _infer(rules: Sequence[Rule], known: _Known) -> _Known:
    """Return what one round decides: the literals that a rule leaves as its only open one."""
    found: _Known = {}
    for rule in rules:
        clause = rule.clause
        left = [literal for literal in clause if -literal not in known]
        if len(left) == 1 and left[0] not in known:
            others = (*rule.premises, *(-head for head in rule.heads))
            premises = tuple(literal for literal in others if literal != -left[0])
            found.setdefault(left[0], Inference(left[0], premises))
    return found


def _open_cases(
    rules: Sequence[Rule], known: _Known, cases: dict[int, list[_Known]], *, are_facts: bool
) -> None:
    """Open the cases of every rule with several heads whose premises hold."""
    for place, rule in enumerate(rules):
        if len(rule.heads) < 2 or place in cases or are_facts is bool(rule.premises):
            continue
        is_open = not any(head in known or -head in known for head in rule.heads)
        if is_open and all(premise in known for premise in rule.premises):
            cases[place] = [{head: Inference(head)} for head in rule.heads]


def _in_all(several: Sequence[_Known], known: _Known) -> list[Literal]:
    """Return what every case holds that contradicts nothing."""
    possible = [
        case
        for case in several
        if not any(-literal in case or -literal in known for literal in case)
    ]
    if not possible:
        return []
    first, *others = possible
    return [
        literal
        for literal in first
        if literal not in known and all(literal in case for case in others)
    ]


def _by_cases(literal: Literal, rule: Rule, several: Sequence[_Known]) -> Inference:
    proofs = tuple(_needed(literal, case) for case in several if literal in case)
    return Inference(literal, rule.premises, proofs)


def _needed(goal: Literal, known: _Known) -> tuple[Inference, ...]:
    """Return the inferences that ``goal`` rests on, premises first.

    In a case these are the case's own: what holds outside it is left out.
    """
    lines: dict[Literal, Inference] = {}

    def add(literal: Literal) -> None:
        if literal in lines or literal not in known:
            return
        line = known[literal]
        for case in line.cases:
            own = {inner.literal for inner in case}
            for inner in case:
                for premise in inner.premises:
                    if premise not in own:
                        add(premise)
        for premise in line.premises:
            add(premise)
        lines[literal] = line

    add(goal)
    return tuple(lines.values())

"""Have models write a recipe's authored tasks, check what they wrote, and keep what passes.

    cells ──author──► drafts ──controls──► rated ≥ agree ──solver──► answer found ──► the rows

Each call goes through the ledger, so that an interrupted step continues where it stopped. A check
asks only about what passed the checks before it. What is dropped is written with its reason.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orcinus.core.errors import StepError
from orcinus.core.types import Attempt, Example, Judged, Request, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.tasks.authored import concepts, drafts
from orcinus.tasks.authored.config import AuthoredConfig, AuthoringConfig, cells_of
from orcinus.tasks.authored.units import Unit
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.duplicates.seen import SeenHashes, hash_of
from orcinus.verifiers.judge_prompts import read
from orcinus.verifiers.sandbox import require_sandbox
from orcinus.verifiers.verify import verify


async def author(
    tasks: Sequence[AuthoredConfig], base: Path, context: StepContext
) -> dict[str, Any]:
    """Write one table of examples for each task, and ``dropped.parquet``.

    Args:
        tasks: The recipe's authored tasks, in its order.
        base: The folder where their relative paths start.
        context: The step's context.

    Returns:
        Counts of questions asked for and kept by task, counts of dropped ones by check with the
        first reason of each, and ``warnings``.

    Raises:
        ConfigError: A file of topics or a document is missing.
        DataError: One cannot be read.
        MissingExtraError: Answers are programs, and there is no sandbox.
        StepError: Nothing that was written for a task can be used.
    """
    same = list(same_models(tasks, context))
    for warning in same:
        context.progress.note(warning)
    desks = [_Desk(task, place, base, context) for place, task in enumerate(tasks)]
    with tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops:
        for desk in desks:
            await desk.fill(drops)
    for desk in desks:
        desk.refuse_nothing()
    return {
        "tasks": {d.task.name: {"asked": d.task.authored.count, "kept": d.kept} for d in desks},
        "dropped": dict(sum((desk.dropped for desk in desks), Counter[str]())),
        "for_example": {check: why for desk in reversed(desks) for check, why in desk.why.items()},
        "warnings": same,
    }


def requests(tasks: Sequence[AuthoredConfig], base: Path, context: StepContext) -> list[Asking]:
    """List the calls: those of the authors, and those of controls and solvers at most.

    The arguments are those of ``author``.
    """
    found = []
    for task in tasks:
        asked, seed = task.authored, context.seed
        units = asked.units(base)
        if asked.levels:
            extracted = (_extraction(task, unit, seed) for unit in units)
            found.append(Asking(role=asked.by, requests=extracted, exact=True))
        written = _written(task, units, seed)
        found.append(Asking(role=asked.by, requests=written, exact=not asked.levels))
        bound = drafts.longest_draft(task)
        control = drafts.control_request(bound, asked.sampling, seed)
        for name in asked.controls:
            found.append(Asking(role=name, requests=_repeated(control, asked.count), exact=False))
        if asked.solver is not None:
            solve = drafts.solver_request(bound, asked.solving, seed, 0)
            calls = asked.count * asked.solving.samples
            found.append(Asking(role=asked.solver, requests=_repeated(solve, calls), exact=False))
    return found


def same_models(tasks: Iterable[AuthoredConfig], context: StepContext) -> Iterator[str]:
    """Yield a warning for each task of which one model is asked in two capacities."""
    for task in tasks:
        roles: dict[str, list[str]] = {}
        asked = task.authored
        for what, name in [
            ("author", asked.by),
            *((f"control {name}", name) for name in asked.controls),
            *(() if asked.solver is None else (("solver", asked.solver),)),
        ]:
            roles.setdefault(context.completer(name).model, []).append(what)
        for model, names in roles.items():
            if len(names) > 1:
                yield (
                    f"{task.name}: {' and '.join(names)} are one model, {model}: it agrees with "
                    "its own mistakes; name different models"
                )


def _extraction(task: AuthoredConfig, unit: Unit, seed: int) -> Request:
    """Return the request for the concepts and relations in a passage."""
    return concepts.extraction_request(unit, task.authored.sampling, seed)


def _written(task: AuthoredConfig, units: Sequence[Unit], seed: int) -> Iterator[Request]:
    """Yield the author's requests for a task."""
    for place, cell in enumerate(cells_of(task.authored, units)):
        yield drafts.author_request(task, cell, place, seed)


def _repeated(request: Request, count: int) -> Iterator[Request]:
    return (request for _ in range(count))


class _Desk:
    """One task on its way from cells to checked rows."""

    def __init__(self, task: AuthoredConfig, place: int, base: Path, context: StepContext) -> None:
        self.task, self._place, self._base, self._context = task, place, base, context
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        """Dropped questions by check."""
        self.why: dict[str, str] = {}
        """The first reason of each check."""
        if "program" in self._authored.kinds:
            require_sandbox()  # before anything is paid for questions that nothing can check

    @property
    def _authored(self) -> AuthoringConfig:
        return self.task.authored

    async def fill(self, drops: tables.TableWriter) -> None:
        """Write, check and keep the task's questions."""
        passed = self._waiting("written")
        with tables.TableWriter(passed, tables.EXAMPLES) as writer:
            async for example in self._write(drops):
                writer.write(tables.example_row(example, "teach"))
        for number, name in enumerate(self._authored.controls, 1):
            rated = self._waiting(f"control-{number}")
            with tables.TableWriter(rated, tables.EXAMPLES) as writer:
                async for example in self._control(passed, name, number, drops):
                    writer.write(tables.example_row(example, "teach"))
            passed = rated
        with tables.TableWriter(
            self._context.out / layout.authored(self._place), tables.EXAMPLES
        ) as writer:
            async for example in self._solved(passed, drops):
                writer.write(tables.example_row(example, "teach"))
                self.kept += 1
        for path in self._context.out.glob(f"{layout.waiting(self._place, '*')}"):
            path.unlink()

    def refuse_nothing(self) -> None:
        """Fail if nothing was kept.

        Raises:
            StepError: Says which check dropped the most, and why.
        """
        if self.kept:
            return
        [(check, number)] = self.dropped.most_common(1)
        raise StepError(
            f"{self.task.name}: none of the {self._authored.count:,} questions can be used; "
            f"{number:,} were dropped by {check}: {self.why[check]}; see {layout.DROPPED} in "
            f"{self._context.out}. What was paid for is kept"
        )

    async def _write(self, drops: tables.TableWriter) -> AsyncIterator[Example]:
        """Yield the drafts that can be read and that repeat no earlier one."""
        seen = SeenHashes()
        seed = self._context.seed
        units = self._authored.units(self._base)
        if self._authored.levels:
            units = await self._focus(units)
        asked = (request.example for request in _written(self.task, units, seed))
        replies = self._ask(_written(self.task, units, seed), self._authored.by, "author")
        async for judged in replies:
            reply, example = judged.attempt, next(asked)
            if reply.error is not None:
                self._drop(drops, example, reply, "call", f"author: {reply.error}")
                continue
            draft = drafts.draft_in(example, reply)
            if isinstance(draft, str):
                self._drop(drops, example, reply, "unreadable", draft)
            elif not seen.add(hash_of(normal(draft.prompt))):
                self._drop(drops, example, reply, "duplicate", "was written before")
            else:
                yield draft

    async def _focus(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the passages once for each concept, relation or chain that is asked about.

        Raises:
            StepError: There is none.
        """
        levels, seed = self._authored.levels, self._context.seed
        only = {name.casefold() for name in self._authored.only}
        found: list[Unit] = []
        passages = iter(units)
        requests = (_extraction(self.task, unit, seed) for unit in units)
        async for judged in self._ask(requests, self._authored.by, "concepts"):
            unit = next(passages)
            relations = concepts.relations_in(judged.attempt, unit.text or "")
            parts = concepts.focused(unit, relations, levels)
            found += [part for part in parts if not only or _name_of(part) in only]
        if not found:
            named = f" named {', '.join(self._authored.only)}" if only else ""
            raise StepError(
                f"{self.task.name}: {self._authored.by} found no {' and no '.join(levels)}{named} "
                f"in {len(units):,} passages, so nothing can be asked about; take other levels:, "
                "other documents or another model. What was paid for is kept"
            )
        return found

    async def _control(
        self, passed: Path, name: str, number: int, drops: tables.TableWriter
    ) -> AsyncIterator[Example]:
        """Yield the drafts that a control rates high enough, with its rating."""
        sampling, seed = self._authored.sampling, self._context.seed
        requests = (
            drafts.control_request(draft, sampling, seed) for draft in tables.read_examples(passed)
        )
        examples = tables.read_examples(passed)
        replies = self._ask(requests, name, f"control-{number}")
        async for judged in replies:
            reply, example = judged.attempt, next(examples)
            if reply.error is not None:
                self._drop(drops, example, reply, "call", f"control {name}: {reply.error}")
                continue
            found = read(drafts.control_inquiry(example), reply.text, reply.finish)
            if found.word is None:
                reason = f"control {name} gave no rating: {found.reason}"
                self._drop(drops, example, reply, "control", reason)
            elif float(found.word) < self._authored.agree:
                reason = f"control {name} {float(found.word):.2f} < {self._authored.agree:.2f}"
                self._drop(drops, example, reply, "control", reason)
            else:
                ratings = example.meta["authored"].get("controls", {})
                yield _noted(example, controls={**ratings, name: float(found.word)})

    async def _solved(self, passed: Path, drops: tables.TableWriter) -> AsyncIterator[Example]:
        """Yield the drafts whose stated answer the solver finds too, with the number of tries."""
        solver, solving = self._authored.solver, self._authored.solving
        if solver is None:
            for example in tables.read_examples(passed):
                yield example
            return
        for tries in range(solving.samples):
            open_ones = self._waiting(f"solver-{tries + 1}")
            examples = tables.read_examples(passed)
            requests = (
                drafts.solver_request(draft, solving, self._context.seed, tries)
                for draft in tables.read_examples(passed)
            )
            replies = self._ask(requests, solver, f"solver-{tries + 1}")
            with tables.TableWriter(open_ones, tables.EXAMPLES) as writer:
                async for judged in replies:
                    example = next(examples)
                    if judged.verdict.value == 1.0:
                        solved = _noted(example, solver=judged.attempt.id)
                        yield replace(solved, meta={**solved.meta, "difficulty": tries + 1})
                    elif tries + 1 < solving.samples:
                        writer.write(tables.example_row(example, "teach"))
                    else:
                        self._drop(drops, example, judged.attempt, *_unsolved(judged.attempt))
            passed = open_ones

    async def _ask(
        self, requests: Iterable[Request], role: str, what: str
    ) -> AsyncIterator[Judged]:
        """Yield the replies to requests, in their order; they are also written to a table."""
        context = self._context
        context.progress.start(f"{self.task.name}: {what}", None)
        path = context.out / layout.attempts(f"{self._place}-{what}")
        replies = attempt_all(
            requests,
            context.completer(role),
            ledger=context.ledger,
            verify=verify if what.startswith("solver") else _unjudged,
            run=context.run,
            step="author",
            concurrency=context.runtime.concurrency,
            budget=context.budget,
        )
        with tables.TableWriter(path, tables.JUDGED) as writer:
            async for judged in replies:
                writer.write(tables.judged_row(judged))
                context.progress.advance(cost_usd=judged.attempt.cost_usd, recalled=judged.recalled)
                yield judged

    def _waiting(self, name: str) -> Path:
        return self._context.out / layout.waiting(self._place, name)

    def _drop(
        self, drops: tables.TableWriter, example: Example, reply: Attempt, check: str, why: str
    ) -> None:
        self.dropped[check] += 1
        self.why.setdefault(check, why)
        dropped = tables.Drop(
            attempt_id=reply.id, example_id=example.id, task=example.task, filter=check, reason=why
        )
        drops.write(tables.drop_row(dropped))


def _name_of(unit: Unit) -> str:
    """Return the part of a passage that is asked about, in lower case."""
    return "" if unit.focus is None else unit.focus.text.casefold()


def _noted(example: Example, **facts: Any) -> Example:
    """Return an example with further facts about how it was made."""
    made: Mapping[str, Any] = {**example.meta["authored"], **facts}
    return replace(example, meta={**example.meta, "authored": made})


def _unsolved(last: Attempt) -> tuple[str, str]:
    """Return the check that drops a question without a solution, and why."""
    if last.error is not None:
        return "call", f"solver: {last.error}"
    return "solver", "solver never agrees"


async def _unjudged(example: Example, attempt: Attempt) -> Verdict:
    """Return no verdict: what an author writes or a control says is read, not judged."""
    return Verdict(
        attempt_id=attempt.id, verifier="author", value=None, answer=None, reason="is read"
    )


Opened = Callable[[], Iterator[Example]]


def open_authored(folder: Path, place: int) -> Opened:
    """Return a function that starts a fresh pass over the rows of an authored task.

    Args:
        folder: The finished step.
        place: Counts the recipe's authored tasks from 0.
    """
    return lambda: tables.read_examples(folder / layout.authored(place))

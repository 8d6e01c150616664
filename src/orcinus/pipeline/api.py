"""The Python API: what ``import orcinus`` offers, as functions for scripts and notebooks.

    run = orcinus.run("recipe.yaml")
    run.scores["after"].mean, run.assignment["gsm8k"], run.student

``orcinus/__init__.py`` exports these names and loads this module at their first use.

All functions are synchronous and also work inside a running event loop. Keys of paid models are
read from ``os.environ`` in one place, ``runtime_of``, unless ``secrets`` are given.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import (
    AnswerType,
    Assignment,
    Attempt,
    Example,
    Lesson,
    Sampling,
    Score,
    Strategy,
    Verdict,
)
from orcinus.pipeline.event_loop import run_coroutine
from orcinus.pipeline.progress import Lines
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe, parse_recipe, parse_section
from orcinus.pipeline.run import base_of, run_recipe
from orcinus.pipeline.verbs import Verb
from orcinus.runs import layout
from orcinus.runs.context import Progress, Runtime, Silent
from orcinus.runs.executors.open import open_executor
from orcinus.runs.folders import finish_time, finished_steps, model_made_by
from orcinus.runs.sharing import Share, refuse_store
from orcinus.strategies.library import resolve
from orcinus.tasks.config import RecordsConfig

if TYPE_CHECKING:
    from orcinus.core.results import Scores
    from orcinus.evaluation import conditions, scores
    from orcinus.evaluation.benchmark_scores import ModelScores
    from orcinus.pipeline import benchmarks as benchmarking
    from orcinus.pipeline import model_argument as arguments
    from orcinus.pipeline import plan as planning
    from orcinus.pipeline import probe_model as probing
    from orcinus.pipeline.model_argument import ModelArgument
    from orcinus.pipeline.plan import Plan
    from orcinus.runs import assigned, tables
    from orcinus.tasks.benchmarks import specs
    from orcinus.tasks.files import records
    from orcinus.verifiers import verify as verifying
else:
    scores = import_later("orcinus.evaluation.scores")
    conditions = import_later("orcinus.evaluation.conditions")
    assigned = import_later("orcinus.runs.assigned")
    tables = import_later("orcinus.runs.tables")
    planning = import_later("orcinus.pipeline.plan")
    probing = import_later("orcinus.pipeline.probe_model")
    arguments = import_later("orcinus.pipeline.model_argument")
    benchmarking = import_later("orcinus.pipeline.benchmarks")
    specs = import_later("orcinus.tasks.benchmarks.specs")
    records = import_later("orcinus.tasks.files.records")
    verifying = import_later("orcinus.verifiers.verify")


RecipeArgument = str | Path | Mapping[str, Any] | Recipe


class Flags(TypedDict, total=False):
    """The place and speed of a run. Nothing here can change a result."""

    ledger: str | Path | None
    """Path of the ledger; default ``RUNS/ledger.sqlite``."""
    concurrency: int
    """Calls in flight to a remote model; default 64."""
    device: str
    """``cpu``, ``cuda``, ``cuda:1`` … or ``auto``, the default."""
    micro_batch: int | None
    """Packed rows in one forward pass; None, the default, lets the trainer choose."""
    processes: int
    """Training processes on this machine; default 1."""
    executor: str
    """``local[:WORKERS]`` or ``ray[:ADDRESS]``: where work on rows is done."""
    replicas: int
    """Copies of a local model on the Ray cluster; 0, the default, keeps it in this process."""
    share: str | None
    """``s3://bucket/folder`` or a folder on a shared disk, from which finished steps are taken and
    to which they are given; default None."""
    secrets: Mapping[str, str] | None
    """Environment variables that recipes name for keys; None, the default, reads ``os.environ``."""


def runtime_of(runs: str | Path = "runs", **flags: Unpack[Flags]) -> Runtime:
    """Return the flags as a Runtime.

    This is the only place outside the command line that reads the environment.

    Raises:
        ConfigError: There is no such executor, there are replicas without a Ray cluster, or the
            runs or the ledger are to be in a store.
    """
    refuse_store("runs", runs)
    refuse_store("ledger", flags.get("ledger"))
    workspace = Path(runs).expanduser()
    share = flags.get("share")
    executor, secrets = flags.get("executor", "local"), flags.get("secrets")
    replicas = flags.get("replicas", 0)
    if replicas and executor.partition(":")[0] == "local":
        raise ConfigError(
            f"{replicas} replicas need a Ray cluster: set the executor to ray, or ray:ADDRESS"
        )
    return Runtime(
        workspace=workspace,
        ledger_path=Path(flags.get("ledger") or workspace / layout.LEDGER),
        concurrency=flags.get("concurrency", 64),
        device=flags.get("device", "auto"),
        micro_batch=flags.get("micro_batch"),
        processes=flags.get("processes", 1),
        executor=open_executor(executor),
        replicas=replicas,
        share=None if share is None else Share(share),
        secrets=dict(os.environ if secrets is None else secrets),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and what it contains; everything is read from disk when it is asked for.

    A property whose step is not finished raises ConfigError, which names the step.
    """

    folder: Path
    """The run's folder, ``runs/NAME``."""

    @property
    def name(self) -> str:
        """The run's name: that of its recipe."""
        return self.folder.name

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was last started with."""
        return load_recipe(self.folder / layout.RECIPE)

    @property
    def steps(self) -> dict[str, Path]:
        """Folder of each finished step by its name, in the order in which they finished."""
        done = [path.parent for path in self.folder.glob(f"*-*/{layout.DONE}")]
        return {path.name.rpartition("-")[0]: path for path in sorted(done, key=finish_time)}

    @property
    def results(self) -> "Scores":
        """Everything that the evaluation found: scores by task, comparisons, retention."""
        found = scores.latest_scores(self.folder)
        if found is None:
            raise ConfigError(f"{self.folder}: no finished evaluate step; run the recipe first")
        return found

    @property
    def scores(self) -> dict[str, Score]:
        """The score of each arm, as the mean of tasks: ``run.scores["after"].mean``."""
        return {arm: found.accuracy.macro for arm, found in self.results.arms.items()}

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The assignment of each group (by default, each task), with its evidence."""
        name = "skills" if "skills" in self.steps else "assign"
        return dict(assigned.Assigned.read(finished_steps(self.folder, name)[0]).by_group)

    @property
    def assignment(self) -> dict[str, str | None]:
        """The name of each group's strategy; None for a group that is left out of teaching."""
        return {group: found.strategy for group, found in self.assignments.items()}

    def lessons(self) -> Iterator[Lesson]:
        """Yield the lessons that the student learns from, read as a stream."""
        yield from tables.read_lessons(finished_steps(self.folder, "erase")[0] / layout.LESSONS)

    @property
    def student(self) -> Path:
        """Folder of the trained student: a Hugging Face model."""
        link = self.folder / layout.STUDENT
        if link.is_dir():
            return link
        trained = finished_steps(self.folder, "train")[0]  # a run of an earlier version
        return model_made_by(trained)

    @property
    def report(self) -> Path:
        """The report, an HTML page that needs no other file."""
        path = self.folder / layout.report("html")
        if not path.exists():
            raise ConfigError(f"{self.folder}: no finished report step; run the recipe first")
        return path


def run(
    recipe: RecipeArgument,
    *,
    runs: str | Path = "runs",
    until: Verb | None = None,
    base: str | Path | None = None,
    progress: bool | Progress = False,
    **flags: Unpack[Flags],
) -> Run:
    """Run a recipe, or resume it where it stopped. Nothing is paid for twice.

    Args:
        recipe: A YAML file, or its content as a mapping or a Recipe, which is then written as the
            run's ``recipe.yaml``. In a mapping, ``function:`` may be a function itself.
        runs: Folder of the runs; this one goes to ``runs/NAME``.
        until: The last step to run; None runs all.
        base: Where relative paths of the recipe start: by default the folder of the file, or the
            current folder where there is no file.
        progress: True writes lines to the standard error output; or any ``Progress``.
        flags: See ``Flags``.

    Raises:
        OrcinusError: Something that you can fix. What is done and paid for is kept.
    """
    read, path, start = _recipe(recipe, base)
    runtime = runtime_of(runs, **flags)
    with _shown(progress) as shown:
        folder = run_coroutine(run_recipe(read, path, runtime, shown, base=start, until=until))
    return Run(folder)


def load_run(path: str | Path, *, runs: str | Path = "runs") -> Run:
    """Return a run that is finished, stopped or still running.

    Args:
        path: The run's folder, or its name under ``runs``.
        runs: Folder of the runs.

    Raises:
        ConfigError: There is no such run.
    """
    for folder in (Path(path), Path(runs) / path):
        if (folder / layout.RECIPE).is_file():
            return Run(folder)
    known = sorted(found.parent.name for found in Path(runs).glob(f"*/{layout.RECIPE}"))
    hint = f"known under {runs}: {', '.join(known)}" if known else f"there is none under {runs} yet"
    raise ConfigError(f"no run at {path}; {hint}")


def plan(
    recipe: RecipeArgument,
    *,
    runs: str | Path = "runs",
    base: str | Path | None = None,
    nodes: int = 1,
    progress: bool | Progress = False,
    **flags: Unpack[Flags],
) -> "Plan":
    """Return what a run would do and cost. Only ``sample`` is run, and no model is called.

    The arguments are those of ``run``, and ``nodes``: with more than one, a note says which command
    each of so many machines is given to train together.

    Raises:
        OrcinusError: The recipe cannot be run: a file, a key or a model is missing.
    """
    read, path, start = _recipe(recipe, base)
    runtime = runtime_of(runs, **flags)
    with _shown(progress) as shown:
        return run_coroutine(
            planning.plan_recipe(read, path, runtime, shown, base=start, nodes=nodes)
        )


def probe(
    student: "ModelArgument",
    examples: Iterable[Example] | str | Path,
    strategies: Sequence[str | Strategy] | None = None,
    *,
    sampling: Mapping[str, Any] | None = None,
    seed: int = 0,
    runs: str | Path = "runs",
    progress: bool | Progress = False,
    **flags: Unpack[Flags],
) -> dict[str, dict[str, Score]]:
    """Measure a model under several strategies on the same examples.

    Args:
        student: A model folder or hub id, ``run:NAME``, a URL up to ``/v1``, a configuration as
            under ``teacher:`` in a recipe, or a function from a Request to a text.
        examples: Examples with references, or a file of rows as under ``tasks:`` in a recipe.
        strategies: Names of built-in strategies, or your own; None takes a recipe's default.
        sampling: As under ``probe.sampling`` in a recipe, e.g. ``{"max_tokens": 256}``.
        seed: Seed of every random choice.
        runs: Where replies are remembered (``runs/ledger.sqlite``) and attempts are written.
        progress: True writes lines to the standard error output; or any ``Progress``.
        flags: See ``Flags``.

    Returns:
        Score by task and strategy: ``scores["gsm8k"]["step_by_step"].mean``.

    Raises:
        OrcinusError: The model cannot be called, or there is no example.
    """
    if isinstance(examples, str | Path):
        examples = records.read_task(RecordsConfig(path=str(examples)), Path())
    runtime = runtime_of(runs, **flags)

    async def measured(shown: Progress) -> dict[str, dict[str, Score]]:
        config = await arguments.model_config(
            student, secrets=runtime.secrets, runs=runtime.workspace
        )
        return await probing.probe_model(
            config,
            list(examples),
            _strategies(strategies),
            parse_section(SamplingConfig, sampling or {}, "sampling"),
            seed=seed,
            out=runtime.workspace / f"probe-{arguments.folder_name(config)}",
            runtime=runtime,
            progress=shown,
        )

    with _shown(progress) as shown:
        return run_coroutine(measured(shown))


def evaluate(
    model: "ModelArgument",
    benchmarks: str | Sequence[str],
    *,
    data: str | Path | None = None,
    judge: "ModelArgument | None" = None,
    settings: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    progress: bool | Progress = False,
    **flags: Unpack[Flags],
) -> "ModelScores":
    """Score a model on benchmarks, without a recipe and without training.

    Args:
        model: As ``student`` of ``probe``.
        benchmarks: Names (``orcinus benchmarks`` lists them) or YAML files.
        data: Folder of the benchmarks' files; None reads them from the hub.
        judge: The model that rates open answers, where a benchmark needs one.
        settings: Further ``BenchmarkSettings``, e.g. ``{"limit": 50, "shots": 3}``.
        runs: Where the results go: ``runs/evaluate-MODEL``.
        progress: True writes lines to the standard error output; or any ``Progress``.
        flags: See ``Flags``.

    Raises:
        OrcinusError: The benchmarks cannot be read, or the model cannot be called.
    """
    names = [benchmarks] if isinstance(benchmarks, str) else benchmarks
    chosen = parse_section(
        conditions.BenchmarkSettings,
        {
            **(settings or {}),
            "benchmarks": tuple(map(specs.load, names)),
            "data": None if data is None else Path(data).expanduser(),
        },
        "settings",
    )
    runtime = runtime_of(runs, **flags)

    async def scored(shown: Progress) -> "ModelScores":
        config = await arguments.model_config(
            model, secrets=runtime.secrets, runs=runtime.workspace
        )
        rater = (
            None if judge is None else await arguments.model_config(judge, secrets=runtime.secrets)
        )
        folder = runtime.workspace / f"evaluate-{arguments.folder_name(config)}"
        return await benchmarking.evaluate_and_report(chosen, config, rater, folder, runtime, shown)

    with _shown(progress) as shown:
        return run_coroutine(scored(shown))


def verify(
    text: str,
    *,
    answer_type: AnswerType = "exact",
    choices: Sequence[str] | None = None,
    reference: str | Sequence[str] | None = None,
    prompt: str = "",
    verifier: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Verdict:
    """Judge an answer: find it in ``text`` and compare it with the reference.

    Args:
        text: What a model wrote.
        answer_type: Decides the rules: ``choice``, ``bool``, ``number``, ``math``, ``exact`` …
        choices: The texts of the options, where there are any.
        reference: The right answer, as in an Example.
        prompt: The question, for verifiers that read it.
        verifier: Name of a verifier; None takes the rules of the answer type.
        meta: As in an Example, for verifiers that read it.

    Returns:
        ``.right``, ``.wrong`` or ``.none`` (not judgeable), with the answer and the reason.

    Raises:
        ConfigError: There is no such verifier.
    """
    if reference is not None and not isinstance(reference, str):
        reference = tuple(reference)
    named = {} if verifier is None else {"verifier": verifier}
    example = Example(
        id="",
        task="",
        prompt=prompt,
        answer_type=answer_type,
        choices=None if choices is None else tuple(choices),
        reference=reference,
        meta={**(meta or {}), **named},
    )
    attempt = Attempt(
        id="",
        example_id="",
        task="",
        strategy="",
        model="",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )
    return run_coroutine(verifying.verify(example, attempt))


def _recipe(
    recipe: RecipeArgument, base: str | Path | None
) -> tuple[Recipe, Path | None, Path | None]:
    """Return the recipe, the file that it came from, and where its relative paths start."""
    start = None if base is None else Path(base)
    if isinstance(recipe, str | Path):
        return load_recipe(recipe), Path(recipe), start
    if isinstance(recipe, Recipe):
        return recipe, None, start
    named = {
        key: arguments.named_functions(value) if isinstance(value, Mapping) else value
        for key, value in recipe.items()
    }
    return parse_recipe(named, base_of(None, start)), None, start


def _strategies(strategies: Sequence[str | Strategy] | None) -> tuple[Strategy, ...]:
    if strategies is None:
        strategies = Recipe.model_fields["strategies"].default
    own = {item.name: item for item in strategies if isinstance(item, Strategy)}
    return resolve([item if isinstance(item, str) else item.name for item in strategies], own)


@contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress]:
    if progress is not True:
        yield Silent() if progress is False else progress
        return
    lines = Lines()
    try:
        yield lines
    finally:
        lines.close()

"""Commands that score any model on benchmarks: evaluate, benchmarks."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.core.errors import ConfigError

if TYPE_CHECKING:
    from orcinus.core.types import Score
    from orcinus.evaluation.benchmark_scores import ModelScores
    from orcinus.evaluation.config import DecideConfig
    from orcinus.models.configs import ModelConfig


def evaluate(
    recipe: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A URL up to /v1, run:NAME, a folder, a hub id, module:function or a YAML file."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help="Names (`orcinus benchmarks` lists them) or YAML files, separated by commas."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the benchmarks' files. Default: the hub."),
    ] = None,
    served_as: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model at its URL.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Variable that holds the URL's key.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="The model that rates open answers, given as --model is.")
    ] = None,
    judge_served_as: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the judge at its URL.")
    ] = None,
    layouts: Annotated[
        str | None,
        typer.Option(
            help="Prompt layouts, separated by commas, or 'all'. Default: each benchmark's first."
        ),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="System message: text, 'cautious', @FILE, or '' for none. Repeat to compare. "
            "Default: that of the student's training, else none."
        ),
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Demonstrations before each question.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most N items of a subset.")] = None,
    learnt_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="A run or file the model was trained on: flag items found in it."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer. Default: the benchmark's.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 is greedy decoding, the default.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers to each question.")] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="One answer from --samples: majority, best_of_n, weighted or rebase, or several "
            "of them separated by commas.",
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            help="What scores an answer: logprob (the default), judge, or module:function."
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help=r"For rebase: the end of a step. Default: a blank line (\n\n)."
        ),
    ] = None,
    send_seed: Annotated[
        bool,
        typer.Option(
            "--send-seed/--no-seed", help="Send a seed with each call; some endpoints refuse one."
        ),
    ] = True,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="Hard cap in dollars.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=0, help="Hard cap in tokens.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask again although the ledger has answers.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results. Default: RUNS/evaluate-MODEL.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    as_json: flags.AsJson = False,
) -> None:
    """Score any model on benchmarks, without a recipe and without training."""
    if recipe is not None:
        raise ConfigError(
            f"evaluate takes no recipe; write: orcinus run {recipe} --until evaluate "
            "(a model to evaluate is given with --model)"
        )
    if model is None or not benchmark:
        raise ConfigError(
            "give both --model and --benchmark; `orcinus benchmarks` lists the benchmarks"
        )
    from orcinus.evaluation.conditions import BenchmarkSettings, system_message
    from orcinus.evaluation.scores import benchmark_content
    from orcinus.pipeline.benchmarks import evaluate_and_report
    from orcinus.pipeline.model_argument import folder_name, model_config
    from orcinus.runs.budget import BudgetConfig
    from orcinus.tasks.benchmarks.specs import load

    settings = BenchmarkSettings(
        benchmarks=tuple(load(name) for text in benchmark for name in _split(text)),
        data=data,
        layouts=tuple(_split(layouts or "")),
        shots=shots,
        limit=limit,
        sampling=_given(
            max_tokens=max_tokens,
            temperature=temperature,
            samples=samples,
            seeded=None if send_seed else False,
        ),
        decide=_decide(decide, reward, separator),
        learnt_from=tuple(learnt_from or ()),
        budget=BudgetConfig(usd=budget_usd, tokens=budget_tokens),
        seed=seed,
    )
    if system:
        systems = tuple(map(system_message, system))
        settings = settings.model_copy(update={"systems": systems})
    if len(set(settings.systems)) < len(settings.systems):
        raise ConfigError("--system: the same system message is given twice; leave one out")
    runtime = flags.runtime(runs, ledger=ledger, concurrency=concurrency, device=device)
    runtime = replace(runtime, fresh=fresh)

    def config_of(text: str, served_as: str | None) -> "ModelConfig":
        return run_async(
            model_config(
                text,
                secrets=runtime.secrets,
                served_as=served_as,
                api_key_env=api_key_env,
                runs=runs,
            )
        )

    asked = config_of(model, served_as)
    judged_by = None if judge is None else config_of(judge, judge_served_as)
    folder = out or runs / f"evaluate-{folder_name(asked)}"
    with flags.shown_progress(as_json=as_json) as progress:
        scores = run_async(
            evaluate_and_report(settings, asked, judged_by, folder, runtime, progress)
        )
    if as_json:
        content = benchmark_content(scores)
        flags.print_json({"event": "done", "folder": str(folder), "scores": content})
    else:
        _print(scores)
        flags.say(f"report: {folder / 'report.html'}")


def benchmarks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print everything about this benchmark.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """List the benchmarks with their licences and what they need."""
    from orcinus.tasks.benchmarks.specs import load, names

    if name is not None:
        flags.print_json(load(name).model_dump(mode="json"))
        return
    loaded = [load(item) for item in names()]
    if as_json:
        for item in loaded:
            flags.print_json(item.model_dump(mode="json"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "benchmark", "tasks", "licence", "read from", "needs"):
        table.add_column(column, no_wrap=column != "benchmark" and column != "licence")
    for item in loaded:
        where = "hub, files" if item.hub is not None else "files"
        needs = {"judge": "--judge", "library": "extra ifeval", "": ""}[item.needs]
        table.add_row(
            item.name, escape(item.title), str(len(item.subsets)), item.licence, where, needs
        )
    flags.out_console().print(table)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _decide(rules: str | None, reward: str | None, separator: str | None) -> "DecideConfig | None":
    """Return what ``--decide``, ``--reward`` and ``--separator`` ask for."""
    from pydantic import ValidationError

    from orcinus.evaluation.config import DecideConfig

    if separator is not None:
        separator = separator.replace(r"\n", "\n")
    settings = _given(reward=reward, separator=separator)
    if rules is None or not _split(rules):
        if settings:
            raise ConfigError(
                "--reward and --separator need --decide; name a rule, such as --decide rebase"
            )
        return None
    try:
        return DecideConfig.model_validate({"by": tuple(_split(rules)), **settings})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"--decide: {first['msg'].removeprefix('Value error, ')}") from error


def _print(scores: "ModelScores") -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("benchmark", no_wrap=True)
    table.add_column("layout/system", no_wrap=True)
    for column in ("mean of tasks", "95 % interval", "n", "answer found"):
        table.add_column(column, justify="right", no_wrap=True)
    failed = 0
    for name, found in scores.benchmarks.items():
        for condition, content in found.conditions.items():
            macro, micro = content.score.accuracy.macro, content.score.accuracy.micro
            failed += micro.n_error
            table.add_row(
                name,
                escape(condition),
                _percent(macro.mean),
                _interval(macro),
                f"{micro.n:,}",
                _percent(micro.format_ok),
            )
        for condition, rating in (found.ratings or {}).items():
            failed += rating.unanswered
            mean, interval = "–", "–"
            if rating.mean is not None:
                mean = f"{rating.mean:.2f} of 10"
                interval = f"{rating.low:.2f} – {rating.high:.2f}"
            table.add_row(name, escape(condition), mean, interval, f"{rating.n:,}", "")
    flags.out_console().print(table)
    _print_decided(scores)
    if failed:
        flags.say(
            f"{failed:,} questions have no answer because their calls failed; "
            "the line above says why, and what helps"
        )


def _print_decided(scores: "ModelScores") -> None:
    """Print what fits a terminal. The report also has prompt tokens and the judge's share."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("benchmark", "layout/system", "decided by"):
        table.add_column(column, no_wrap=True)
    for column in ("right", "95 % interval", "tokens", "calls", "dollars"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in scores.benchmarks.items():
        for condition, content in found.conditions.items():
            for row in content.score.decided:
                rule, right = f"{row.by} of {row.n}", _percent(row.score.mean)
                figures = f"{row.tokens_out:,.0f}", f"{row.calls:,.1f}", f"{row.usd:.4f}"
                table.add_row(name, escape(condition), rule, right, _interval(row.score), *figures)
    if table.row_count:
        flags.say(
            "\nOne answer from several tries; written tokens, calls and dollars per question:"
        )
        flags.out_console().print(table)


def _interval(score: "Score") -> str:
    if score.low is None or score.high is None:
        return "–"
    return f"{100 * score.low:.1f} – {100 * score.high:.1f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"

"""Evaluation: of a recipe's student as one of its steps, or of any model on benchmarks without a recipe."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.cli.progress import progress_for
from orcinus.cli.runs import execute
from orcinus.core.errors import ConfigError

if TYPE_CHECKING:
    from orcinus.core.types import Score
    from orcinus.evaluation.benchmark_scores import ModelScores
    from orcinus.evaluation.decisions import DecideConfig
    from orcinus.models.configs import ModelConfig


def add_commands(app: typer.Typer) -> None:
    """Put this module's commands into ``app``."""
    app.command(rich_help_panel="Results")(evaluate)
    app.command(rich_help_panel="Results")(benchmarks)


def evaluate(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE]", help="A recipe: compare its student with its baselines."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Without a recipe: a URL up to /v1, a model folder, a hub id, module:function, or a YAML file."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help="Names (orcinus benchmarks lists them) or YAML files; several by commas."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the benchmarks' files; the hub if not given."),
    ] = None,
    served_as: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model at its URL.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Where the URL's key is.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Who rates open answers, as --model.")] = None,
    judge_served_as: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the judge at its URL.")
    ] = None,
    layouts: Annotated[
        str | None,
        typer.Option(help="Prompt layouts by commas, or 'all'; each one's first if not given."),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="System message: words, 'cautious', @FILE, or '' for none. Several: sensitivity."
        ),
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Demonstrations before each question.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each subset at most.")] = None,
    learnt_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="A run or file the model has learnt from: flag items in it."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, if not the benchmark's.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 is greedy, the default.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers to each question.")] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            metavar="WAYS",
            help="One answer of --samples: majority, best_of_n, weighted, rebase; by commas.",
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            help="What answers are worth: logprob (the default), judge, or module:function."
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help=r"rebase: what ends a step; a blank line (\n\n) if not given."
        ),
    ] = None,
    send_seed: Annotated[
        bool, typer.Option("--send-seed/--no-seed", help="Some endpoints refuse a seed.")
    ] = True,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="Hard cap in dollars.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=0, help="Hard cap in tokens.")] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to; RUNS/evaluate-MODEL if not given.")
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    concurrency: flags.Concurrency = 64,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    processes: flags.Processes = 1,
    as_json: flags.AsJson = False,
) -> None:
    """Compare a recipe's student with its baselines, or score any model on benchmarks: --model … --benchmark …"""
    if recipe is not None:
        if model is not None or benchmark:
            raise ConfigError(
                f"{recipe}: a recipe names its own model and tasks; leave out --model and --benchmark"
            )
        runtime = flags.runtime(
            runs=runs,
            ledger=ledger,
            concurrency=concurrency,
            device=device,
            micro_batch=micro_batch,
            processes=processes,
        )
        execute(recipe, "evaluate", runtime, as_json=as_json)
        return
    if model is None or not benchmark:
        raise ConfigError(
            "give a recipe, or both --model and --benchmark; orcinus benchmarks lists what there is"
        )
    from orcinus.evaluation.conditions import Settings, system_message
    from orcinus.evaluation.scores import benchmark_content
    from orcinus.pipeline.benchmarks import evaluate_and_report
    from orcinus.runs.budget import BudgetConfig
    from orcinus.tasks.benchmarks.specs import load

    given = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "samples": samples,
        "seeded": None if send_seed else False,
    }
    ways = {
        "by": tuple(_listed(decide or "")),
        "reward": reward,
        "separator": None if separator is None else separator.replace(r"\n", "\n"),
    }
    settings = Settings(
        benchmarks=tuple(load(name) for text in benchmark for name in _listed(text)),
        data=data,
        layouts=tuple(_listed(layouts or "")),
        systems=tuple(map(system_message, system)) if system else ("",),
        shots=shots,
        limit=limit,
        sampling={name: value for name, value in given.items() if value is not None},
        decide=_decide({name: value for name, value in ways.items() if value is not None}),
        learnt_from=tuple(learnt_from or ()),
        budget=BudgetConfig(usd=budget_usd, tokens=budget_tokens),
        seed=seed,
    )
    if len(set(settings.systems)) < len(settings.systems):
        raise ConfigError("--system: the same system message is given twice")
    asked = _model(model, served_as, api_key_env)
    judged_by = None if judge is None else _model(judge, judge_served_as, api_key_env)
    folder = out or runs / f"evaluate-{_slug(asked)}"
    runtime = flags.runtime(runs=runs, ledger=ledger, concurrency=concurrency, device=device)
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        scores = run_async(
            evaluate_and_report(settings, asked, judged_by, folder, runtime, progress)
        )
    finally:
        progress.close()
    if as_json:
        content = benchmark_content(scores)
        flags.print_json({"event": "done", "folder": str(folder), "scores": content})
    else:
        _print(scores)
        typer.echo(f"report: {folder / 'report.html'}")


def benchmarks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Everything about this one.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """List the benchmarks there are: what they ask, under which licence, what they need."""
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


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _decide(ways: "dict[str, Any]") -> "DecideConfig | None":
    """What ``--decide``, ``--reward`` and ``--separator`` mean."""
    from pydantic import ValidationError

    from orcinus.evaluation.decisions import DecideConfig

    if not ways["by"]:
        if len(ways) > 1:
            raise ConfigError(
                "--reward and --separator are for --decide; say which way, such as --decide rebase"
            )
        return None
    try:
        return DecideConfig.model_validate(ways)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"--decide: {first['msg'].removeprefix('Value error, ')}") from error


def _model(text: str, served_as: str | None, api_key_env: str | None) -> "ModelConfig":
    """What ``--model`` means."""
    import os

    from orcinus.models.function import ScriptedConfig
    from orcinus.models.local.config import LocalConfig
    from orcinus.models.remote.endpoint import EndpointConfig
    from orcinus.pipeline.recipe_file import read_model

    if text.startswith(("http://", "https://")):
        name = served_as or run_async(_only_model(text, api_key_env, os.environ))
        return EndpointConfig(model=name, base_urls=(text,), api_key_env=api_key_env)
    if served_as is not None:
        raise ConfigError(f"{text}: only a model at a URL is served under a name")
    if text.endswith((".yaml", ".yml")):
        return read_model(Path(text))
    if re.fullmatch(r"[\w.]+:\w+", text) and not Path(text).exists():
        return ScriptedConfig(function=text)
    return LocalConfig(path=text)


async def _only_model(url: str, api_key_env: str | None, environment: Any) -> str:
    """The one model that an endpoint serves, so that its name need not be said."""
    import orjson

    from orcinus.core.errors import CompleterError
    from orcinus.models.remote.wire import Patience, Wire

    wire = Wire(
        headers={},
        secret_headers_env={},
        api_key_env=api_key_env,
        patience=Patience(),
        secrets=environment,
    )
    try:
        content, _ = await wire.exchange("GET", f"{url.rstrip('/')}/models")
        served = [str(item["id"]) for item in orjson.loads(content)["data"]]
    except CompleterError as error:
        if error.kind == "connection":
            raise ConfigError(str(error)) from error
        served = []
    except (orjson.JSONDecodeError, KeyError, TypeError):
        served = []
    finally:
        await wire.aclose()
    if len(served) != 1:
        listed = (
            f"it serves {', '.join(served[:8])}"
            if served
            else "it does not say which models it serves"
        )
        raise ConfigError(f"{url}: {listed}; name one with --served-as")
    return served[0]


def _slug(model: "ModelConfig") -> str:
    """A folder's name for a model."""
    text = (
        getattr(model, "path", None)
        or getattr(model, "model", None)
        or getattr(model, "function", model.kind)
    )
    name = Path(str(text)).resolve().name if Path(str(text)).is_dir() else str(text)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "model"


def _print(scores: "ModelScores") -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("benchmark", no_wrap=True)
    table.add_column("layout/system", no_wrap=True)
    for column in ("mean", "95 % interval", "n", "answer found"):
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
        typer.echo(
            f"{failed:,} questions have no answer, for their calls failed; the same command asks them again"
        )


def _print_decided(scores: "ModelScores") -> None:
    """What fits a terminal; tokens read and the judge's part stand in the report."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("benchmark", "layout/system", "decided by"):
        table.add_column(column, no_wrap=True)
    for column in ("right", "95 % interval", "tokens", "calls", "dollars"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in scores.benchmarks.items():
        for condition, content in found.conditions.items():
            for row in content.score.decided:
                way, right = f"{row.by} of {row.n}", _percent(row.score.mean)
                figures = f"{row.tokens_out:,.0f}", f"{row.calls:,.1f}", f"{row.usd:.4f}"
                table.add_row(name, escape(condition), way, right, _interval(row.score), *figures)
    if table.row_count:
        typer.echo("\nSeveral tries, decided; written tokens, calls and dollars for one question:")
        flags.out_console().print(table)


def _interval(score: "Score") -> str:
    if score.low is None or score.high is None:
        return "–"
    return f"{100 * score.low:.1f} – {100 * score.high:.1f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"

"""Commands that run a recipe several times: ablate, improve."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orcinus.cli import options as flags
from orcinus.cli.options import run_async
from orcinus.cli.progress import progress_for

if TYPE_CHECKING:
    pass


def ablate(
    recipe: flags.RecipeArgument,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds, counting up from the recipe's.")
    ] = 3,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Only this arm beside the recipe itself; may be given several times."),
    ] = None,
    equal: Annotated[
        Literal["examples", "tokens"],
        typer.Option(
            help="What all arms have the same of: examples, or response tokens learnt from."
        ),
    ] = "examples",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Switch the parts of a recipe one at a time, and compare the students on the same items."""
    from orcinus.pipeline.ablation import ablate as compare
    from orcinus.pipeline.ablation import markdown
    from orcinus.pipeline.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs=runs,
        ledger=ledger,
        concurrency=512,
        device=device,
        executor=executor,
        replicas=replicas,
    )
    progress = progress_for(flags.error_console(), as_json=as_json)
    numbers = range(loaded.seed, loaded.seed + seeds)
    try:
        found = run_async(
            compare(loaded, recipe, runtime, progress, seeds=numbers, only=arm or (), equal=equal)
        )
    finally:
        progress.close()
    if as_json:
        flags.print_json(found)
    else:
        flags.out_console().print(markdown(found), markup=False, soft_wrap=True)
        tokens = "-equal-tokens" if equal == "tokens" else ""
        flags.out_console().print(
            f"also in {runs / (loaded.name + '-ablation' + tokens)}.md, .svg", markup=False
        )


def improve(
    recipe: flags.RecipeArgument,
    rounds: Annotated[
        int, typer.Option(min=1, help="At most so many; it ends when the student gets no better.")
    ] = 3,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Let the student teach itself in rounds: its own right answers under its best strategy, the instruction erased."""
    from orcinus.pipeline.recipe_file import load_recipe
    from orcinus.pipeline.self_improvement import improve as go_on
    from orcinus.pipeline.self_improvement import markdown

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs=runs,
        ledger=ledger,
        concurrency=512,
        device=device,
        micro_batch=micro_batch,
        executor=executor,
        replicas=replicas,
    )
    progress = progress_for(flags.error_console(), as_json=as_json)
    try:
        found = run_async(go_on(loaded, recipe, runtime, progress, rounds=rounds))
    finally:
        progress.close()
    if as_json:
        flags.print_json(found)
    else:
        flags.out_console().print(markdown(found), markup=False, soft_wrap=True)
        flags.out_console().print(f"also in {runs / (loaded.name + '-improved.md')}", markup=False)

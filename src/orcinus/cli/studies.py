"""Commands that run a recipe several times: ablate, improve."""

from typing import Annotated, Literal

import typer

from orcinus.cli import options as flags
from orcinus.cli.options import run_async


def ablate(
    recipe: flags.RecipeArgument,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds, counting up from the recipe's.")
    ] = 3,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this arm, beside the recipe itself: 'all direct', 'answers only', 'prompt "
            "kept' …; a wrong name lists all. May be repeated."
        ),
    ] = None,
    equal: Annotated[
        Literal["examples", "tokens"],
        typer.Option(help="What is equal in all arms: examples, or response tokens trained on."),
    ] = "examples",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Switch off parts of a recipe one at a time, and compare the students on the same items."""
    from orcinus.pipeline.ablation import ablate as run_ablation
    from orcinus.pipeline.ablation import markdown
    from orcinus.pipeline.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs,
        ledger=ledger,
        concurrency=512,
        device=device,
        executor=executor,
        replicas=replicas,
    )
    numbers = range(loaded.seed, loaded.seed + seeds)
    with flags.shown_progress(as_json=as_json) as progress:
        found = run_async(
            run_ablation(
                loaded, recipe, runtime, progress, seeds=numbers, only=arm or (), equal=equal
            )
        )
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
        int, typer.Option(min=1, help="At most this many. Stops when the student gets no better.")
    ] = 3,
    patch: Annotated[
        bool,
        typer.Option(
            "--patch",
            help="In place of rounds: have lessons written about the parts of documents that the "
            "student lacks (authored tasks with levels:).",
        ),
    ] = False,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    micro_batch: flags.MicroBatch = None,
    executor: flags.Executor = "local",
    replicas: flags.Replicas = 0,
    as_json: flags.AsJson = False,
) -> None:
    """Let the student teach itself in rounds, from its right answers under its best strategy."""
    from orcinus.pipeline import patch as patching
    from orcinus.pipeline import self_improvement as rounds_of
    from orcinus.pipeline.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    runtime = flags.runtime(
        runs,
        ledger=ledger,
        concurrency=512,
        device=device,
        micro_batch=micro_batch,
        executor=executor,
        replicas=replicas,
    )
    with flags.shown_progress(as_json=as_json) as progress:
        if patch:
            patched = run_async(patching.patch(loaded, recipe, runtime, progress))
            found: object = patched
            page = "" if patched is None else patching.markdown(patched)
        else:
            found = improved = run_async(
                rounds_of.improve(loaded, recipe, runtime, progress, rounds=rounds)
            )
            page = rounds_of.markdown(improved)
    if as_json:
        flags.print_json(found)
    elif not page:
        flags.say("nothing to patch: the student fails none of the chains that were looked at")
    else:
        name = f"{loaded.name}-{'patched' if patch else 'improved'}.md"
        flags.out_console().print(page, markup=False, soft_wrap=True)
        flags.out_console().print(f"also in {runs / name}", markup=False)

"""Diagnose a finished run by its recipe, and write ``diagnosis.json`` and ``diagnosis.md``."""

from pathlib import Path

import orjson

from orcinus.core.files import write_atomically
from orcinus.evaluation.diagnosis.diagnose import DEFAULT_LESSONS, DiagnosisRequest, diagnose
from orcinus.evaluation.diagnosis.tables import Diagnosis
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.reports.diagnosis import markdown
from orcinus.runs import layout
from orcinus.runs.context import Progress, Runtime


async def diagnose_run(
    source: Path,
    run_dir: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    lessons: int = DEFAULT_LESSONS,
) -> Diagnosis:
    """Ask the students of a run their lessons again, and write down why they fail.

    Args:
        source: The recipe's file, or the run's folder. From the folder, an untrained student with
            a relative path may not be found.
        run_dir: The run's folder.
        runtime: Where and how fast.
        progress: Receives the progress.
        lessons: Lessons to ask again, at most.

    Raises:
        ConfigError: The run has not been evaluated.
        OrcinusError: As ``diagnose``.
    """
    is_recipe = source.is_file()
    recipe = load_recipe(source if is_recipe else run_dir / layout.RECIPE)
    # Without the recipe's own folder, a relative path may start here or in the run's folder.
    bases = (source.resolve().parent,) if is_recipe else (Path(), run_dir)
    request = DiagnosisRequest(
        run_dir=run_dir,
        roles=recipe.roles(bases[0]),
        bases=bases,
        budget=recipe.budget,
        judging=recipe.judging if recipe.judge is not None else None,
        command=f"orcinus run {source if is_recipe else 'RECIPE'}",
        lessons=lessons,
    )
    found = await diagnose(request, runtime, progress)
    content = orjson.dumps(found, option=orjson.OPT_INDENT_2)
    write_atomically(run_dir / layout.DIAGNOSIS, content)
    write_atomically(run_dir / layout.DIAGNOSIS_PAGE, markdown(found).encode())
    return found

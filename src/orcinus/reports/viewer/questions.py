"""List held-out questions with every arm's verdict, and those that training repaired or lost.

QuestionQuery(against="before", after="worse") ──find_questions──► the questions that training lost
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orcinus.core.errors import ConfigError
from orcinus.core.results import ARMS
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps

QUESTIONS_PER_PAGE = 50
Change = Literal["", "better", "worse", "same"]
CHANGES: dict[Change, str] = {
    "better": "explanations do better",
    "worse": "explanations do worse",
    "same": "both do as well",
}
"""What a reader can ask for, in words; the values are those of the report's links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionQuery:
    """Conditions on the questions to show. An empty text is no condition."""

    task: str = ""
    against: str = ""
    """The arm that the student trained on explanations is compared with."""
    after: Change = ""
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One held-out question as a list shows it."""

    task: str
    example_id: str
    prompt: str
    """Its beginning."""
    verdicts: tuple[tuple[str, str], ...]
    """(arm, ``right``, ``wrong`` …) of the first sample, for each arm that answered."""


def find_questions(
    run_dir: Path, query: QuestionQuery, first: int, most: int
) -> tuple[list[Question], int]:
    """Return some of the questions that match, and the number of all that do.

    Args:
        run_dir: The run's folder.
        query: The conditions. Its page is ignored.
        first: Place of the first question to return, from 0.
        most: Number of questions to return.

    Raises:
        ConfigError: The run has no evaluation yet.
    """
    import duckdb

    folder = finished_steps(run_dir, "evaluate")[0]
    arms = [arm for arm in ARMS if (folder / layout.attempts(arm)).exists()]
    if not arms:
        raise ConfigError(f"{run_dir.name}: its evaluation has no answers")
    conditions, values = _conditions(query, arms)
    paths = [str(folder / layout.attempts(arm)) for arm in arms]
    sql = f"""
        WITH answered AS ({" UNION ALL ".join(_ANSWERS.format(arm=arm) for arm in arms)}),
        asked AS (SELECT task, example_id, min(prompt) AS prompt, {_by_arm(arms)}
                  FROM answered GROUP BY task, example_id)
        SELECT *, count(*) OVER () AS total FROM asked {conditions}
        ORDER BY task, example_id LIMIT {int(most)} OFFSET {max(0, int(first))}"""
    with duckdb.connect() as connection:
        cursor = connection.execute(sql, [*paths, *values])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [_question(row, arms) for row in rows], rows[0]["total"] if rows else 0


_ANSWERS = """
    SELECT '{arm}' AS arm, task, example_id, sample, finish, value,
        CASE WHEN length(messages[-1].content) > 200
             THEN left(messages[-1].content, 200) || ' …' ELSE messages[-1].content END AS prompt
    FROM read_parquet(?)"""
"""The answers of one arm. Its name is one of ``ARMS``, so it needs no quoting."""


def _by_arm(arms: Sequence[str]) -> str:
    """Return SQL for the word and the mean value of each arm, over one question."""
    parts = []
    for arm in arms:
        parts += [
            f"""any_value(CASE WHEN finish = 'error' THEN 'failed' WHEN value IS NULL
                THEN 'not judged' WHEN value >= 1 THEN 'right' WHEN value <= 0 THEN 'wrong'
                ELSE 'partly right' END) FILTER (arm = '{arm}' AND sample = 0) AS word_{arm}""",
            f"""avg(coalesce(value, 0)) FILTER (arm = '{arm}' AND finish <> 'error')
                AS mean_{arm}""",
        ]
    return ", ".join(parts)


def _conditions(query: QuestionQuery, arms: Sequence[str]) -> tuple[str, list[str]]:
    parts, values = [], []
    if query.task:
        parts.append("task = ?")
        values.append(query.task)
    if query.after and query.against in arms and "after" in arms:
        sign = {"better": ">", "worse": "<", "same": "="}[query.after]
        parts.append(f"mean_after {sign} mean_{query.against}")
    return ("WHERE " + " AND ".join(parts) if parts else ""), values


def _question(row: dict[str, Any], arms: Sequence[str]) -> Question:
    words = ((arm, row[f"word_{arm}"]) for arm in arms)
    return Question(
        task=row["task"],
        example_id=row["example_id"],
        prompt=row["prompt"],
        verdicts=tuple((arm, word) for arm, word in words if word is not None),
    )

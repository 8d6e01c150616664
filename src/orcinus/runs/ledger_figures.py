"""Add up the calls of a ledger: spending, errors, latencies, tokens, and a table of all.

    spend(stream, "sums", version=2)  ──►  [SpendRow(run="sums", step="teach", calls=640, …), …]

Each function reads by ``stream``, which yields the rows of a query.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orcinus.core.imports import import_later
from orcinus.core.requests import SCORED

if TYPE_CHECKING:
    from orcinus.runs import tables
else:
    tables = import_later("orcinus.runs.tables")


Stream = Callable[[str, Sequence[Any]], Iterator[Any]]
"""Maps a query and its values to rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """The spending of one step of one run on one model for one task."""

    run: str
    step: str
    model: str
    task: str
    calls: int
    errors: int
    tokens_in: int
    tokens_out: int
    cost_usd: float
    tokens_unreported: int = 0
    """Worst case of the calls whose usage is not known; it counts in budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the seconds from request to reply, for one model."""

    model: str
    calls: int
    p50_s: float
    p90_s: float
    p99_s: float


def latencies(stream: Stream) -> list[Latency]:
    """Return percentiles of the time to a reply, by model."""
    query = """
        SELECT model, latency_s FROM attempts WHERE error IS NULL AND latency_s > 0
        ORDER BY model, latency_s
    """
    by_model: dict[str, list[float]] = {}
    for model, seconds in stream(query, ()):
        by_model.setdefault(model, []).append(seconds)
    return [
        Latency(
            model=model,
            calls=len(ordered),
            p50_s=ordered[len(ordered) // 2],
            p90_s=ordered[len(ordered) * 9 // 10],
            p99_s=ordered[len(ordered) * 99 // 100],
        )
        for model, ordered in by_model.items()
    ]


def mean_tokens(
    stream: Stream, model: str, judging: str | None = None
) -> tuple[float, float, float] | None:
    """Return mean tokens read, and mean and standard deviation of tokens written.

    Args:
        stream: Reads the ledger.
        model: Identity of the model.
        judging: Count the model's calls as a judge of this kind; None counts all other calls but
            those that score a text.

    Returns:
        None before the first answered call.
    """
    (row,) = stream(
        """
        SELECT count(*), avg(tokens_in), avg(tokens_out),
            avg(tokens_out * tokens_out) - avg(tokens_out) * avg(tokens_out)
        FROM attempts WHERE model = ?1 AND error IS NULL
            AND iif(
                ?2 IS NULL, strategy <> ?3 AND strategy NOT GLOB 'judge: *',
                strategy = 'judge: ' || ?2
            )
        """,
        (model, judging, SCORED),
    )
    return None if not row[0] else (float(row[1]), float(row[2]), max(float(row[3]), 0.0) ** 0.5)


def errors(stream: Stream) -> list[tuple[str, str, int, int]]:
    """Return (model, class of error, number of attempts that end in it, permanent ones)."""
    query = """
        SELECT model, substr(error, 1, instr(error || ':', ':') - 1), count(*), sum(permanent)
        FROM attempts WHERE error IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 3 DESC
    """
    return [
        (str(model), str(kind), int(count), int(permanent))
        for model, kind, count, permanent in stream(query, ())
    ]


def spend(stream: Stream, run: str | None, *, version: int) -> list[SpendRow]:
    """Return the spending by run, step, model and task, of one run or of all.

    Args:
        stream: Reads the ledger.
        run: The run; None for all.
        version: Of the ledger's tables.
    """
    where, values = ("WHERE run = ?", (run,)) if run is not None else ("", ())
    names = list(SpendRow.__dataclass_fields__)
    columns = names if version != 1 else names[:-1]
    rows = stream(
        f"SELECT {', '.join(columns)} FROM spend {where} ORDER BY run, step, model, task",
        values,
    )
    return [SpendRow(**dict(zip(columns, row, strict=True))) for row in rows]


def export(stream: Stream, path: Path) -> int:
    """Write all attempts to a Parquet file; return their number."""
    columns = (
        "id, run, step, task, example_id, strategy, model, sample, tokens_in, tokens_out, "
        "cost_usd, latency_s, error, created"
    )
    names = columns.split(", ")
    with tables.TableWriter(path, tables.CALLS) as writer:
        for *values, request, reply in stream(
            f"SELECT {columns}, request, reply FROM attempts ORDER BY rowid", ()
        ):
            sent, came = orjson.loads(request), orjson.loads(reply)
            writer.write(
                {
                    **dict(zip(names, values, strict=True)),
                    "messages": [
                        {"role": role, "content": content} for role, content in sent["messages"]
                    ],
                    "sampling": orjson.dumps(sent["sampling"]).decode(),
                    "text": came["text"],
                    "finish": came["finish"],
                    "reasoning": came.get("reasoning"),
                }
            )
    return writer.rows

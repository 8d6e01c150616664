"""Look up the strategy assigned to an example, in the tables that ``assign`` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa

from orcinus.core.types import Assignment
from orcinus.runs import layout, tables

GROUPS = pa.schema([("task", pa.string()), ("example_id", pa.string()), ("group", pa.string())])
"""Schema of ``groups.parquet``, which exists only where groups are finer than tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The assignments of a run by group, and the group of each example."""

    by_group: Mapping[str, Assignment]
    groups: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(task, example id) → group; empty when a group is a task."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the folder of a finished ``assign`` step."""
        assignments = {
            item.group: item for item in tables.read_assignments(folder / layout.ASSIGNMENTS)
        }
        path = folder / layout.GROUPS
        rows = tables.read_rows(path) if path.exists() else ()
        return cls(
            by_group=assignments,
            groups={(row["task"], row["example_id"]): row["group"] for row in rows},
        )

    def assignment_of(self, task: str, example_id: str) -> Assignment | None:
        """Return the assignment of an example's group; None when the group was never probed."""
        return self.by_group.get(self.groups.get((task, example_id), task))

    def strategy_of(self, task: str, example_id: str) -> str | None:
        """Return the strategy assigned to an example; None when it is not taught."""
        assignment = self.assignment_of(task, example_id)
        return None if assignment is None else assignment.strategy

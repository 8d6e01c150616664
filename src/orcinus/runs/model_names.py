"""Name the models of a run: a model in a folder is a hash to the ledger, so show its role instead.

folder:f65a90e4… ──► student before training        hf:Qwen/Qwen3-0.6B@main ──► unchanged
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps, summary_of

if TYPE_CHECKING:
    from orcinus.core import results
    from orcinus.runs import tables
else:
    results = import_later("orcinus.core.results")
    tables = import_later("orcinus.runs.tables")


_FOLDER = re.compile(r"folder:([0-9a-f]{8})[0-9a-f]*")
"""The identity of a model without a name, as ``models/local/config.py`` makes it."""

LLAMA_CPP = "llama.cpp"
"""The engine whose answers count as another model's: the end of its identity, behind a plus."""


def model_names(run_dir: Path) -> dict[str, str]:
    """Return a name for each model in a folder that a finished step asked, by its identity.

    Where two have the same role, the beginning of the hash is part of the name.
    """
    names: dict[str, str] = {}
    for path, name in _attempts_by_role(run_dir):
        identity = _first(path, "model")
        if not has_name(identity):
            engine = f", behind {LLAMA_CPP}" if identity.endswith(f"+{LLAMA_CPP}") else ""
            names.setdefault(identity, name + engine)
    uses = Counter(names.values())
    return {
        identity: name if uses[name] == 1 else f"{name} ({_short_hash(identity)})"
        for identity, name in names.items()
    }


def model_name(identity: str, names: Mapping[str, str], role: str | None = None) -> str:
    """Return the name of a model for a reader.

    Args:
        identity: The model's identity in the ledger.
        names: Names by identity, as ``model_names`` returns them.
        role: ``student``, ``teacher`` …, where it is known: the name of a model in a folder that
            ``names`` lacks. None names it by the beginning of its hash.
    """
    if identity in names:
        return names[identity]
    if role is not None and _FOLDER.fullmatch(identity):
        return f"the {role}"
    return _FOLDER.sub(lambda found: f"model folder {found[1]}", identity)


def has_name(identity: str) -> bool:
    """Return True for a model that is no folder: ``model_names`` can say nothing of it."""
    return _FOLDER.search(identity) is None


def given_name(config: object) -> str:
    """Return the name that a recipe gives a model: its model, path or function.

    Args:
        config: The model's section, as YAML gives it; the name is empty where there is none.
    """
    if not isinstance(config, Mapping):
        return ""
    if config.get("kind") == "scratch":
        return "a new model made from scratch"
    if path := str(config.get("path") or ""):
        # A whole path says less than its end, and names the user's own folders.
        return Path(path).name if Path(path).is_absolute() else path
    return str(config.get("model") or config.get("function") or config.get("kind") or "")


def _short_hash(identity: str) -> str:
    found = _FOLDER.search(identity)
    return found[1] if found else identity


def _attempts_by_role(run_dir: Path) -> Iterator[tuple[Path, str]]:
    """Tables of attempts of finished steps, with the role of the model that wrote them.

    A model that has two roles is named by the first one here.
    """
    for folder in _finished(run_dir, "evaluate"):
        for arm in ("before", "teacher", "after", "answer_only"):
            yield folder / layout.attempts(arm), results.ARMS[arm]
    role = results.ARMS["before" if _probed(run_dir) == "student" else "teacher"]
    for folder in _finished(run_dir, "probe"):
        yield folder / layout.ATTEMPTS, role
    for folder in _finished(run_dir, "teach"):
        yield folder / layout.ATTEMPTS, results.ARMS["teacher"]
    for folder in _finished(run_dir, "teach-assistant"):
        yield folder / layout.ATTEMPTS, "assistant"
    for path in sorted(run_dir.glob(f"trial-*/{layout.TRIALS}/wave-*.parquet")):
        wave = path.name.split("-")[1]
        yield path, f"trial student of {_first(path, 'strategy')}, wave {wave}"


def _probed(run_dir: Path) -> str:
    """Return which model the run probes, ``student`` or ``teacher``; assign comes after probe."""
    for folder in _finished(run_dir, "assign"):
        return str(summary_of(folder)["config"].get("whose", "student"))
    with suppress(OSError, yaml.YAMLError, AttributeError):
        recipe = yaml.safe_load((run_dir / layout.RECIPE).read_text(encoding="utf-8"))
        return str(recipe.get("assign", {}).get("whose", "student"))
    return "student"


def _finished(run_dir: Path, step: str) -> list[Path]:
    try:
        return finished_steps(run_dir, step)
    except ConfigError:
        return []


def _first(path: Path, column: str) -> str:
    """Return a column of a table's first attempt; empty for an empty table or none."""
    return str(_first_row(path, path.stat().st_mtime_ns)[column]) if path.exists() else ""


@lru_cache(maxsize=256)
def _first_row(path: Path, stamp: int) -> Mapping[str, Any]:
    return next(tables.read_rows(path, ["model", "strategy"]), {"model": "", "strategy": ""})

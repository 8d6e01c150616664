"""Models by names that a reader knows: a model in a folder is a hash to the ledger, and its role in the run to everyone else."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from orcinus.core.errors import ConfigError
from orcinus.reports.words import ARMS
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, summary_of

_FOLDER = re.compile(r"folder:([0-9a-f]{8})[0-9a-f]*")
"""How ``completers/local_config.py`` names what has no name."""


def model_names(run_dir: Path) -> dict[str, str]:
    """By identity a name for each model in a folder that a finished step of the run asked; two of a name have a piece of the hash with it."""
    names: dict[str, str] = {}
    for path, name in _asked(run_dir):
        identity = _first_model(path, path.stat().st_mtime_ns) if path.exists() else ""
        if _FOLDER.search(identity):
            names.setdefault(identity, name)
    alike = Counter(names.values())
    return {
        identity: name if alike[name] == 1 else f"{name} ({_short(identity)})"
        for identity, name in names.items()
    }


def model_name(identity: str, names: Mapping[str, str]) -> str:
    """``names``' word for a model, or its identity with the hash cut to what can be told apart."""
    return names.get(identity) or _FOLDER.sub(lambda found: f"model folder {found[1]}", identity)


def _short(identity: str) -> str:
    found = _FOLDER.search(identity)
    return found[1] if found else identity


def _asked(run_dir: Path) -> Iterator[tuple[Path, str]]:
    """The tables of attempts of finished steps, with whose they are; of a model that had two roles the first here counts."""
    for folder in _finished(run_dir, "evaluate"):
        for arm in ("before", "teacher", "after", "answer_only"):
            yield folder / layout.attempts(arm), ARMS[arm]
    for folder in _finished(run_dir, "assign"):
        student = summary_of(folder)["config"].get("whose", "student") == "student"
        for probe in _finished(run_dir, "probe"):
            yield probe / layout.ATTEMPTS, ARMS["before" if student else "teacher"]
    for folder in _finished(run_dir, "teach"):
        yield folder / layout.ATTEMPTS, ARMS["teacher"]
    for folder in _finished(run_dir, "teach-assistant"):
        yield folder / layout.ATTEMPTS, "assistant"


def _finished(run_dir: Path, step: str) -> list[Path]:
    try:
        return finished_steps(run_dir, step)
    except ConfigError:
        return []


@lru_cache(maxsize=256)
def _first_model(path: Path, stamp: int) -> str:
    """The model that the first attempt of a table was asked of; empty where there is none."""
    return str(next(tables.read_rows(path, ["model"]), {"model": ""})["model"])

"""The verbs of the steps. A module of its own, so that `orcinus --help` loads no step."""

from typing import Literal, get_args

Verb = Literal[
    "author",
    "sample",
    "student",
    "probe",
    "trial",
    "assign",
    "skills",
    "select",
    "teach",
    "curate",
    "rehearse",
    "erase",
    "weigh",
    "train",
    "evaluate",
    "report",
]
"""The verbs of the steps, in order. A recipe has ``author`` only where a model writes tasks,
``student`` only for a student made from scratch, ``skills``, ``select``, ``rehearse`` and ``weigh``
only where it has these sections, ``trial`` only where trial students may decide."""
VERBS: tuple[Verb, ...] = get_args(Verb)


def verb_of(name: str) -> str:
    """Return the verb in the name of a step: ``train`` of ``train-answer_only``."""
    return name.partition("-")[0]

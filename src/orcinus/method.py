"""The whole method as steps: what a recipe asks for, in the order in which it is done.

    sample → probe → assign → teach → curate → erase → train ─┬→ evaluate → report
                                            └→ erase → train ─┘   (the answer-only baseline)
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from orcinus.attempts import Budget
from orcinus.completers.endpoint import Endpoint, EndpointConfig
from orcinus.completers.local_config import LocalConfig, local_identity
from orcinus.completers.opening import open_completer
from orcinus.config import Config
from orcinus.errors import ConfigError
from orcinus.pipeline import Step, summary_of
from orcinus.protocols import Completer
from orcinus.recipe import ModelConfig, Recipe
from orcinus.runtime import Progress, Runtime, StepContext
from orcinus.steps import assign, curate, erase, evaluate, probe, report, sample, student, teach, train
from orcinus.store.ledger import Ledger
from orcinus.training.scratch import ScratchConfig

Steps = Mapping[str, Step]

"""Write docs/recipe.md from the configuration models, whose field docstrings are the documentation.

python scripts/recipe_reference.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orcinus.core.config import field_docs
from orcinus.core.sampling import JudgingConfig, SamplingConfig
from orcinus.evaluation.config import DecideConfig, EvaluateConfig, PairwiseConfig
from orcinus.lessons.config import (
    CurateConfig,
    EraseConfig,
    FewShotConfig,
    QualityConfig,
    RehearseConfig,
    SelectConfig,
    SelectorConfig,
    TeachConfig,
    ToxicityConfig,
)
from orcinus.lessons.selectors import Balanced, Diverse, Matched, Teachable
from orcinus.models.configs import SelfConfig
from orcinus.models.function import FunctionConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded import ReplayConfig
from orcinus.models.recorded_rows import AnsweredConfig
from orcinus.models.remote.endpoint_config import (
    BatchConfig,
    EndpointConfig,
    Limits,
    Patience,
    Price,
)
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe, StrategyConfig
from orcinus.reports.report import ReportConfig
from orcinus.runs.budget import BudgetConfig
from orcinus.strategies.assign import AssignConfig
from orcinus.strategies.config import ProbeConfig, SkillsConfig
from orcinus.tasks.authored.config import AuthoredConfig, AuthoringConfig
from orcinus.tasks.config import (
    Mixture,
    PerturbedConfig,
    PerturbedRecords,
    RecordsConfig,
    SampleConfig,
)
from orcinus.tasks.generators.environment import EnvironmentConfig
from orcinus.tasks.generators.function import FunctionTaskConfig
from orcinus.tasks.generators.gym import GymConfig
from orcinus.tasks.generators.procedural import ProceduralConfig
from orcinus.training.config import (
    InvariantConfig,
    LessonFilter,
    LoraConfig,
    MixConfig,
    ObjectiveConfig,
    OnPolicyConfig,
    PreferConfig,
    ReinforceConfig,
    StageConfig,
    TrainConfig,
    WeighConfig,
)

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The recipe", Recipe),
    ("`tasks:` and `evaluation:` — files", RecordsConfig),
    ("`tasks:` — drawn by a program", ProceduralConfig),
    ("`tasks:` — of reasoning-gym", GymConfig),
    ("`tasks:` — of a `verifiers` environment", EnvironmentConfig),
    ("`tasks:` — of a function of yours", FunctionTaskConfig),
    ("`tasks:` — written by a model", AuthoredConfig),
    ("… its `authored:`", AuthoringConfig),
    ("`evaluation:` — fresh copies of the items in files", PerturbedConfig),
    ("… its `perturbed:`", PerturbedRecords),
    ("`strategies:` — your own", StrategyConfig),
    ("`teacher:` — an endpoint", EndpointConfig),
    ("… its `price:`", Price),
    ("… its `limits:`", Limits),
    ("… its `patience:`", Patience),
    ("… its `batch:`", BatchConfig),
    ("`teacher:` — recorded outputs", ReplayConfig),
    ("`teacher:` — rows that are already answered", AnsweredConfig),
    ("`teacher:` — a function", FunctionConfig),
    ("`teacher:` — the student itself", SelfConfig),
    ("`student:` and `teacher:` — a Hugging Face model in this process", LocalConfig),
    ("`student:` — a new one from scratch", ScratchConfig),
    ("`sample:`", SampleConfig),
    ("… an entry of its `collections:`", Mixture),
    ("`probe:`", ProbeConfig),
    ("`assign:`", AssignConfig),
    ("`skills:`", SkillsConfig),
    ("`select:`", SelectConfig),
    ("… an item of its `by:`", SelectorConfig),
    ("… the selector `teachable`", Teachable),
    ("… the selector `matched`", Matched),
    ("… the selector `balanced`", Balanced),
    ("… the selector `diverse`", Diverse),
    ("`teach:`", TeachConfig),
    ("`sampling:` — in probe, teach and evaluate", SamplingConfig),
    ("`judging:` — the judge itself is a model, like `teacher:`", JudgingConfig),
    ("`curate:`", CurateConfig),
    ("… its `quality:`", QualityConfig),
    ("… its `toxicity:`", ToxicityConfig),
    ("`rehearse:`", RehearseConfig),
    ("`erase:`", EraseConfig),
    ("… its `few_shot:`", FewShotConfig),
    ("`weigh:`", WeighConfig),
    ("`train:`", TrainConfig),
    ("… an item of its `stages:`", StageConfig),
    ("… its `mix:`", MixConfig),
    ("… its `of:`", LessonFilter),
    ("… its `on_policy:`", OnPolicyConfig),
    ("… its `reinforce:`", ReinforceConfig),
    ("… its `prefer:`", PreferConfig),
    ("… its `invariant:`", InvariantConfig),
    ("… its `lora:`", LoraConfig),
    ("… its `objective:`", ObjectiveConfig),
    ("`evaluate:`", EvaluateConfig),
    ("… its `decide:`", DecideConfig),
    ("… its `pairwise:`", PairwiseConfig),
    ("`report:`", ReportConfig),
    ("`budget:`", BudgetConfig),
)


def page() -> str:
    """Return the whole page."""
    head = (
        "# Every key of a recipe\n\nMade from the code by `scripts/recipe_reference.py`. "
        "`orcinus schema` prints the same as JSON Schema, for\n"
        "editors that complete and check YAML. Unknown keys are refused, with the nearest known "
        "one.\n"
    )
    return head + "".join(f"\n## {title}\n\n{''.join(rows(model))}" for title, model in SECTIONS)


def rows(model: type[BaseModel]) -> Iterator[str]:
    """Return a table of the model's fields."""
    yield "| key | default | what it is |\n|---|---|---|\n"
    docs = field_docs(model)
    for name, field in model.model_fields.items():
        default = default_of(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {default} | {cell(docs.get(name, ''))} |\n"


def default_of(value: Any) -> str:
    """Return a field's default as YAML writes it."""
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if value in ((), {}, ""):
        return "empty"
    if isinstance(value, tuple):
        return (
            "one stage" if isinstance(value[0], BaseModel) else f"`[{', '.join(map(str, value))}]`"
        )
    return (
        "`"
        + (str(value).lower() if isinstance(value, bool) else str(value).replace("\n", "\\n"))
        + "`"
    )


def cell(text: str) -> str:
    """Return text for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

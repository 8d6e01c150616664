"""The whole method as steps: what a recipe asks for, in the order in which it is done.

sample → probe → assign (→ skills) (→ select) → teach → curate → erase → train ─┬→ evaluate → report
                                        └→ erase → train ─┘   (the answer-only baseline)
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from orcinus.core.types import Strategy
from orcinus.evaluation import evaluate
from orcinus.lessons import curate, erase, select, teach
from orcinus.lessons.select import SelectConfig
from orcinus.lessons.teach import Role as TeacherRole
from orcinus.models.configs import SelfConfig
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.roles import identity_of, student_config
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.step import Step, ancestors
from orcinus.reports import report
from orcinus.runs.context import StepContext
from orcinus.strategies import assign, probe, skills
from orcinus.strategies.library import skill_texts
from orcinus.strategies.skills import SkillsConfig
from orcinus.tasks import sample
from orcinus.tasks.open import content_of, open_task
from orcinus.training import create as student
from orcinus.training import train
from orcinus.verifiers.judge_prompts import prompts_identity

Content = Literal["explanation", "answer_only"]
VERBS = (
    "sample",
    "student",
    "probe",
    "assign",
    "skills",
    "select",
    "teach",
    "curate",
    "erase",
    "train",
    "evaluate",
    "report",
)
"""The steps' verbs in order; ``student`` is there only when a new one is made from scratch, ``skills`` and ``select`` when the recipe asks."""


def steps_of(recipe: Recipe, base: Path) -> list[Step]:
    """The steps of ``recipe``, inputs first.

    Args:
        recipe: What to do.
        base: The recipe's own folder, where its relative paths start.

    Raises:
        ConfigError: A task file or a local model is not there.
    """
    build = _Builder(recipe, base)
    sampled = build.sample()
    made = build.student(sampled)
    probed = build.probe(sampled, made)
    assigned = chosen = build.assign(sampled, probed, made)
    if recipe.skills is not None:
        assigned = build.skills(recipe.skills, sampled, probed, chosen, made)
    to_teach = (
        sampled if recipe.select is None else build.select(recipe.select, sampled, assigned, made)
    )
    taught = build.teach(to_teach, assigned, made, "teacher")
    skilled = {"assign": assigned} if recipe.skills is not None else {}
    curated = build.curate({"sample": to_teach, "teach": taught, **skilled}, "teacher")
    read_by_erase = {"sample": to_teach, "curate": curated, **skilled}
    assisted: dict[str, Step] = {}
    if recipe.assistant is not None:
        helped = build.teach(to_teach, assigned, made, "assistant")
        kept = build.curate({"sample": to_teach, "teach": helped, **skilled}, "assistant")
        assisted = {"teach_assistant": helped, "curate_assistant": kept}
        read_by_erase["curate_assistant"] = kept
    erased = build.erase(read_by_erase, "explanation")
    trained = build.train(erased, sampled, made, "explanation")
    inputs = {"sample": sampled, "assign": assigned, "train": trained, **made}
    read = {
        "sample": sampled,
        "probe": probed,
        "assign": chosen,
        "teach": taught,
        "curate": curated,
        "erase": erased,
    }
    read |= assisted
    if "answer_only" in recipe.evaluate.arms:
        erased_answers = build.erase(read_by_erase, "answer_only")
        trained_answers = build.train(erased_answers, sampled, made, "answer_only")
        inputs["train_answer_only"] = trained_answers
        read |= {"erase_answer_only": erased_answers, "train_answer_only": trained_answers}
    if assigned is not chosen:
        read["skills"] = assigned
    if to_teach is not sampled:
        read["select"] = to_teach
    evaluated = build.evaluate(inputs)
    reported = build.report({**read, "train": trained, "evaluate": evaluated})
    return ancestors(reported)


class _Builder:
    """Makes each step from its section of the recipe; what can change a result goes into its configuration."""

    def __init__(self, recipe: Recipe, base: Path) -> None:
        self._recipe = recipe
        self._base = base
        self._strategies = recipe.resolved_strategies()
        self._texts = [asdict(strategy) for strategy in self._strategies]

    def _step(
        self,
        name: str,
        module: Any,
        config: Mapping[str, Any],
        inputs: Mapping[str, Step],
        action: Any,
    ) -> Step:
        return Step(
            name=name,
            version=module.VERSION,
            config={"seed": self._recipe.seed, **config},
            inputs=inputs,
            action=action,
        )

    def sample(self) -> Step:
        recipe, base = self._recipe, self._base
        roles = (
            ("pool", recipe.tasks),
            ("evaluation", recipe.evaluation),
            ("retention", recipe.retention),
        )
        tasks = [(config, role) for role, configs in roles for config in configs]
        sources = [
            {**config.model_dump(mode="json"), "role": role, "content": content_of(config, base)}
            for config, role in tasks
        ]

        async def action(context: StepContext) -> dict[str, Any]:
            opened = [(*open_task(config, base), role) for config, role in tasks]
            return await sample.sample(recipe.sample, opened, context)

        return self._step("sample", sample, {**_dump(recipe.sample), "tasks": sources}, {}, action)

    def student(self, sampled: Step) -> dict[str, Step]:
        """The step that makes a student from scratch, as an input by its role; nothing for one that exists."""
        config = self._recipe.student
        if not isinstance(config, ScratchConfig):
            return {}

        async def action(context: StepContext) -> dict[str, Any]:
            return await student.student(config, self._strategies, context)

        return {
            "student": self._step(
                "student",
                student,
                {**_dump(config), "strategies": self._texts},
                {"sample": sampled},
                action,
            )
        }

    def probe(self, sampled: Step, made: Mapping[str, Step]) -> Step:
        async def action(context: StepContext) -> dict[str, Any]:
            return await probe.probe(self._recipe.probe, self._strategies, context, role=role)

        role = self._recipe.assign.whose
        config = {
            **_dump(self._recipe.probe),
            "strategies": self._texts,
            "model": self._identity(role),
            **self._judge_identity(),
        }
        return self._step("probe", probe, config, {"sample": sampled, **made}, action)

    def assign(self, sampled: Step, probed: Step, made: Mapping[str, Step]) -> Step:
        sampling = self._recipe.probe.sampling

        async def action(context: StepContext) -> dict[str, Any]:
            return await assign.assign(
                self._recipe.assign, self._strategies, self._recipe.probe, context
            )

        config = {
            **_dump(self._recipe.assign),
            **assign.IDENTITY_OF_REMOVED_KEYS,
            "strategies": self._texts,
            "sampling": _dump(sampling),
            "model": self._identity(self._recipe.assign.whose),
            **(
                {"teacher": self._identity("teacher")}
                if self._recipe.assign.proxy == "teacher"
                else {}
            ),
            **self._judge_identity(),
        }
        return self._step(
            "assign", assign, config, {"sample": sampled, "probe": probed, **made}, action
        )

    def skills(
        self,
        config: SkillsConfig,
        sampled: Step,
        probed: Step,
        assigned: Step,
        made: Mapping[str, Step],
    ) -> Step:
        """The assignments again, with the instructions of their own that groups got."""
        sampling = self._recipe.probe.sampling

        async def action(context: StepContext) -> dict[str, Any]:
            return await skills.skills(config, self._strategies, sampling, context)

        settings = {
            **_dump(config),
            "strategies": self._texts,
            "sampling": _dump(sampling),
            "texts": dict(skill_texts()),
            "model": self._identity("student"),
            "teacher": self._identity("teacher"),
            **self._judge_identity(),
        }
        return self._step(
            "skills",
            skills,
            settings,
            {"sample": sampled, "probe": probed, "assign": assigned, **made},
            action,
        )

    def select(
        self, config: SelectConfig, sampled: Step, assigned: Step, made: Mapping[str, Step]
    ) -> Step:
        """The splits again, of the teach split only what is taught."""

        async def action(context: StepContext) -> dict[str, Any]:
            return await select.select(config, self._known(context), context)

        asked = {
            "strategies": self._texts,
            "model": self._identity("student"),
            **self._judge_identity(),
        }
        settings = {**_dump(config), **(asked if config.needs_pass_rate else {})}
        return self._step(
            "select", select, settings, {"sample": sampled, "assign": assigned, **made}, action
        )

    def _known(self, context: StepContext) -> tuple[Strategy, ...]:
        """The recipe's strategies, and those that came of its ``skills`` step."""
        return self._strategies + (
            skills.read_skills(context.inputs["assign"]) if self._recipe.skills else ()
        )

    def teach(
        self, sampled: Step, assigned: Step, made: Mapping[str, Step], role: TeacherRole
    ) -> Step:
        settings = self._recipe.teach if role == "teacher" else self._recipe.assist

        async def action(context: StepContext) -> dict[str, Any]:
            return await teach.teach(settings, self._known(context), context, role=role)

        config = {
            **_dump(settings),
            "strategies": self._texts,
            "model": self._identity(role),
            **self._judge_identity(),
        }
        own = made if role == "teacher" and isinstance(self._recipe.teacher, SelfConfig) else {}
        return self._step(
            _of(role, "teach"),
            teach,
            config,
            {"sample": sampled, "assign": assigned, **own},
            action,
        )

    def curate(self, inputs: Mapping[str, Step], role: TeacherRole) -> Step:
        async def action(context: StepContext) -> dict[str, Any]:
            return await curate.curate(
                self._recipe.curate, self._known(context), context, booked_as=_of(role, "curate")
            )

        rated = self._judge_identity() if self._recipe.curate.quality is not None else {}
        config = {**_dump(self._recipe.curate), "strategies": self._texts, **rated}
        return self._step(_of(role, "curate"), curate, config, inputs, action)

    def erase(self, inputs: Mapping[str, Step], content: Content) -> Step:
        async def action(context: StepContext) -> dict[str, Any]:
            return await erase.erase(
                self._recipe.erase, self._known(context), context, content=content
            )

        config = {**_dump(self._recipe.erase), "strategies": self._texts, "arm": content}
        return self._step(_arm_name("erase", content), erase, config, inputs, action)

    def train(
        self, erased: Step, sampled: Step, made: Mapping[str, Step], content: Content
    ) -> Step:
        generic = erase.generic_text(self._recipe.erase)

        async def action(context: StepContext) -> dict[str, Any]:
            return await train.train(
                self._recipe.train.at(self._base), self._student_at(context), generic, context
            )

        config = {**_dump(self._recipe.train), "model": self._identity("student"), "arm": content}
        asked: dict[str, Step] = {}
        if self._recipe.train.open_mixes:
            config |= {"generic": generic, **self._judge_identity()}
            asked = {"sample": sampled}
        if any(stage.on_policy is not None for stage in self._recipe.train.stages):
            config["on_policy"] = [
                None
                if stage.on_policy is None
                else local_identity(stage.on_policy.teacher, self._base)
                for stage in self._recipe.train.stages
            ]
        return self._step(
            _arm_name("train", content), train, config, {"erase": erased, **asked, **made}, action
        )

    def evaluate(self, inputs: Mapping[str, Step]) -> Step:
        generic = erase.generic_text(self._recipe.erase)

        async def action(context: StepContext) -> dict[str, Any]:
            return await evaluate.evaluate(
                self._recipe.evaluate, self._known(context), generic, context
            )

        config = {
            **_dump(self._recipe.evaluate),
            "strategies": self._texts,
            "generic": generic,
            "student": self._identity("student"),
            "teacher": self._identity("teacher"),
            **self._judge_identity(),
        }
        return self._step("evaluate", evaluate, config, inputs, action)

    def report(self, inputs: Mapping[str, Step]) -> Step:
        async def action(context: StepContext) -> dict[str, Any]:
            return await report.report(self._recipe.report, context)

        return self._step("report", report, _dump(self._recipe.report), inputs, action)

    def _identity(self, role: str) -> dict[str, Any]:
        recipe = self._recipe
        if role == "assistant" and recipe.assistant is not None:
            return identity_of(recipe.assistant, self._base)
        if role == "student" or isinstance(recipe.teacher, SelfConfig):
            return identity_of(recipe.student, self._base)
        return identity_of(recipe.teacher, self._base)

    def _judge_identity(self) -> dict[str, Any]:
        """What of the judge decides its verdicts; nothing in a recipe without one."""
        recipe = self._recipe
        if recipe.judge is None:
            return {}
        judging = {**_dump(recipe.judging), "prompts": prompts_identity()}
        return {"judge": identity_of(recipe.judge, self._base), "judging": judging}

    def _student_at(self, context: StepContext) -> LocalConfig:
        return student_config(self._recipe.roles(self._base), context.inputs.get("student"))


def _dump(config: Any) -> dict[str, Any]:
    return dict(config.model_dump(mode="json"))


def _arm_name(verb: str, content: Content) -> str:
    return verb if content == "explanation" else f"{verb}-{content}"


def _of(role: TeacherRole, verb: str) -> str:
    return verb if role == "teacher" else f"{verb}-{role}"

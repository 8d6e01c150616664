"""The whole method as steps: what a recipe asks for, in the order in which it is done.

sample → probe → assign (→ skills) (→ select) → teach → curate → erase → train ─┬→ evaluate → report
                                        └→ erase → train ─┘   (the answer-only baseline)
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from orcinus.attempts import Budget
from orcinus.completers.answered import Answered, AnsweredConfig
from orcinus.completers.local_config import LocalConfig, local_identity
from orcinus.completers.opening import open_completer
from orcinus.durable import write_atomically
from orcinus.errors import ConfigError
from orcinus.fingerprint import fingerprint
from orcinus.following import followed
from orcinus.pipeline import Step, ancestors, locked, run_steps, summary_of
from orcinus.protocols import Completer
from orcinus.recipe import ModelConfig, Recipe, SelfConfig, StudentConfig
from orcinus.runtime import Progress, Runtime, StepContext
from orcinus.steps import assign, curate, erase, evaluate, probe, report, sample, select, skills, student, teach, train
from orcinus.steps.select import SelectConfig
from orcinus.steps.skills import SkillsConfig
from orcinus.steps.teach import Role as TeacherRole
from orcinus.store.ledger import Ledger
from orcinus.strategies import skill_texts
from orcinus.tasks.opening import content_of, open_task
from orcinus.training.scratch import ScratchConfig
from orcinus.types import Strategy
from orcinus.verifiers.judge import prompts_identity

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
    to_teach = sampled if recipe.select is None else build.select(recipe.select, sampled, assigned, made)
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
    read = {"sample": sampled, "probe": probed, "assign": chosen, "teach": taught, "curate": curated, "erase": erased}
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

    def _step(self, name: str, module: Any, config: Mapping[str, Any], inputs: Mapping[str, Step], action: Any) -> Step:
        return Step(
            name=name,
            version=module.VERSION,
            config={"seed": self._recipe.seed, **config},
            inputs=inputs,
            action=action,
        )

    def sample(self) -> Step:
        recipe, base = self._recipe, self._base
        roles = (("pool", recipe.tasks), ("evaluation", recipe.evaluation), ("retention", recipe.retention))
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
                "student", student, {**_dump(config), "strategies": self._texts}, {"sample": sampled}, action
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
            return await assign.assign(self._recipe.assign, self._strategies, sampling, context)

        config = {
            **_dump(self._recipe.assign),
            "strategies": self._texts,
            "sampling": _dump(sampling),
            "model": self._identity(self._recipe.assign.whose),
            **({"teacher": self._identity("teacher")} if self._recipe.assign.proxy == "teacher" else {}),
            **self._judge_identity(),
        }
        return self._step("assign", assign, config, {"sample": sampled, "probe": probed, **made}, action)

    def skills(
        self, config: SkillsConfig, sampled: Step, probed: Step, assigned: Step, made: Mapping[str, Step]
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
            "skills", skills, settings, {"sample": sampled, "probe": probed, "assign": assigned, **made}, action
        )

    def select(self, config: SelectConfig, sampled: Step, assigned: Step, made: Mapping[str, Step]) -> Step:
        """The splits again, of the teach split only what is taught."""

        async def action(context: StepContext) -> dict[str, Any]:
            return await select.select(config, self._known(context), context)

        asked = {"strategies": self._texts, "model": self._identity("student"), **self._judge_identity()}
        settings = {**_dump(config), **(asked if config.needs_pass_rate else {})}
        return self._step("select", select, settings, {"sample": sampled, "assign": assigned, **made}, action)

    def _known(self, context: StepContext) -> tuple[Strategy, ...]:
        """The recipe's strategies, and those that came of its ``skills`` step."""
        return self._strategies + (skills.read_skills(context.inputs["assign"]) if self._recipe.skills else ())

    def teach(self, sampled: Step, assigned: Step, made: Mapping[str, Step], role: TeacherRole) -> Step:
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
        return self._step(_of(role, "teach"), teach, config, {"sample": sampled, "assign": assigned, **own}, action)

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
            return await erase.erase(self._recipe.erase, self._known(context), context, content=content)

        config = {**_dump(self._recipe.erase), "strategies": self._texts, "arm": content}
        return self._step(_arm_name("erase", content), erase, config, inputs, action)

    def train(self, erased: Step, sampled: Step, made: Mapping[str, Step], content: Content) -> Step:
        generic = erase.generic_text(self._recipe.erase)

        async def action(context: StepContext) -> dict[str, Any]:
            return await train.train(self._recipe.train.at(self._base), self._student_at(context), generic, context)

        config = {**_dump(self._recipe.train), "model": self._identity("student"), "arm": content}
        asked: dict[str, Step] = {}
        if self._recipe.train.open_mixes:
            config |= {"generic": generic, **self._judge_identity()}
            asked = {"sample": sampled}
        if any(stage.on_policy is not None for stage in self._recipe.train.stages):
            config["on_policy"] = [
                None if stage.on_policy is None else local_identity(stage.on_policy.teacher, self._base)
                for stage in self._recipe.train.stages
            ]
        return self._step(_arm_name("train", content), train, config, {"erase": erased, **asked, **made}, action)

    def evaluate(self, inputs: Mapping[str, Step]) -> Step:
        generic = erase.generic_text(self._recipe.erase)

        async def action(context: StepContext) -> dict[str, Any]:
            return await evaluate.evaluate(self._recipe.evaluate, self._known(context), generic, context)

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
        return student_config(self._recipe, self._base, context.inputs.get("student"))


def _dump(config: Any) -> dict[str, Any]:
    return dict(config.model_dump(mode="json"))


def _arm_name(verb: str, content: Content) -> str:
    return verb if content == "explanation" else f"{verb}-{content}"


def _of(role: TeacherRole, verb: str) -> str:
    return verb if role == "teacher" else f"{verb}-{role}"


def identity_of(config: StudentConfig | ModelConfig | AnsweredConfig, base: Path) -> dict[str, Any]:
    """What of a model's configuration decides its answers; addresses, keys and limits do not."""
    if isinstance(config, LocalConfig):
        return {"kind": "local", "model": local_identity(config, base)}
    return {"kind": config.kind, **config.identity()}


def student_config(recipe: Recipe, base: Path, folder: Path | None) -> LocalConfig:
    """Where the student's weights are: in the folder of a step that made them, or where the recipe says.

    Args:
        recipe: Whose student.
        base: The recipe's own folder.
        folder: A finished ``student`` or ``train`` step, or a model's own folder; None for the recipe's own.
    """
    student = recipe.student
    if not isinstance(student, LocalConfig | ScratchConfig):
        raise ConfigError(f"student: a model of kind {student.kind!r} cannot be trained; use kind local or scratch")
    settings = student if isinstance(student, LocalConfig) else student.local()
    if folder is None:
        return settings.at(base)
    is_model = (folder / "config.json").exists()
    model = folder if is_model else folder / summary_of(folder)["summary"]["model"]
    return settings.model_copy(update={"path": str(model.resolve()), "revision": None, "adapter": None})


class Models:
    """Opens the recipe's models on demand and closes what it opened."""

    def __init__(self, recipe: Recipe, base: Path, runtime: Runtime) -> None:
        self._recipe, self._base, self._runtime = recipe, base, runtime
        self._open: dict[tuple[str, Path | None], Completer] = {}

    def open(self, role: str, folder: Path | None = None) -> Completer:
        """The model of ``role``; see ``OpenCompleter``."""
        if role == "teacher" and isinstance(self._recipe.teacher, SelfConfig):
            role = "student"
        if role == "teacher" and isinstance(self._recipe.teacher, AnsweredConfig):
            return Answered(model=self._answered_by(self._recipe.teacher))
        if (role, folder) not in self._open:
            self._open[role, folder] = open_completer(
                self._config(role, folder),
                base=self._base,
                device=self._runtime.device,
                secrets=self._runtime.secrets,
                journal=self._runtime.batch_journal,
                replicas=self._runtime.replicas,
            )
        return self._open[role, folder]

    def _answered_by(self, teacher: AnsweredConfig) -> str:
        """The model's name with a hash of the rows, so that the ledger does not recall an answer that was changed since."""
        rows = [content_of(task, self._base) for task in self._recipe.tasks]
        return f"{teacher.model}@{fingerprint(rows, length=8)}"

    def _config(self, role: str, folder: Path | None) -> ModelConfig:
        if role == "student":
            return student_config(self._recipe, self._base, folder)
        if role == "teacher" and not isinstance(self._recipe.teacher, SelfConfig | AnsweredConfig):
            return self._recipe.teacher
        if role == "assistant" and self._recipe.assistant is not None:
            return self._recipe.assistant
        if role == "judge" and self._recipe.judge is not None:
            return self._recipe.judge
        raise ConfigError(f"the recipe has no model in the role {role!r}")

    async def aclose(self) -> None:
        """Close every open model."""
        while self._open:
            _, completer = self._open.popitem()
            await completer.aclose()


async def run_recipe(
    recipe: Recipe, recipe_path: Path, runtime: Runtime, progress: Progress, *, until: str | None = None
) -> Path:
    """Do what the recipe asks, or go on with it.

    Args:
        recipe: What to do.
        recipe_path: The file it was read from; copied into the run's folder.
        runtime: Where and how fast.
        progress: Is told how far it is.
        until: Verb of the last step to run; None runs all.

    Returns:
        The run's folder.

    Raises:
        OrcinusError: Something a user can mend; what is done and paid for is kept.
    """
    if until in ("skills", "select") and getattr(recipe, until) is None:
        example = "skills: {}" if until == "skills" else "select: {by: [teachable]}"
        raise ConfigError(
            f"{recipe_path}: there is no section {until}:, so there is nothing to do; say e.g. `{example}`"
        )
    base = recipe_path.resolve().parent
    run_dir = runtime.workspace / recipe.name
    steps = [step for step in steps_of(recipe, base) if until is None or VERBS.index(_verb(step)) <= VERBS.index(until)]
    with locked(run_dir), followed(progress, run_dir) as told, Ledger(runtime.ledger_path) as ledger:
        write_atomically(run_dir / "recipe.yaml", recipe_path.read_bytes())
        models = Models(recipe, base, runtime)
        budget = Budget(usd=recipe.budget.usd, tokens=recipe.budget.tokens, ledger=ledger, run=recipe.name)

        def open_context(step: Step, folder: Path) -> StepContext:
            inputs = {role: source.folder(run_dir) for role, source in step.inputs.items()}

            def completer(role: str, folder: Path | None = None) -> Completer:
                own = role == "student" or (role == "teacher" and isinstance(recipe.teacher, SelfConfig))
                return models.open(role, inputs.get("student") if own and folder is None else folder)

            return StepContext(
                out=folder,
                inputs=inputs,
                run=recipe.name,
                seed=recipe.seed,
                ledger=ledger,
                runtime=runtime,
                progress=told,
                completer=completer,
                budget=budget,
                judging=recipe.judging if recipe.judge is not None else None,
            )

        await run_steps(steps, run_dir, open_context, close=models.aclose)
        if _verb(steps[-1]) == "report":
            _publish(steps[-1], run_dir)
    return run_dir


def _publish(report: Step, run_dir: Path) -> None:
    """The report where a user looks for it, and the model card in the student's folder."""
    made = report.folder(run_dir)
    for name in ("report.html", "report.md", "report.json"):
        write_atomically(run_dir / name, (made / name).read_bytes())
    trained = report.inputs["train"].folder(run_dir)
    student = trained / summary_of(trained)["summary"]["model"]
    write_atomically(student / "README.md", (made / "model-card.md").read_bytes())


def _verb(step: Step) -> str:
    return step.name.partition("-")[0]

"""The method as steps: what a recipe asks for, in the order in which it is done.

(author →) sample → probe (→ trial) → assign (→ skills) (→ select)
  → teach → curate (→ rehearse) → erase (→ weigh) → train ─┬→ evaluate → report
                            └→ erase → train ──────────────┘   (the answer-only baseline)
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.registry import Kind, code_of, find
from orcinus.core.types import Strategy
from orcinus.lessons.config import RehearseConfig, SelectConfig, TeachConfig, generic_text
from orcinus.lessons.config import Role as TeacherRole
from orcinus.models.configs import SelfConfig
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.roles import identity_of, student_config
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.step import Action, Requests, Step, ancestors, no_requests
from orcinus.pipeline.verbs import verb_of
from orcinus.runs import layout
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.config import SkillsConfig
from orcinus.strategies.library import skill_texts
from orcinus.tasks.authored.config import AuthoredConfig
from orcinus.tasks.open import content_of, open_task
from orcinus.training.config import StageConfig, TrainConfig, WeighConfig
from orcinus.training.objectives import BUILT_IN as OBJECTIVES
from orcinus.training.objectives.interface import MEASURED, PREFERRED, REHEARSED
from orcinus.verifiers.judge_prompts import prompts_identity

if TYPE_CHECKING:
    from orcinus.evaluation import evaluate
    from orcinus.lessons import curate, erase, filters, rehearse, select, teach
    from orcinus.pipeline import stage_check, trials
    from orcinus.reports import report
    from orcinus.strategies import assign, probe, skills, trial
    from orcinus.tasks import author, sample
    from orcinus.tasks.authored import concepts, drafts
    from orcinus.training import create as student
    from orcinus.training import train, weigh
    from orcinus.verifiers import verify
else:
    evaluate = import_later("orcinus.evaluation.evaluate")
    curate = import_later("orcinus.lessons.curate")
    erase = import_later("orcinus.lessons.erase")
    filters = import_later("orcinus.lessons.filters")
    rehearse = import_later("orcinus.lessons.rehearse")
    select = import_later("orcinus.lessons.select")
    teach = import_later("orcinus.lessons.teach")
    stage_check = import_later("orcinus.pipeline.stage_check")
    trials = import_later("orcinus.pipeline.trials")
    report = import_later("orcinus.reports.report")
    assign = import_later("orcinus.strategies.assign")
    probe = import_later("orcinus.strategies.probe")
    skills = import_later("orcinus.strategies.skills")
    trial = import_later("orcinus.strategies.trial")
    author = import_later("orcinus.tasks.author")
    sample = import_later("orcinus.tasks.sample")
    concepts = import_later("orcinus.tasks.authored.concepts")
    drafts = import_later("orcinus.tasks.authored.drafts")
    student = import_later("orcinus.training.create")
    train = import_later("orcinus.training.train")
    weigh = import_later("orcinus.training.weigh")
    verify = import_later("orcinus.verifiers.verify")

VERSIONS: Mapping[str, int] = {
    "author": 1,
    "sample": 4,
    "student": 1,
    "probe": 1,
    "trial": 1,
    "assign": 3,
    "skills": 1,
    "select": 1,
    "teach": 1,
    "curate": 2,
    "rehearse": 1,
    "erase": 1,
    "weigh": 1,
    "train": 2,  # answers end with the template's own token, and base models begin with theirs
    "evaluate": 2,
    "report": 3,
}
"""Version of each step, by its verb: raised whenever its code gives another result for the same
inputs. They stand here so that a run knows which steps are done without importing one."""
Content = Literal["explanation", "answer_only"]


def steps_of(recipe: Recipe, base: Path, *, until: str | None = None) -> list[Step]:
    """Return the steps of ``recipe``, inputs first.

    Args:
        recipe: What to do.
        base: The folder where the recipe's relative paths start.
        until: Verb of the last step that is wanted; None wants all. ``train`` trains a student
            that no arm would ask.

    Raises:
        ConfigError: A task file or a local model is missing.
    """
    build = _Builder(recipe, base)
    written = build.author() if recipe.authored_tasks else None
    sampled = build.sample(written)
    made = build.student(sampled)
    probed = build.probe(sampled, made)
    tried = build.trial(sampled, probed, made) if recipe.tries else None
    assigned = chosen = build.assign(sampled, probed, tried, made)
    if recipe.skills is not None:
        assigned = build.skills(recipe.skills, sampled, probed, chosen, made)
    to_teach = sampled
    if recipe.select is not None:
        to_teach = build.select(recipe.select, sampled, assigned, made)
    # Steps that read strategies need ``skills`` as their input ``assign`` to know those it wrote.
    skilled = {} if assigned is chosen else {"assign": assigned}

    taught = build.teach(to_teach, assigned, made, "teacher")
    curated = build.curate({"sample": to_teach, "teach": taught, **skilled}, "teacher")
    to_erase = {"sample": to_teach, "curate": curated, **skilled}
    to_report = {
        **({} if written is None else {"author": written}),
        "sample": sampled,
        "probe": probed,
        **({} if tried is None else {"trial": tried}),
        "assign": chosen,
        "teach": taught,
        "curate": curated,
    }
    if recipe.assistant is not None:
        helped = build.teach(to_teach, assigned, made, "assistant")
        kept = build.curate({"sample": to_teach, "teach": helped, **skilled}, "assistant")
        to_erase["curate_assistant"] = kept
        to_report |= {"teach_assistant": helped, "curate_assistant": kept}
    if recipe.rehearse is not None:
        read = {role: step for role, step in to_erase.items() if role != "assign"}
        to_erase["rehearse"] = build.rehearse(recipe.rehearse, read, made)
        to_report["rehearse"] = to_erase["rehearse"]

    erased = to_learn = build.erase(to_erase, "explanation")
    if recipe.weigh is not None:
        to_learn = build.weigh(recipe.weigh, erased, sampled, made)
    to_evaluate = {"sample": sampled, "assign": assigned, **made}
    to_report["erase"] = erased
    trained = None
    asked = {"after", "after_prompted"} & set(recipe.evaluate.arms)
    if asked or recipe.retention or until == "train":
        trained = to_evaluate["train"] = build.train(
            to_learn, sampled, assigned, made, "explanation"
        )
    if "answer_only" in recipe.evaluate.arms:
        answers = build.erase(to_erase, "answer_only")
        trained_answers = build.train(
            answers, sampled, assigned, made, "answer_only", match=trained
        )
        to_evaluate["train_answer_only"] = trained_answers
        to_report |= {"erase_answer_only": answers, "train_answer_only": trained_answers}
    if assigned is not chosen:
        to_report["skills"] = assigned
    if to_teach is not sampled:
        to_report["select"] = to_teach
    if trained is not None:
        to_report["train"] = trained
    to_report["evaluate"] = build.evaluate(to_evaluate)
    return ancestors(build.report(to_report))


class _Builder:
    """Makes each step from its section of the recipe.

    What can change a step's result goes into its configuration, and so into its fingerprint.
    """

    def __init__(self, recipe: Recipe, base: Path) -> None:
        self._recipe = recipe
        self._base = base
        self._strategies = recipe.resolved_strategies()
        self._texts = [asdict(strategy) for strategy in self._strategies]

    def _step(
        self,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Step],
        action: Action,
        requests: Requests = no_requests,
        models: Sequence[str] = (),
    ) -> Step:
        return Step(
            name=name,
            version=VERSIONS[verb_of(name)],
            config={"seed": self._recipe.seed, **config},
            inputs=inputs,
            action=action,
            requests=requests,
            models=models,
        )

    def _checked(self, action: Action) -> Action:
        """Return an action that asks nobody while the training could have no lesson."""

        async def checked(context: StepContext) -> dict[str, Any]:
            examples = context.inputs["sample"] / layout.EXAMPLES
            numbers = self._numbers_of_rows()
            await asyncio.to_thread(stage_check.check_stages, self._recipe.train, numbers, examples)
            return await action(context)

        return checked

    def author(self) -> Step:
        """Return the step in which models write and check the authored tasks."""
        tasks, base = self._recipe.authored_tasks, self._base
        names = sorted({name for task in tasks for name in task.authored.models})
        settings: dict[str, Any] = {
            "tasks": [{**_dump(task), "content": content_of(task, base)} for task in tasks],
            "models": {name: identity_of(self._recipe.model_of(name), base) for name in names},
            "texts": [drafts.VERSION, dict(drafts.texts())],
        }
        if any(task.authored.levels for task in tasks):
            settings["concepts"] = concepts.VERSION
        return self._step(
            "author",
            settings,
            {},
            lambda context: author.author(tasks, base, context),
            lambda context: author.requests(tasks, base, context),
            models=names,
        )

    def sample(self, written: Step | None) -> Step:
        """Return the step that splits the pool; ``written`` made the authored tasks."""
        recipe, base = self._recipe, self._base
        roles = (
            ("pool", recipe.tasks),
            ("evaluation", recipe.evaluation),
            ("retention", recipe.retention),
        )
        tasks = [(config, role) for role, configs in roles for config in configs]
        sources = [
            {**_dump(config), "role": role, "content": content_of(config, base)}
            for config, role in tasks
        ]

        async def action(context: StepContext) -> dict[str, Any]:
            made, places = context.inputs.get("author"), count()
            opened = []
            for config, role in tasks:
                is_authored = made is not None and isinstance(config, AuthoredConfig)
                rows = (made, next(places)) if made is not None and is_authored else None
                opened.append((*open_task(config, base, rows), role))
            return await sample.sample(recipe.sample, opened, context, facts=facts)

        facts = recipe.judging.facts
        settings = {**_dump(recipe.sample), "tasks": sources}
        if facts:
            settings["facts"] = list(facts)
        inputs = {} if written is None else {"author": written}
        return self._step("sample", settings, inputs, action)

    def student(self, sampled: Step) -> dict[str, Step]:
        """Return the step that makes a student from scratch, by its role; or nothing."""
        config = self._recipe.student
        if not isinstance(config, ScratchConfig):
            return {}
        step = self._step(
            "student",
            {**_dump(config), "strategies": self._texts},
            {"sample": sampled},
            lambda context: student.student(config, self._strategies, context),
            models=("student",),
        )
        return {"student": step}

    def probe(self, sampled: Step, made: Mapping[str, Step]) -> Step:
        config, role = self._recipe.probe, self._recipe.assign.whose
        # Instructions are written for what the student gets wrong in the probe.
        asked = self._recipe.assign.asks_probe or self._recipe.skills is not None
        settings = {
            **_dump(config),
            "strategies": self._texts,
            "model": self._identity(role),
            **({} if asked else {"asked": False}),
            **self._judge_identity(),
        }
        return self._step(
            "probe",
            settings,
            {"sample": sampled, **made},
            self._checked(
                lambda context: probe.probe(
                    config, self._strategies, context, role=role, asked=asked
                )
            ),
            lambda context: (
                probe.requests(config, self._strategies, context, role=role) if asked else []
            ),
            models=(role, "judge") if asked else (),
        )

    def trial(self, sampled: Step, probed: Step, made: Mapping[str, Step]) -> Step:
        """Return the step in which trial students learn, each from one strategy."""
        recipe = self._recipe
        generic = generic_text(recipe.erase)
        teaching = trials.teaching_of(recipe, self._strategies, self._student_at, self._base)
        keys = {"measure", "share", "confirm", "by", "clusters", "smallest", "proxy"}
        settings = {
            **recipe.assign.model_dump(mode="json", include=keys),
            "strategies": self._texts,
            "probe": _dump(recipe.probe),
            "teach": _dump(recipe.teach),
            "curate": _dump(recipe.curate),
            "erase": _dump(recipe.erase),
            "train": _dump(recipe.train.without_trackers()),
            "model": self._identity("student"),
            "teacher": self._identity("teacher"),
            **self._judge_identity(),
            **self._code_of_filters(),
            **self._code_of_objective(),
        }

        async def action(context: StepContext) -> dict[str, Any]:
            train.require_packages()
            return await trial.trial(
                recipe.assign, self._strategies, recipe.probe, generic, teaching, context
            )

        return self._step(
            "trial",
            settings,
            {"sample": sampled, "probe": probed, **made},
            action,
            lambda context: trial.requests(
                recipe.assign, self._strategies, recipe.probe, generic, teaching, context
            ),
            models=("student", "teacher", "judge"),
        )

    def assign(
        self, sampled: Step, probed: Step, tried: Step | None, made: Mapping[str, Step]
    ) -> Step:
        config, probing = self._recipe.assign, self._recipe.probe
        proxy = {"teacher": self._identity("teacher")} if config.proxy == "teacher" else {}
        asked = (config.whose, "judge") if config.asks_probe else ()
        settings = {
            **_dump(config),
            "strategies": self._texts,
            "sampling": _dump(probing.sampling),
            "model": self._identity(config.whose),
            **proxy,
            **self._judge_identity(),
            **_code("chooser", [config.chooser] if config.chooser else []),
        }
        return self._step(
            "assign",
            settings,
            {
                "sample": sampled,
                "probe": probed,
                **({} if tried is None else {"trial": tried}),
                **made,
            },
            lambda context: assign.assign(config, self._strategies, probing, context),
            lambda context: assign.requests(config, self._strategies, probing, context),
            models=(*asked, *proxy),
        )

    def skills(
        self,
        config: SkillsConfig,
        sampled: Step,
        probed: Step,
        assigned: Step,
        made: Mapping[str, Step],
    ) -> Step:
        """Return the step that may replace a group's strategy by an instruction written for it."""
        sampling = self._recipe.probe.sampling
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
            settings,
            {"sample": sampled, "probe": probed, "assign": assigned, **made},
            lambda context: skills.skills(config, self._strategies, sampling, context),
            lambda context: skills.requests(config, self._strategies, sampling, context),
            models=("student", "teacher", "judge"),
        )

    def select(
        self, config: SelectConfig, sampled: Step, assigned: Step, made: Mapping[str, Step]
    ) -> Step:
        """Return the step that copies the splits and narrows the teach split."""
        asked = {
            "strategies": self._texts,
            "model": self._identity("student"),
            **self._judge_identity(),
        }
        generic = generic_text(self._recipe.erase)
        if config.under == "erased":
            asked["generic"] = generic
        settings = {**_dump(config), **(asked if config.needs_pass_rate else {})}
        return self._step(
            "select",
            settings,
            {"sample": sampled, "assign": assigned, **made},
            lambda context: select.select(
                config, self._known_strategies(context), generic, context
            ),
            lambda context: select.requests(
                config, self._known_strategies(context), generic, context
            ),
            models=("student", "judge") if config.needs_pass_rate else (),
        )

    def teach(
        self, sampled: Step, assigned: Step, made: Mapping[str, Step], role: TeacherRole
    ) -> Step:
        config = self._teaching(role)
        settings = {
            **_dump(config),
            "strategies": self._texts,
            "model": self._identity(role),
            **self._judge_identity(),
        }
        is_self = role == "teacher" and isinstance(self._recipe.teacher, SelfConfig)
        return self._step(
            _name_for_role("teach", role),
            settings,
            {"sample": sampled, "assign": assigned, **(made if is_self else {})},
            self._checked(
                lambda context: teach.teach(
                    config, self._known_strategies(context), context, role=role
                )
            ),
            lambda context: teach.requests(
                config, self._known_strategies(context), context, role=role
            ),
            models=(role, "judge"),
        )

    def curate(self, inputs: Mapping[str, Step], role: TeacherRole) -> Step:
        config, name = self._recipe.curate, _name_for_role("curate", role)
        rated = self._judge_identity() if config.quality is not None else {}
        settings = {
            **_dump(config),
            "strategies": self._texts,
            **rated,
            **self._code_of_filters(),
        }
        return self._step(
            name,
            settings,
            inputs,
            lambda context: curate.curate(
                config, self._known_strategies(context), context, booked_as=name
            ),
            lambda context: curate.requests(
                config,
                context,
                taught=chain.from_iterable(
                    asking.requests for asking in inputs["teach"].requests(context)
                ),
            ),
            models=("judge",),
        )

    def rehearse(
        self, config: RehearseConfig, inputs: Mapping[str, Step], made: Mapping[str, Step]
    ) -> Step:
        """Return the step in which the student answers the taught questions before it learns."""
        generic = generic_text(self._recipe.erase)
        # What becomes of the answers is decided by ``erase``.
        settings = {
            "sampling": _dump(config.sampling),
            "generic": generic,
            "model": self._identity("student"),
            **self._judge_identity(),
        }
        return self._step(
            "rehearse",
            settings,
            {**inputs, **made},
            lambda context: rehearse.rehearse(config, generic, context),
            lambda context: rehearse.requests(config, generic, context),
            models=("student", "judge"),
        )

    def erase(self, inputs: Mapping[str, Step], content: Content) -> Step:
        config, rehearsal = self._recipe.erase, self._recipe.rehearse
        own = content == "explanation" and rehearsal is not None and rehearsal.lessons == "right"
        numbers = self._numbers_of_rows()
        logprobs = content == "explanation" and self._recipe.train.needs_teacher_logprobs
        pairs, labels = self._recipe.train.prefers, self._recipe.train.labels
        wordings = self._recipe.train.compares_wordings
        settings = {
            **_dump(config),
            "strategies": self._texts,
            "arm": content,
            **({"own": True} if own else {}),
            **({"numbers": numbers} if numbers else {}),
            **({"logprobs": True} if logprobs else {}),
            **({"pairs": True} if pairs else {}),
            **({"labels": True} if labels else {}),
            **({"wordings": True} if wordings else {}),
        }
        return self._step(
            _name_for_content("erase", content),
            settings,
            inputs,
            lambda context: erase.erase(
                config,
                self._known_strategies(context),
                context,
                content=content,
                own=own,
                numbers=numbers,
                logprobs=logprobs,
                pairs=pairs,
                labels=labels,
                wordings=wordings,
            ),
        )

    def _rehearse_again(self, config: RehearseConfig, erased: Step) -> "train.Rehearse":
        """Return what asks a student in training as ``rehearse`` does, and makes its lessons."""
        generic = generic_text(self._recipe.erase)

        async def rehearse_again(student: Path, out: Path, context: StepContext) -> dict[str, Any]:
            run_dir = context.out.parent
            read = {role: step.folder(run_dir) for role, step in erased.inputs.items()}

            def completer(role: str, folder: Path | None = None) -> Completer:
                return context.completer(role, student if role == "student" else folder)

            again = replace(context, out=out, completer=completer, inputs={**read, "rehearse": out})
            answered = await rehearse.rehearse(config, generic, again)
            await completer("student").aclose()  # training needs the memory
            return {**answered, **await erased.action(again)}

        return rehearse_again

    def _numbers_of_rows(self) -> list[str]:
        """Return the numbers of a lesson that the objective needs and that no step makes."""
        made = {*REHEARSED, *MEASURED, PREFERRED}
        if self._recipe.rehearse is not None:
            made.add("pass_rate")
        return sorted(set(self._recipe.train.needs.lesson_numbers) - made)

    def weigh(
        self, config: WeighConfig, erased: Step, sampled: Step, made: Mapping[str, Step]
    ) -> Step:
        """Return the step that copies the lessons and gives their steps weights."""
        system = generic_text(self._recipe.erase)
        return self._step(
            "weigh",
            {**_dump(config), "model": self._identity("student"), **self._judge_identity()},
            {"erase": erased, "sample": sampled, **made},
            lambda context: weigh.weigh(config, context),
            lambda context: weigh.requests(config, system, context),
            models=("student", "judge"),
        )

    def train(
        self,
        erased: Step,
        sampled: Step,
        assigned: Step,
        made: Mapping[str, Step],
        content: Content,
        *,
        match: Step | None = None,
    ) -> Step:
        """Return the step that trains; ``match`` is a training with as many optimizer steps."""
        generic, config = generic_text(self._recipe.erase), self._recipe.train
        rehearsal = self._recipe.rehearse
        if content == "answer_only":
            config = config.without_numbers_of_steps()
        settings = {
            **_dump(config.without_trackers()),
            "model": self._identity("student"),
            "arm": content,
            **self._code_of_objective(),
        }
        inputs = {"erase": erased, **made, **({} if match is None else {"train": match})}
        if config.open_mixes:  # trial students answer probe examples
            settings |= {"generic": generic, **self._judge_identity()}
            inputs["sample"] = sampled
        if config.objective.find().anchors is not None:
            self._check_anchors()
            settings["generic"] = generic
            inputs["sample"] = sampled
        if any(stage.on_policy is not None for stage in config.stages):
            settings["on_policy"] = list(map(self._teacher_of_stage, config.stages))
        if config.reinforces:
            settings |= self._judge_identity()
            inputs["sample"] = sampled
        if config.reads_strategies:
            settings["strategies"] = self._texts
            inputs |= {"sample": sampled, "assign": assigned}
        return self._step(
            _name_for_content("train", content),
            settings,
            inputs,
            lambda context: train.train(
                config.at(self._base),
                self._student_at(context),
                generic,
                context,
                strategies=self._known_strategies(context),
                rehearse=None if rehearsal is None else self._rehearse_again(rehearsal, erased),
            ),
            lambda context: [
                *train.requests(config, generic, context),
                *self._rehearsals_again(config, erased, context),
            ],
            models=("student", "judge", *(("teacher",) if config.asks_teacher else ())),
        )

    def _rehearsals_again(
        self, config: TrainConfig, erased: Step, context: StepContext
    ) -> Iterator[Asking]:
        """Yield the calls to students that answer the taught questions again, for a plan."""
        rehearsal, generic = self._recipe.rehearse, generic_text(self._recipe.erase)
        if rehearsal is None:
            return
        done = {
            role: step.folder(context.out)
            for role, step in erased.inputs.items()
            if role in ("sample", *rehearse.CURATED) and step.is_done(context.out)
        }
        asked = replace(context, inputs={**context.inputs, **done})
        for _ in config.rehearsed_again:
            for asking in rehearse.requests(rehearsal, generic, asked):
                yield replace(asking, exact=False)

    def _teacher_of_stage(self, stage: StageConfig) -> Any:
        """Return the identity of an on-policy stage's teacher; None where it is the student."""
        if stage.on_policy is None or stage.on_policy.teacher == "self":
            return None
        if stage.on_policy.teacher == "recipe":
            return self._identity("teacher")
        return local_identity(stage.on_policy.teacher, self._base)

    def evaluate(self, inputs: Mapping[str, Step]) -> Step:
        generic, config = generic_text(self._recipe.erase), self._recipe.evaluate
        settings = {
            **_dump(config),
            "strategies": self._texts,
            "generic": generic,
            "student": self._identity("student"),
            "teacher": self._identity("teacher"),
            **self._judge_identity(),
        }
        return self._step(
            "evaluate",
            settings,
            inputs,
            lambda context: evaluate.evaluate(
                config, self._known_strategies(context), generic, context
            ),
            lambda context: evaluate.requests(
                config, self._known_strategies(context), generic, context
            ),
            models=("student", "teacher", "judge"),
        )

    def report(self, inputs: Mapping[str, Step]) -> Step:
        config = self._recipe.report
        return self._step(
            "report",
            _dump(config),
            inputs,
            lambda context: report.report(config, context),
        )

    def _teaching(self, role: TeacherRole) -> TeachConfig:
        return self._recipe.teach if role == "teacher" else self._recipe.assist

    def _known_strategies(self, context: StepContext) -> tuple[Strategy, ...]:
        """Return the recipe's strategies, and those that its ``skills`` step has written."""
        assigned = context.inputs.get("assign")
        if self._recipe.skills is None or assigned is None:
            return self._strategies
        return self._strategies + skills.read_skills(assigned)

    def _identity(self, role: str) -> dict[str, Any]:
        recipe = self._recipe
        if role == "assistant" and recipe.assistant is not None:
            return identity_of(recipe.assistant, self._base)
        if role == "student" or isinstance(recipe.teacher, SelfConfig):
            return identity_of(recipe.student, self._base)
        return identity_of(recipe.teacher, self._base)

    def _judge_identity(self) -> dict[str, Any]:
        """Return what decides verdicts beside the rules: the judge and verifiers of the user."""
        recipe = self._recipe
        named = {task.verifier for task in recipe.file_tasks if task.verifier is not None}
        code = _code("verifier", [name for name in named if name not in verify.BUILT_IN])
        if recipe.judge is None:
            return code
        judging = {**_dump(recipe.judging), "prompts": prompts_identity()}
        if not recipe.judging.facts:
            del judging["facts"]  # so that steps of earlier runs stay done
        return {"judge": identity_of(recipe.judge, self._base), "judging": judging, **code}

    def _code_of_filters(self) -> dict[str, Any]:
        """Return the code of the user's own filters."""
        own = [name for name in self._recipe.curate.filters if name not in filters.BUILT_IN]
        return _code("filter", own)

    def _check_anchors(self) -> None:
        """Refuse anchors that would decide by what is measured, before anything is paid for."""
        recipe = self._recipe
        pool = {open_task(config, self._base)[0] for config in recipe.tasks}
        named = recipe.train.objective.find().anchors.tasks
        for name in (name for name in named if name not in pool):
            others = (*recipe.evaluation, *recipe.retention)
            is_measured = any(open_task(config, self._base)[0] == name for config in others)
            why = "is only measured, never a guide to training" if is_measured else "does not exist"
            raise ConfigError(
                f"train.objective: anchors.tasks: {name!r} {why}; name one of tasks: "
                f"{', '.join(sorted(pool))}"
            )

    def _code_of_objective(self) -> dict[str, Any]:
        """Return the code of the user's own objective."""
        name = self._recipe.train.objective.name
        return {} if name in OBJECTIVES else _code("objective", [name])

    def _student_at(self, context: StepContext) -> LocalConfig:
        return student_config(self._recipe.roles(self._base), context.inputs.get("student"))


def _code(kind: Kind, names: Iterable[str]) -> dict[str, Any]:
    """Return the source texts of functions that a recipe names; nothing where there is none."""
    found = {name: code_of(find(kind, name, {})) for name in sorted(names)}
    found = {name: code for name, code in found.items() if code is not None}
    return {f"{kind}_code": found} if found else {}


def _dump(config: Any) -> dict[str, Any]:
    return dict(config.model_dump(mode="json"))


def _name_for_content(verb: str, content: Content) -> str:
    return verb if content == "explanation" else f"{verb}-{content}"


def _name_for_role(verb: str, role: TeacherRole) -> str:
    return verb if role == "teacher" else f"{verb}-{role}"

"""Read the tasks of a taskset, which is what `verifiers` calls an environment since version 0.4.

    open_taskset("own-sums", {"count": 4})[1]  →  {"prompt": [{"role": "user", …}], "answer": "2"}
    await score_reply(task, "It is 2.")        →  1.2, the sum of its weighted rewards

A task is asked here as one question, without the package's harness, so only tasks that need none
are read: no tools, no container, no turns of a user.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.guard import guard

BUILT_IN = "verifiers.v1.tasksets"
"""The package of the tasksets that come with ``verifiers``."""


class TasksetRows:
    """The tasks of a taskset as rows, read as far as they are asked for: it may be endless."""

    def __init__(self, name: str, taskset: Any) -> None:
        """Take a taskset.

        Args:
            name: The name of the environment, for messages.
            taskset: The opened taskset.
        """
        self._name, self._taskset = name, taskset
        self._coming, self._tasks = iter(taskset), list[Any]()

    def task(self, place: int) -> Any:
        """Return the task at a place.

        Raises:
            ConfigError: It needs more than a question and an answer.
            IndexError: There are fewer tasks.
            StepError: The taskset raised.
        """
        while len(self._tasks) <= place:
            with guard("environment", self._name, type(self._taskset), self._describe_next):
                task = next(self._coming, None)
            if task is None:
                raise IndexError(place)
            if (more := _needs_more(task)) is not None:
                raise ConfigError(
                    f"the environment {self._name!r}: row {len(self._tasks)} {more}; "
                    "only tasks of one question and one answer are read"
                )
            self._tasks.append(task)
        return self._tasks[place]

    def _describe_next(self) -> str:
        return f", at row {len(self._tasks)}"

    def __getitem__(self, place: int) -> Mapping[str, Any]:
        """Return the turns of a task as ``prompt``, and its ``answer`` where it has one."""
        data = self.task(place).data
        return {"prompt": _turns(data), "answer": getattr(data, "answer", None)}


def open_taskset(name: str, settings: Mapping[str, Any]) -> TasksetRows:
    """Return the rows of a taskset.

    Args:
        name: Of its package.
        settings: The fields of its configuration.

    Raises:
        ConfigError: It answers back, calls tools, or asks a model for its rewards.
        Exception: It cannot be loaded, for a reason of its own.
    """
    import verifiers.v1 as vf

    config = vf.taskset_config_type(name).model_validate({"id": name, **settings})
    taskset = vf.load_taskset(config)
    kind = vf.environment_class(name)
    if kind is not vf.SingleAgentEnv:
        raise ConfigError(
            f"the environment {name!r} is a {kind.__name__}: it answers back or has several "
            "agents; only environments of one question and one answer are read"
        )
    if type(taskset).toolsets(config):
        raise ConfigError(
            f"the environment {name!r} gives tools to its model; "
            "only environments of one question and one answer are read"
        )
    if config.task.judges:
        raise ConfigError(asks_a_model(name))
    return TasksetRows(name, taskset)


def asks_a_model(name: str) -> str:
    """Return the message about an environment whose rewards are a model's."""
    return (
        f"the environment {name!r} asks a model of its own for its rewards, past the budget "
        "and the ledger; take its rows as a file, with verifier: judge"
    )


async def score_reply(task: Any, text: str) -> float:
    """Return the sum of a task's weighted rewards for a reply.

    Raises:
        Exception: A reward failed.
    """
    import verifiers.v1 as vf
    from verifiers.v1.state import state_cls

    spoken = {"system": vf.SystemMessage, "user": vf.UserMessage, "assistant": vf.AssistantMessage}
    turns = [*_turns(task.data), {"role": "assistant", "content": text}]
    nodes = [
        vf.MessageNode(
            parent=place - 1 if place else None,
            message=spoken[turn["role"]](content=turn["content"]),
            sampled=place == len(turns) - 1,
        )
        for place, turn in enumerate(turns)
    ]
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        state=state_cls(type(task))(),
        nodes=nodes,
        is_completed=True,
        ok=True,
    )
    await task.score(trace)
    return float(trace.reward)


def _turns(data: Any) -> Sequence[Mapping[str, Any]]:
    """Return the turns before the answer, the system message first."""
    prompt = data.prompt
    said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else []
    if not said:
        said = [{"role": turn.role, "content": turn.content} for turn in prompt or ()]
    first = [{"role": "system", "content": data.system_prompt}] if data.system_prompt else []
    return [*first, *said]


def _needs_more(task: Any) -> str | None:
    """Return what a task needs beyond a question and a reply, or None."""
    import verifiers.v1 as vf

    kind, data = type(task), task.data
    rewards = task.hooks("reward")
    hooks = [name for name in ("setup", "finalize") if name in _defined_below(kind, vf.Task)]
    if kind.NEEDS_CONTAINER or data.image is not None:
        return "runs in a container"
    if kind.toolsets(task.config):
        return "gives tools to its model"
    if hooks:
        return f"works on the machine of its model ({kind.__name__}.{hooks[0]})"
    if needy := [reward.__name__ for reward in rewards if _takes_runtime(reward)]:
        return f"has the reward {needy[0]}, which reads the machine of its model"
    return None if rewards else "has no reward"


def _defined_below(kind: type, base: type) -> set[str]:
    """Return the names that a class or those between it and its base define."""
    above = set(base.__mro__)
    return {name for part in kind.__mro__ if part not in above for name in vars(part)}


def _takes_runtime(reward: Any) -> bool:
    parameter = inspect.signature(reward).parameters.get("runtime")
    return parameter is not None and parameter.default is inspect.Parameter.empty

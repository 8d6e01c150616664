"""Turn an example and a strategy into the messages of a request."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, repeat
from pathlib import Path

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Asked
from orcinus.core.requests import ANY_STRATEGY
from orcinus.core.sampling import SamplingConfig
from orcinus.core.tool_calls import SPEAKER, tool_messages
from orcinus.core.types import Example, Message, Messages, Request, Role, Strategy
from orcinus.runs import layout
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import Size
from orcinus.runs.questions import Question
from orcinus.strategies.library import built_in, by_name, messages_of, orca_messages


def suits(strategy: Strategy, example: Asked) -> bool:
    """Return whether a strategy is meant for an example's answer type, and its task or category."""
    if strategy.answer_types and example.answer_type not in strategy.answer_types:
        return False
    names = (example.task, f"{example.task}/{example.meta.get('category', '')}")
    return not strategy.groups or any(
        fnmatchcase(name, pattern) for pattern in strategy.groups for name in names
    )


def longest(strategies: Sequence[Strategy]) -> Strategy:
    """Return the strategy with the longest message: the upper bound before one is assigned."""
    return max(strategies, key=lambda s: max(map(len, messages_of(s)), default=0))


def chosen_strategy(
    strategies: Sequence[Strategy], assign: Path | None
) -> Callable[[Asked], Strategy | None]:
    """Return the function that gives each example its strategy.

    Args:
        strategies: The recipe's strategies, and the skills that were written for it.
        assign: Folder of the finished ``assign`` or ``skills`` step. Before there is one, None
            gives every example the ``longest`` strategy, so that a plan has an upper bound.

    Returns:
        A function that returns None for an example that is left out of teaching.
    """
    if assign is None:
        bound = longest(strategies)
        return lambda example: bound
    assigned, known = Assigned.read(assign), by_name(strategies)

    def strategy_of(example: Asked) -> Strategy | None:
        name = assigned.strategy_of(example.task, example.id)
        return None if name is None else known[name]

    return strategy_of


def reads_ids(strategies: Sequence[Strategy], assign: Path | None) -> bool:
    """Return whether ids decide how questions are asked: by draws, or by groups finer than tasks.

    The arguments are those of ``chosen_strategy``.
    """
    draws = any(strategy.system_from == "collection" for strategy in strategies)
    return draws or (assign is not None and (assign / layout.GROUPS).exists())


def erased_strategy(system: str) -> Strategy:
    """Return the strategy that shows a student only ``system``, as its lessons do after erasing."""
    return Strategy(name="erased", system=system, source="prompt erasing")


def system_of(strategy: Strategy, example: Asked, *, seed: int) -> str:
    """Return the system message under which ``example`` is asked.

    Args:
        strategy: It holds the message, or says where the message comes from.
        example: The same example always draws the same message.
        seed: Another seed draws other messages.
    """
    match strategy.system_from:
        case "strategy":
            return strategy.system
        case "row":
            return str(example.meta.get("system") or "")
        case "collection":
            messages = orca_messages(example)
            return messages[
                int(stable_fraction("orca", str(seed), example.task, example.id) * len(messages))
            ]


def system_in(messages: Messages) -> str:
    """Return the system message that a conversation begins with; empty where it has none."""
    return messages[0].content if messages and messages[0].role == "system" else ""


def built_in_strategy_of(messages: Messages) -> str:
    """Return the name of the built-in strategy whose text is the system message; else ``"*"``.

    For conversations that come without the name of their strategy, as over HTTP (``serve-replay``).
    """
    first = messages[0]
    system = first.content.split() if first.role in ("system", "developer") else []
    for strategy in built_in().values():
        if strategy.system.split() == system:
            return strategy.name
    return ANY_STRATEGY


def ask(example: Example, strategy: Strategy, *, seed: int = 0) -> Messages:
    """Return the messages that ask a model ``example`` under ``strategy``."""
    return conversation(system_of(strategy, example, seed=seed), example, strategy.demonstrations)


def conversation(
    system: str, example: Example, demonstrations: tuple[tuple[str, str], ...] = ()
) -> Messages:
    """Return the messages that ask a question.

    The system message (none when empty), what may be called, demonstrations, earlier turns, the
    question or the result of a call.
    """
    turns = [Message(role="system", content=system)] if system else []
    turns += tool_messages(example)
    for prompt, answer in demonstrations:
        turns += [Message(role="user", content=prompt), Message(role="assistant", content=answer)]
    speaker: Role = "tool" if example.meta.get(SPEAKER) == "tool" else "user"
    return (*turns, *example.history, Message(role=speaker, content=example.prompt))


def requests_for(
    example: Example, strategy: Strategy, config: SamplingConfig, *, seed: int, first: int = 0
) -> Iterator[Request]:
    """Yield the k requests that ask a model ``example`` under ``strategy``.

    Args:
        example: The question.
        strategy: Its system message and demonstrations are shown.
        config: k, and how to sample.
        seed: Of the first sample; the others count up from it.
        first: Index of the first sample, to ask for more samples of the same question.
    """
    messages = ask(example, strategy, seed=seed)
    instead: Iterator[Request | None] = repeat(None)
    if strategy.fallback is not None:
        instead = iter(requests_for(example, strategy.fallback, config, seed=seed, first=first))
    for sample in range(first, first + config.samples):
        yield Request(
            example=example,
            strategy=strategy.name,
            messages=messages,
            sampling=config.sampling(sample, seed),
            sample=sample,
            fallback=next(instead),
        )


def size_of(
    pairs: Iterable[tuple[Question, Strategy]], config: SamplingConfig, *, seed: int
) -> Size:
    """Return the size of the requests that ``requests_for`` would make, without making them."""
    questions = characters = 0
    same_for_all: dict[str, int] = {}
    for question, strategy in pairs:
        if strategy.name not in same_for_all:
            shown = chain.from_iterable(strategy.demonstrations)
            told = strategy.system if strategy.system_from == "strategy" else ""
            same_for_all[strategy.name] = len(told) + sum(map(len, shown))
        questions += question.number
        characters += question.number * same_for_all[strategy.name] + question.characters
        if strategy.system_from != "strategy":
            characters += question.number * len(system_of(strategy, question, seed=seed))
    calls = config.samples * questions
    return Size(calls, config.samples * characters, config.max_tokens * calls)

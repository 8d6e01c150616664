"""Choose the lessons of each stage: by its filters, the share of its mix, and its replay.

all lessons ──filters──► own lessons, source of the mix ──shares──► the lessons of stage 2
"""

from collections.abc import Callable, Iterator, Sequence

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Lesson
from orcinus.training.config import StageConfig


def lessons_of_stage(
    stages: Sequence[StageConfig], place: int, read: Callable[[], Iterator[Lesson]], seed: int
) -> Iterator[Lesson]:
    """Yield the lessons that the stage at ``place`` learns.

    Of the source of a mix these are only its share. A replay adds lessons of earlier stages.

    Args:
        stages: The curriculum.
        place: The stage's place in it, from 0.
        read: Reads all lessons from the start.
        seed: Decides the draw. The draw does not depend on the lessons' order, and a smaller
            portion is part of a larger one.

    Raises:
        ConfigError: The stage's share is not chosen yet.
        StepError: The source, or what it is mixed with, has no lesson.
    """
    stage, earlier = stages[place], stages[:place]
    of_own, of_source = _stage_portions(stage, read)

    def drawn(lesson: Lesson) -> bool:
        portion = of_source if stage.from_source(lesson) else of_own
        chosen = portion == 1 or stable_fraction("mix", str(seed), stage.name, lesson.id) < portion
        return chosen and stage.offers(lesson)

    share = 0.0
    if stage.replay and earlier:
        own = seen_before = 0
        for lesson in read():
            own += drawn(lesson)
            seen_before += not stage.offers(lesson) and any(
                other.takes(lesson) for other in earlier
            )
        share = stage.replay / (1 - stage.replay) * own / seen_before if seen_before else 0.0
    for lesson in read():
        again = (
            not stage.offers(lesson)
            and stable_fraction("replay", str(seed), stage.name, lesson.id) < share
        )
        if drawn(lesson) or (again and any(other.takes(lesson) for other in earlier)):
            yield lesson


def portions(own: int, source: int, share: float) -> tuple[float, float]:
    """Return the portions of own lessons and of source lessons that give the source its share.

    At least one of the two portions is 1, so that as few lessons as possible are left out.

    Args:
        own: The stage's own lessons, 1 or more.
        source: Lessons of the source, 1 or more.
        share: Wanted share of the source among the drawn lessons, 0 … 1.
    """
    if share == 1:
        return 0.0, 1.0
    wanted = share / (1 - share) * own
    return (1.0, wanted / source) if wanted <= source else (source / wanted, 1.0)


def repeats(stage: StageConfig, read: Callable[[], Iterator[Lesson]]) -> float:
    """Return how often the drawn lessons must be repeated to make the stage as long as all lessons.

    1 where nothing is mixed.
    """
    if stage.mix is None:
        return 1.0
    own, source = _count_lessons(stage, read)
    of_own, of_source = portions(own, source, _fixed_share(stage))
    return (own + source) / (of_own * own + of_source * source)


def _stage_portions(
    stage: StageConfig, read: Callable[[], Iterator[Lesson]]
) -> tuple[float, float]:
    return (
        (1.0, 1.0)
        if stage.mix is None
        else portions(*_count_lessons(stage, read), _fixed_share(stage))
    )


def _count_lessons(stage: StageConfig, read: Callable[[], Iterator[Lesson]]) -> tuple[int, int]:
    """Return how many lessons are the stage's own, and how many the source has."""
    own = source = 0
    for lesson in read():
        from_source = stage.from_source(lesson)
        source += from_source
        own += not from_source and stage.fits(lesson)
    if not own or not source:
        missing = "own lesson to mix the source with" if source else "lesson of its mix.of"
        raise StepError(
            f"stage {stage.name!r} has no {missing}; change its filters, or leave mix out"
        )
    return own, source


def _fixed_share(stage: StageConfig) -> float:
    if stage.mix is None or len(stage.mix.shares) != 1:
        raise ConfigError(
            f"train.stages: the share of stage {stage.name!r} is chosen by trials, which "
            "`orcinus run` makes; here it needs a single one in mix.shares"
        )
    return stage.mix.shares[0]

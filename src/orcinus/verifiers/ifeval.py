"""IFEval's own checks (Zhou et al. 2023, arXiv:2311.07911), as lm-evaluation-harness ships them: strict, all instructions of a prompt.

The example carries them in ``meta``: ``instructions``, their names, and ``arguments``, one mapping for each.
"""

from functools import cache
from types import ModuleType

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.types import Attempt, Example, Verdict

NAME = "ifeval@1"


@cache
def library() -> ModuleType:
    """The checks.

    Raises:
        MissingExtraError: They are not installed.
        ConfigError: They are, and want data that cannot be had.
    """
    try:
        from lm_eval.tasks.ifeval import utils
    except ImportError as error:
        raise MissingExtraError("IFEval's checks", "ifeval") from error
    except (OSError, LookupError, RuntimeError) as error:
        raise ConfigError(
            f"IFEval's checks cannot start: {' '.join(str(error).split())[:200]}"
        ) from error
    module: ModuleType = utils
    return module


async def follows_all(example: Example, attempt: Attempt) -> Verdict:
    """1.0 when the answer follows all instructions of its prompt, 0.0 when it misses one."""
    if attempt.finish in ("error", "refusal") or not attempt.text.strip():
        why = "no answer came" if attempt.finish == "error" else "nothing to check"
        return Verdict(attempt_id=attempt.id, verifier=NAME, value=None, answer=None, reason=why)
    checks = library()
    names = list(example.meta["instructions"])
    asked = checks.InputExample(
        key=0,
        instruction_id_list=names,
        prompt=example.prompt,
        kwargs=list(example.meta["arguments"]),
    )
    followed = checks.test_instruction_following_strict(asked, attempt.text).follow_instruction_list
    missed = [name for name, ok in zip(names, followed, strict=True) if not ok]
    reason = f"misses {', '.join(missed)}" if missed else "follows all instructions"
    return Verdict(
        attempt_id=attempt.id,
        verifier=NAME,
        value=float(not missed),
        answer=attempt.text[:80],
        reason=reason,
    )

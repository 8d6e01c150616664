"""Judge answers by IFEval's own checks (Zhou et al. 2023, arXiv:2311.07911), strictly.

An answer is right if it follows all instructions of its prompt. The checks are those that
lm-evaluation-harness ships. ``example.meta`` names them: ``instructions`` and ``arguments``, one
mapping for each.
"""

from functools import cache
from types import ModuleType

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.types import Attempt, Example, Verdict

NAME = "ifeval@1"


@cache
def library() -> ModuleType:
    """Return the module of the checks.

    Raises:
        MissingExtraError: It is not installed.
        ConfigError: It needs data that cannot be downloaded.
    """
    try:
        from lm_eval.tasks.ifeval import utils
    except ImportError as error:
        raise MissingExtraError("IFEval's checks", "ifeval") from error
    except (OSError, LookupError, RuntimeError) as error:
        raise ConfigError(
            f"IFEval's checks cannot start: {' '.join(str(error).split())[:200]}; "
            "their first use downloads data, so run once with a network"
        ) from error
    module: ModuleType = utils
    return module


async def follows_all(example: Example, attempt: Attempt) -> Verdict:
    """Judge an answer: 1.0 if it follows all instructions of its prompt, 0.0 if it misses one."""
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

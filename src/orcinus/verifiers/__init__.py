"""Verifiers: the final answer in a text, and whether it is right. What cannot be judged is None, never wrong."""

from orcinus.core import registry
from orcinus.core.protocols import Verifier as Verifier
from orcinus.core.types import Attempt as Attempt
from orcinus.core.types import Example as Example
from orcinus.core.types import Verdict as Verdict
from orcinus.verifiers.ifeval import follows_all
from orcinus.verifiers.judge_prompts import left_to_judge
from orcinus.verifiers.verify import by_answer_type

registry.verifiers.register("answer_type", lambda: by_answer_type)
registry.verifiers.register("judge_fallback", lambda: by_answer_type)
registry.verifiers.register("judge", lambda: left_to_judge)
registry.verifiers.register("grounded", lambda: left_to_judge)
registry.verifiers.register("ifeval", lambda: follows_all)

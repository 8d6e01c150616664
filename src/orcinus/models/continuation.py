"""Going on with an answer that is half written: what a request says, in the words of vLLM's chat interface.

    … user "Add 4 7 2.", assistant "4 + 7 = 11,"   + GO_ON   ──►   " 11 + 2 = 13. The answer is 13."

The reply is what follows, blanks included, so that beginning and reply joined are the answer; a stop text that ended it is its end.
"""

from collections.abc import Mapping
from typing import Any

from orcinus.core.types import Sampling

WHOLE: Mapping[str, Any] = {"include_stop_str_in_output": True}
"""For ``Sampling.extra``: the stop text stays in the reply, which tells a step's end from the answer's."""
GO_ON: Mapping[str, Any] = {**WHOLE, "continue_final_message": True, "add_generation_prompt": False}
"""For ``Sampling.extra``: the last message is the assistant's, and is gone on with."""


def goes_on(sampling: Sampling) -> bool:
    """Whether the last message is to be gone on with."""
    return bool(sampling.extra.get("continue_final_message"))


def is_whole(sampling: Sampling) -> bool:
    """Whether the reply is to be given as it was written, its stop text and outer blanks included."""
    return bool(sampling.extra.get("include_stop_str_in_output"))

"""Requests outside a task, and the form in which a request is sent.

    partial "4 + 7 = 11,"   ──as_sent──►   … assistant "4 + 7 = 11,"  + ``continue_final_message``

A partial reply is sent as vLLM's chat API takes it. Ledger and endpoint share that form: the
identity of a call is what was sent.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orcinus.core.types import Example, Message, Messages, Request, Sampling

ANY_STRATEGY = "*"
"""Name of the strategy in a request that belongs to none."""
SCORED = "scored text"
"""The same of a request to score a text, whose tokens are not those of an answer."""
KEEP_STOP: Mapping[str, Any] = {"include_stop_str_in_output": True}
"""Body parameters for the first part of a reply. The stop text is kept: it tells whether a step
ended or the whole answer."""
CONTINUE: Mapping[str, Any] = {
    **KEEP_STOP,
    "continue_final_message": True,
    "add_generation_prompt": False,
}
"""Body parameters that make a server continue the last message, which is the assistant's."""


def as_sent(request: Request) -> tuple[Messages, Sampling]:
    """Return the messages and the sampling that go to a server, the partial reply among them."""
    if request.scoring is not None:
        asked = request.scoring
        tokens = [list(asked.prompt), list(asked.response)]
        extra = {"prompt": asked.plain or tokens, "prompt_logprobs": asked.top}
        return request.messages, replace(request.sampling, extra=extra)
    if request.partial is None:
        return request.messages, request.sampling
    parameters = CONTINUE if request.partial else KEEP_STOP
    sampling = replace(request.sampling, extra={**request.sampling.extra, **parameters})
    if not request.partial:
        return request.messages, sampling
    return (*request.messages, Message(role="assistant", content=request.partial)), sampling


def chat_request(
    messages: Messages,
    sampling: Sampling,
    *,
    strategy: str = ANY_STRATEGY,
    partial: str | None = None,
) -> Request:
    """Return the request that sends ``messages`` without an example of a task.

    Args:
        messages: The conversation; its last message is the question.
        sampling: How to write.
        strategy: Name of the strategy that the messages stand for.
        partial: The reply so far; see ``Request.partial``.
    """
    example = Example(
        id="0", task="chat", prompt=messages[-1].content, answer_type="free", reference=None
    )
    return Request(
        example=example, strategy=strategy, messages=messages, sampling=sampling, partial=partial
    )

"""Requests to score a given text, and the scores that come back as the reply's text.

    scoring_request((1, 2), (3, 4), top=2, text="17 + 25 = 42")
    ──a model──►  '[["=",[[3,-0.1],[9,-2.4]]],["42",[[4,-0.7],[5,-0.7]]]]'
    ──read_scores──►  [TokenScores(text="=", top=((3, -0.1), (9, -2.4))), …]

A model writes nothing. It says of each token of the response how likely it finds that token, and
which tokens it finds likeliest in its place, as vLLM does it (``prompt_logprobs``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import orjson

from orcinus.core.requests import SCORED, chat_request
from orcinus.core.types import Message, Request, Sampling, Scoring

LEAST_LOGPROB = -9999.0
"""Nats. Stands for a probability of 0, which JSON cannot write as a logarithm; vLLM's value."""
DIGITS = 7
"""Decimals of a log-probability. In five, as for written tokens, the rest of a distribution that is
nearly certain would be lost."""


class TokenScores(NamedTuple):
    """What a model thinks of one token of a text."""

    text: str | None
    """The token's text by the model's tokenizer; None where it does not say."""
    top: tuple[tuple[int, float], ...]
    """(token, log-probability in nats): the text's own token first, then the likeliest ones."""


def scoring_request(
    prompt: Sequence[int], response: Sequence[int], *, top: int, text: str
) -> Request:
    """Return the request that scores the tokens ``response`` behind ``prompt``.

    Args:
        prompt: At least one token.
        response: The tokens to score.
        top: Likeliest tokens to return for each.
        text: What the tokens say, for readers of the ledger.
    """
    messages = (Message(role="user", content=text),)
    request = chat_request(messages, Sampling(max_tokens=1), strategy=SCORED)
    scoring = Scoring(prompt=tuple(prompt), response=tuple(response), top=top)
    return replace(request, scoring=scoring)


def written_scores(scores: Iterable[TokenScores]) -> str:
    """Return scores as the text of a reply."""
    rows = [
        [text, [[token, round(max(value, LEAST_LOGPROB), DIGITS)] for token, value in top]]
        for text, top in scores
    ]
    return orjson.dumps(rows).decode()


def read_scores(text: str) -> list[TokenScores]:
    """Return the scores in the text of a reply."""
    return [
        TokenScores(said, tuple((int(token), float(value)) for token, value in top))
        for said, top in orjson.loads(text)
    ]

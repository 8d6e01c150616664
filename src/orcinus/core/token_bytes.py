"""Align one text's tokens under two tokenizers by their bytes, with no tokenizer at hand.

    bytes_within([b" run", b"ning", b"</s>"], "running")   →   (3, 4, 0)
    align([3, 4], [-1.0, -0.5], [7])                       →   [Group(tokens=range(0, 1), …)]

The ledger keeps how many bytes of the reply each token wrote, beside its log-probability. That is
enough to find the places where both tokenizations have a boundary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_HALF = "\ufffd"
"""What decoders write in place of an incomplete character."""


def bytes_within(tokens: Sequence[bytes], *texts: str) -> tuple[int, ...] | None:
    """Return how many bytes of ``texts`` each token wrote.

    Tokens of blanks that were stripped, of tags and of the end of a turn wrote none.

    Args:
        tokens: The tokens of a reply.
        texts: Parts of the reply, in order; of the last one the last occurrence counts.

    Returns:
        None where a text is not found.
    """
    raw = b"".join(tokens)
    spans, start = [], 0
    for number, text in enumerate(texts, 1):
        part = text.encode()
        at = raw.rfind(part, start) if number == len(texts) else raw.find(part, start)
        if at < 0:
            return None
        spans.append((at, start := at + len(part)))
    lengths, begin = [], 0
    for token in tokens:
        end = begin + len(token)
        lengths.append(sum(max(0, min(end, b) - max(begin, a)) for a, b in spans))
        begin = end
    return tuple(lengths)


def reply_bytes(
    tokens: Sequence[bytes], reasoning: str | None, text: str
) -> tuple[int, ...] | None:
    """Return how many bytes of a reply each of its tokens wrote: ``Completion.token_bytes``.

    Reasoning that is not among the tokens is left out, as servers with hidden reasoning do.

    Returns:
        None where even the visible text is not found.
    """
    both = bytes_within(tokens, reasoning, text) if reasoning else None
    return bytes_within(tokens, text) if both is None else both


def reply_tokens(
    lengths: Sequence[int] | None, reasoning: str | None, text: str
) -> list[bytes] | None:
    """Return a reply's tokens, with what is in neither text left out: undo ``reply_bytes``.

    Returns:
        None where the lengths are not known, or are not those of this reply.
    """
    if lengths is None:
        return None
    both, alone = ((reasoning or "") + text).encode(), text.encode()
    whole = both if sum(lengths) == len(both) else alone
    if sum(lengths) != len(whole):
        return None
    starts = accumulate(lengths, initial=0)
    return [whole[start : start + length] for start, length in zip(starts, lengths, strict=False)]


def bytes_written(decode: Callable[[list[int]], str], tokens: Sequence[int]) -> list[int]:
    """Return how many bytes each token adds to the decoded text.

    A token that ends within a character counts one byte; the token that completes the character
    counts the rest. ``align`` never cuts there.

    Args:
        decode: From token ids to text.
        tokens: What a model wrote.
    """
    lengths: list[int] = []
    start = read = 0  # decoded from the token before, since a tokenizer may drop a leading blank
    for end in range(1, len(tokens) + 1):
        after = decode(list(tokens[start:end]))
        if after.endswith(_HALF) and end < len(tokens) and end - read < 4:
            lengths.append(1)
            continue
        before = decode(list(tokens[start:read])) if read > start else ""
        added = len(after.encode()) - len(before.encode())
        lengths.append(added - (end - 1 - read))
        if added:  # a token without text would let the next one's leading blank be dropped
            start = read
        read = end
    return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tokens of two tokenizations that write the same bytes."""

    theirs: range
    ours: range


def align(theirs: Sequence[int], ours: Sequence[int], text: bytes) -> list[Group]:
    """Group the tokens of two tokenizations of one text at their common boundaries.

    A boundary within a character does not count. A token without bytes joins the group before it.

    Args:
        theirs: Bytes of each token of one tokenization.
        ours: Bytes of each token of the other one.
        text: What both write.

    Raises:
        ValueError: A tokenization does not have as many bytes as the text.
    """
    ends, own_ends = list(accumulate(theirs)), list(accumulate(ours))
    for found in (ends, own_ends):
        if (found[-1] if found else 0) != len(text):
            raise ValueError(f"tokens of {found[-1] if found else 0} bytes for {len(text)} bytes")
    places = {end: i for i, end in enumerate(own_ends, 1)}
    groups, first, own_first = [], 0, 0
    for i, end in enumerate(ends, 1):
        last_there = i == len(ends) or ends[i] > end
        if end not in places or not last_there or _is_within_character(text, end):
            continue
        if places[end] > own_first:
            groups.append(Group(theirs=range(first, i), ours=range(own_first, places[end])))
            first, own_first = i, places[end]
    return groups


def _is_within_character(text: bytes, place: int) -> bool:
    return place < len(text) and text[place] & 0xC0 == 0x80

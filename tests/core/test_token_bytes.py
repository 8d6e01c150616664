"""Bytes of a reply's tokens, and where two tokenizations of a text have common boundaries."""

import pytest

from orcinus.core.token_bytes import align, bytes_within, bytes_written, reply_bytes, reply_tokens


def test_tokens_of_stripped_blanks_and_tags_wrote_nothing() -> None:
    tokens = [b"<think>", b" Hm", b".", b"</think>", b"\n\n", b" run", b"ning", b"\n", b"</s>"]
    assert reply_bytes(tokens, "Hm.", "running") == (0, 2, 1, 0, 0, 3, 4, 0, 0)
    assert reply_bytes(tokens, None, "running") == (0, 0, 0, 0, 0, 3, 4, 0, 0)
    assert reply_bytes(tokens, "hidden", "running") == (0, 0, 0, 0, 0, 3, 4, 0, 0)
    assert reply_bytes(tokens, "Hm.", "walking") is None
    assert bytes_within([b"4", b"4"], "4") == (0, 1)  # of the answer the last occurrence counts


def test_a_replys_tokens_come_back_from_their_bytes() -> None:
    assert reply_tokens((2, 1, 0, 4), "Hm.", "four") == [b"Hm", b".", b"", b"four"]
    assert reply_tokens((0, 4), "Hm.", "four") == [b"", b"four"]
    assert reply_tokens((3, 4), "Hm", "four") is None  # not the lengths of this reply
    assert reply_tokens(None, None, "four") is None


def test_a_token_within_a_character_counts_one_byte() -> None:
    pieces = [b"a", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98", b"\x80", b"!"]

    def decode(tokens: list[int]) -> str:
        return b"".join(pieces[token] for token in tokens).decode(errors="replace")

    assert bytes_written(decode, range(7)) == [1, 1, 1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("theirs", "ours", "text", "groups"),
    [
        ([3, 4], [7], "running", [([0, 1], [0])]),
        ([7], [3, 4], "running", [([0], [0, 1])]),
        ([3, 4], [3, 4], "running", [([0], [0]), ([1], [1])]),
        ([2, 3, 2], [3, 2, 2], "running", [([0, 1], [0, 1]), ([2], [2])]),
        ([1, 1, 1], [2, 1], "é!", [([0, 1], [0]), ([2], [1])]),
        ([1, 1, 1], [1, 1, 1], "é!", [([0, 1], [0, 1]), ([2], [2])]),  # not within a character
        ([1, 0, 2], [1, 2], "abc", [([0, 1], [0]), ([2], [1])]),
        ([], [], "", []),
    ],
)
def test_groups_end_at_common_boundaries(
    theirs: list[int], ours: list[int], text: str, groups: list[tuple[list[int], list[int]]]
) -> None:
    found = align(theirs, ours, text.encode())
    assert [(list(group.theirs), list(group.ours)) for group in found] == groups


def test_lengths_of_another_text_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens of 6 bytes for 7 bytes"):
        align([6], [7], b"running")

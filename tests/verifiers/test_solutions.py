"""The marks of a worked solution: boxes with and without braces, several boxes, and ``####``."""

import pytest

from orcinus.verifiers.answers.solutions import last_box, reference_piece
from orcinus.verifiers.rules import judge


@pytest.mark.parametrize(
    ("reference", "piece"),
    [
        (r"So $x$ is $\boxed{3}$ and $\boxed{-3}$.", "3, -3"),
        (r"$\boxed{1}$, no: $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"It is \fbox{7}.", "7"),
        (r"It is $\boxed 7$.", "7"),
        (r"It is $\boxed \frac{1}{2}$.", r"\frac{1}{2}"),
        (r"It is \boxed{}.", r"It is \boxed{}."),
        ("18 + 24 = 42\n#### 42", "42"),
        ("#### 41\nno\n#### 42 \n\nSource: a book", "42"),
        ("#### Final answer\n42", "#### Final answer\n42"),
        ("42", "42"),
    ],
)
def test_the_answer_of_a_solution(reference: str, piece: str) -> None:
    assert reference_piece(reference) == piece


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed 5. The set {1,2}", "5"),
        (r"\boxed5", "5"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{5} and \boxed{6", None),
        ("I put it in a \\boxed\n\n{1, 2} is the set", "1, 2"),
        ("Use \\boxed\nand the set {1, 2}", None),
        ("no box", None),
    ],
)
def test_the_last_box(text: str, content: str | None) -> None:
    box = last_box(text)
    assert (box and box.content) == content


def test_a_box_without_braces_is_the_answer() -> None:
    assert judge(r"\boxed 5. The set {1,2} has 2.", "number", None, "5").value == 1.0

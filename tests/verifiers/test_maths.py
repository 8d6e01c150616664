r"""Expressions: what is read, what is equal, and what the library may take."""

import asyncio
import sys
import time

import pytest

from orcinus.core.types import Attempt, Example, Sampling
from orcinus.verifiers.answers import math_library
from orcinus.verifiers.answers.maths import find_math
from orcinus.verifiers.rules import judge
from orcinus.verifiers.verify import by_answer_type

EQUAL = [
    (r"(x-1)(x+1)", "x^2-1"),
    (r"7\frac12", "15/2"),
    (r"-7\frac12", "-7.5"),
    ("7 1/2", r"\frac{15}{2}"),
    (r"\sqrt8", r"2\sqrt{2}"),
    ("sqrt(3)", r"\sqrt{3}"),
    ("2 = x", "2"),
    ("2", "2 = x"),
    (r"30\text{ cm}^2", "30"),
    (r"33.5\%", "0.335"),
    (r"33.5\%", "33.5"),
    ("0.335", r"33.5\%"),
    (r"\pm 2", "-2, 2"),
    (r"\{1,2,3\}", r"\{3,2,1\}"),
    (r"x \le 3", r"(-\infty,3]"),
    (r"\mu \in (3, 4]", "(3,4]"),
    ("x < 1 or x > 3", r"(-\infty,1)\cup(3,\infty)"),
    (r"\{x \mid x > 3\}", r"(3,\infty)"),
    ("x+2y=4", "2x+4y-8=0"),
    ("x=1, y=2", "(1,2)"),
    (r"\pi", "3.14"),
    (r"0.\overline{3}", r"\frac13"),
    ("0.33333333333", r"\frac13"),
    (r"\log_2 8", "3"),
    (r"\sin^2 x+\cos^2 x", "1"),
    (r"\sqrt2\sqrt2-2", "0"),
    ("3,5", "3.5"),
    ("10,000", "10000"),
    (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("2:4", "1:2"),
    (r"x \approx 11", "11"),
    (r"y=-\frac{1}{2}x+\frac{3}{4}", "2x+4y-3=0"),
    ("(3,2)", "(p,q)=(3,2)"),
    ("(5,2),(7,2)", "p=5,q=2;p=7,q=2"),
    (r"\angle APC = 74^\circ", "74^\\circ"),
    ("33.5 percent", "0.335"),
    (r"\frac{100}{3}", "33.3"),
    ("1,000.99m²", "1000.99"),
    ("14{,}916", r"Hence $N$ is $\boxed{14{,}916}$, as it was to be shown."),
    ("7", "3 + 4 = <<3+4=7>>7 apples\n#### 7"),
]
NAMED = [
    (
        r"A^{-1} = \begin{bmatrix} 0 & 1 \\ -1 & 0 \end{bmatrix}",
        r"\begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}",
    ),
    (r"f^{-1}(x) = 3 + 2x", "2x + 3"),
    (r"A \cup B = \{1,2,3\}", r"\{1,2,3\}"),
    (r"|AB| = 5", "5"),
    (r"\det A = 3", "3"),
    (r"\operatorname{rank}(A) = 2", "2"),
    ("x^2 + 5x - 2x - 10 = x^2 + 3x - 10", "x^2+3x-10"),
    (r"(x+1)^2 = x^2+2x+1", "x^2+2x+1"),
    ("|x| > 1", r"(-\infty,-1) \cup (1,\infty)"),
    (r"|x-2| \le 3", "[-1,5]"),
    (r"|x+2| \ge 3", r"(-\infty,-5] \cup [1,\infty)"),
    ("2, 2", "2"),
    (r"(-\infty,0) \cup (0,\infty)", r"\mathbb{R} \setminus \{0\}"),
    (r"x \neq 0", r"\mathbb R \setminus \{0\}"),
    (r"(0,\infty) \setminus \{2, 1\}", r"(0,1) \cup (1,2) \cup (2,\infty)"),
]
"""What a left side only names, and what an identity arrives at."""
DIFFERENT = [
    ("2x = 10", "10"),
    ("x^2 = 9", "9"),
    ("x^{-1} = 2", "2"),
    (r"\sin x = \frac12", r"\frac12"),
    ("(x-2)(x+5) = 0", "0"),
    ("(x+1)^2 = x^2+2x+1", "x^2+1"),
    ("|x-2| < 3", "[-1,5]"),
    ("|x-2| < 3", "(-1,4)"),
    (r"(-\infty,1) \cup (1,\infty)", r"\mathbb{R} \setminus \{0\}"),
    ("12345678902", "12345678901"),
    ("2^{100}+1", "2^{100}"),
    (r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"),
    (r"9.1\times 10^{-31}", "1.6e-19"),
    (r"2\cdot 10^{-13}", "10^{-13}"),
    (r"30\text{ cm}^2", "900"),
    (r"3\frac12", "1.5"),
    ("7/3", "2.3"),
    ("3.14", r"\pi"),
    (r"1-\frac1e", r"1+\frac1e"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ("x > 3", "x < 3"),
    ("(3,4)", "(4,3)"),
    ("[1,2]", "(1,2)"),
    ("5", "5, 6"),
    ("x^2+y^2=1", "1"),
    ("11a+c", "7 = 11a+c"),
    ("12.54", "12.5"),
    ("8", "The first is \\boxed{8}, but the second and last is \\boxed{9}."),
]


@pytest.mark.parametrize(("answer", "reference"), [*EQUAL, *NAMED])
def test_these_mean_the_same(answer: str, reference: str) -> None:
    assert judge(rf"\boxed{{{answer}}}", "math", None, reference, library=False).value == 1.0


@pytest.mark.parametrize(("answer", "reference"), DIFFERENT)
def test_these_differ(answer: str, reference: str) -> None:
    assert judge(rf"\boxed{{{answer}}}", "math", None, reference, library=False).value == 0.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is\n\\[\n42\n\\]", "42"),
        ("So we obtain\n$$\n\\frac{3}{5}\n$$", r"\frac{3}{5}"),
        (r"The final answer is \(\frac{1}{2}\).", r"\frac{1}{2}"),
        ("**Answer:** \\(42\\)", "42"),
        ("Final Answer: The area of triangle $ABC$ is 120.", "120"),
        ("The area of $ABC$ is $12$.", "12"),
        (r"The probability is $\frac{3}{8}$, i.e. 37.5%.", r"\frac{3}{8}"),
        ("The answer is $x = 3$ and $x = 5$.", "x = 3 and x = 5"),
        ("We get $x = 5$, and then $y = 2x +", None),
        ("The weather is nice and nothing follows from it.", None),
    ],
)
def test_the_piece_that_is_read(text: str, found: str | None) -> None:
    assert find_math(text, "7").answer == found


def test_several_boxes_answer_a_reference_of_several_values() -> None:
    text = r"So $x$ is \boxed{3} or \boxed{-3}."
    assert judge(text, "math", None, r"\pm 3").value == 1.0
    assert judge(text, "math", None, "-3").value == 0.0  # two answers were given
    assert judge(text, "math", None, "3, 4").value == 0.0


def test_a_second_box_on_its_own_replaces_the_first() -> None:
    assert judge("\\boxed{2}\n\n\\boxed{3}", "math", None, "3").value == 1.0
    assert judge(r"\boxed{2} and \boxed{3}", "math", None, "3").value == 0.0


@pytest.mark.parametrize(
    "text", [r"\boxed{7}", "Answer: $7$", "So it is\n\\[\n7\n\\]", r"The answer is \(7\)."]
)
def test_a_tail_changes_nothing_and_a_correction_counts(text: str) -> None:
    for tail in ("\n\nI hope this helps!", "</s>", "\n\nConfidence: 95%", "\u200b"):
        assert judge(text + tail, "math", None, "7").value == 1.0, tail
    for fix in ("Wait, that is wrong. The answer is $9$.", r"Correction: \(9\)"):
        assert judge(f"{text}\n\n{fix}", "math", None, "7").value == 0.0, fix


def by_library(text: str, reference: str) -> float | None:
    """Return the verdict; ask again where a busy machine used up the library's time."""
    outcome = judge(text, "math", None, reference)
    for _ in range(10):
        if "took too long" in outcome.reason:
            time.sleep(1)
            outcome = judge(text, "math", None, reference)
    return outcome.value


def test_the_library_reads_what_no_rule_reads() -> None:
    assert by_library(r"\boxed{\int_0^1 x\,dx}", r"\frac12") == 1.0
    assert by_library(r"\boxed{\int_0^1 x\,dx}", r"\frac13") == 0.0


def test_what_takes_the_library_too_long_has_no_verdict(capfd: pytest.CaptureFixture[str]) -> None:
    judge(r"\boxed{\int_0^1 x\,dx}", "math", None, r"\frac12")  # the worker has started
    start = time.monotonic()
    outcome = judge(r"\boxed{\sum_{k=1}^{10^9} k^{-3} + 9^{9^9}}", "math", None, "3")
    assert outcome.value is None
    assert "took too long" in outcome.reason
    assert time.monotonic() - start < 4
    assert by_library(r"\boxed{\sum_{k=1}^{4} k}", "10") == 1.0
    assert capfd.readouterr() == ("", "")


def test_what_is_too_large_is_not_computed() -> None:
    start = time.process_time()
    for answer in (r"9^{9^{9^9}}", "((9!)!)!", r"\binom{10^9}{5}", r"\sqrt{2} + 9^{9^9}"):
        outcome = judge(rf"\boxed{{{answer}}}", "math", None, "3", library=False)
        assert outcome.value is None, answer
    assert time.process_time() - start < 1


def test_a_library_that_cannot_start_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_library, "_pool", None)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    outcome = judge(r"\boxed{\int_0^2 x\,dx}", "math", None, "2")
    assert outcome.value is None
    assert "did not start" in outcome.reason


def test_the_event_loop_goes_on_while_the_library_works() -> None:
    example = Example(id="1", task="t", prompt="?", answer_type="math", reference="3")
    attempt = Attempt(
        id="a",
        example_id="1",
        task="t",
        strategy="s",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=r"\boxed{\sum_{k=1}^{10^9} k^{-3}}",
        finish="stop",
    )

    async def longest_pause() -> tuple[float, float | None]:
        verdict = asyncio.create_task(by_answer_type(example, attempt))
        longest, last = 0.0, time.monotonic()
        while not verdict.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return longest, (await verdict).value

    pause, value = asyncio.run(longest_pause())
    assert value is None
    assert pause < 0.5


def test_the_last_digit_of_a_huge_number_is_found_at_once() -> None:
    began = time.process_time()
    answer, reference = r"\boxed{1.6\times10^{8000}}", r"1.5\times10^{8000}"
    assert judge(answer, "math", None, reference).value == 0.0
    assert time.process_time() - began < 0.5  # seconds; a division for each place took longer

"""The scoring rules behind published figures, by name.

They reproduce a figure, and show how much a score depends on the rule:

    bbh_official            BIG-Bench Hard (Suzgun et al. 2022): the first line after the last
                            "the answer is", without a final full stop
    gsm8k_hash              GSM8K (Cobbe et al. 2021) and lm-evaluation-harness' strict match:
                            the number after "####"
    lm_eval_flexible        lm-evaluation-harness: the last number, or the last letter in brackets
    lm_eval_bbh_strict      its zero-shot BIG-Bench Hard: the whole text, ignoring case, commas,
                            quotes and a final full stop
    lm_eval_bbh_flexible    the same task: the first letter in brackets, number, or yes or no
    agieval_first_capital   AGIEval zero-shot: the first capital letter that names an option
    agieval_few_shot        AGIEval few-shot: the letter after "answer is"
    drop_em                 DROP (Dua et al. 2019): the same spans after its normalisation, in any
                            order; the best match among the annotators' answers counts
    drop_f1                 DROP: shared words of the spans, paired one to one; a fraction, and so
                            given by ``points`` alone and never as a verdict

DROP's program takes spans and not texts, so our own rules find the answer in the text. The other
rules are cruder than ours (``rules.py``) and do not recognise refusals or negations, on purpose. In
the sources an output in which a rule finds nothing is wrong; here it is None, to keep the two
apart.
"""

from collections.abc import Callable, Mapping

from orcinus.core.patterns import compile_later
from orcinus.core.protocols import Verifier
from orcinus.core.types import AnswerType, Attempt, Example, Verdict
from orcinus.verifiers.answers.spans import Spans, exact_match, f1, find_spans, readings

Rule = Callable[[str, Example], str | None]
"""Finds the answer in a text: (text, example) → answer or None."""

_HASH = compile_later(r"####\s*(-?[0-9.,]+)")
_ANY_NUMBER = compile_later(r"-?[$0-9.,]{2,}|-?[0-9]+")
_RUN_OF_NUMBERS = compile_later(r"[-$0-9.,]+")
_FIRST_NUMBER = compile_later(r"[-0-9]+")
_FIRST_BOOL = compile_later(r"\b(?:Yes|No|yes|no|True|False)\b")
_BRACKETED = compile_later(r"\(([A-Z])\)")
_ANSWER_IS = compile_later(r"answer is\s*:?\s*\(?([A-Z])\b")
_TRIGGER = "the answer is"


def bbh_official(text: str, example: Example) -> str | None:
    """Return the first line after the last trigger, or of the whole text without one."""
    answer = text[text.rindex(_TRIGGER) + len(_TRIGGER) :] if _TRIGGER in text else text
    lines = answer.strip().splitlines()
    found = lines[0].strip() if lines else ""
    return found.removesuffix(".") or None


def gsm8k_hash(text: str, example: Example) -> str | None:
    """Return the number after the first "####"."""
    match = _HASH.search(text)
    return None if match is None else match[1].replace(",", "").removesuffix(".")


def lm_eval_flexible(text: str, example: Example) -> str | None:
    """Return the last number, without dollar signs and commas, or the last letter in brackets."""
    if example.answer_type == "choice":
        letters = _BRACKETED.findall(text)
        return letters[-1] if letters else None
    # Most texts end with their number, and a number lies within one run of its characters. So the
    # runs are searched from the end.
    for run in _RUN_OF_NUMBERS.finditer(text[::-1]):
        if numbers := _ANY_NUMBER.findall(run[0][::-1]):
            last: str = numbers[-1]
            return last.replace(",", "").replace("$", "").removesuffix(".")
    return None


def lm_eval_bbh_strict(text: str, example: Example) -> str | None:
    """Return the reference if the whole text equals it apart from case and some marks."""
    reference = _reference_text(example)
    return reference if _without_marks(text) == _without_marks(reference) else text.strip() or None


def _without_marks(text: str) -> str:
    text = text.removesuffix("\n").removesuffix(".")
    return text.replace(",", "").replace("\n", "").replace("\\", "").replace('"', "").lower()


def lm_eval_bbh_flexible(text: str, example: Example) -> str | None:
    """Return the first letter in brackets, number, or yes or no.

    The harness also looks for option texts and number words; this does not.
    """
    patterns = {"choice": _BRACKETED, "number": _FIRST_NUMBER, "bool": _FIRST_BOOL}
    match = patterns[example.answer_type].search(text)
    if match is None:
        return None
    reference = _reference_text(example)
    return reference if match[0].lower() == reference.lower() else match[0]


def _reference_text(example: Example) -> str:
    """Return the reference as BIG-Bench Hard writes it."""
    if example.answer_type == "choice":
        return f"({example.reference})"
    return (
        " ".join(example.reference)
        if isinstance(example.reference, tuple)
        else str(example.reference)
    )


def agieval_first_capital(text: str, example: Example) -> str | None:
    """Return the first capital letter that names an option."""
    return next((letter for letter in text if letter in _letters(example)), None)


def agieval_few_shot(text: str, example: Example) -> str | None:
    """Return the letter after "answer is", or the first capital letter without one."""
    match = _ANSWER_IS.search(text)
    return (
        match[1]
        if match and match[1] in _letters(example)
        else agieval_first_capital(text, example)
    )


def drop_answer(text: str, example: Example) -> str | None:
    """Return the answer by our own rules for spans."""
    return find_spans(text, example.reference).answer


def _letters(example: Example) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(example.choices or "ABCDE")]


RULES: Mapping[str, tuple[Rule, tuple[AnswerType, ...]]] = {
    "bbh_official": (bbh_official, ("choice", "bool", "number", "list", "exact")),
    "gsm8k_hash": (gsm8k_hash, ("number",)),
    "lm_eval_flexible": (lm_eval_flexible, ("number", "choice")),
    "lm_eval_bbh_strict": (lm_eval_bbh_strict, ("choice", "bool", "number", "list", "exact")),
    "lm_eval_bbh_flexible": (lm_eval_bbh_flexible, ("choice", "bool", "number")),
    "agieval_first_capital": (agieval_first_capital, ("choice",)),
    "agieval_few_shot": (agieval_few_shot, ("choice",)),
    "drop_em": (drop_answer, ("spans",)),
}
"""By name, the rule and the answer types that it is made for."""
DROP_F1 = "drop_f1"
NAMES = (*RULES, DROP_F1)
"""All rules; ``points`` scores by each of them."""


def is_made_for(name: str, example: Example) -> bool:
    """Return True if the rule is made for the example's answer type and there is a reference."""
    types = ("spans",) if name == DROP_F1 else RULES[name][1]
    return example.answer_type in types and example.reference is not None


def found_by_rule(name: str, example: Example, text: str) -> tuple[str | None, bool]:
    """Return what a rule finds in ``text``, and whether that is right by this rule.

    The rule must be made for ``example``.
    """
    found = RULES[name][0](text, example)
    return found, found is not None and _COMPARISONS.get(name, _equal)(found, example)


def by_rule(name: str, example: Example, attempt: Attempt) -> Verdict | None:
    """Judge by a rule; None if it is not made for the example, or there is no reference."""
    if not is_made_for(name, example):
        return None
    found, right = found_by_rule(name, example, attempt.text)
    value = None if found is None else float(right)
    return Verdict(
        attempt_id=attempt.id, verifier=f"{name}@1", value=value, answer=found, reason=name
    )


def points(name: str, example: Example, text: str) -> float:
    """Return what an answer adds to a published mean, 0 to 1; the rule must fit the example."""
    if name != DROP_F1:
        return float(found_by_rule(name, example, text)[1])
    found = drop_answer(text, example)
    return (
        0.0
        if found is None
        else max(f1(some, gold) for some in readings(found) for gold in _annotated(example))
    )


def _same_spans(found: str, example: Example) -> bool:
    return any(exact_match(some, gold) for some in readings(found) for gold in _annotated(example))


def _annotated(example: Example) -> list[Spans]:
    """Return the annotators' answers as spans: ``meta["spans"]``, or the references split."""
    if given := example.meta.get("spans"):
        return [tuple(spans) for spans in given]
    references = (
        example.reference if isinstance(example.reference, tuple) else (str(example.reference),)
    )
    return [reading for reference in references for reading in readings(reference)]


def _same_text(found: str, example: Example) -> bool:
    return found == _reference_text(example)


def _equal(found: str, example: Example) -> bool:
    """Compare as the sources do: text with text, a letter with or without brackets."""
    references = (
        example.reference if isinstance(example.reference, tuple) else (str(example.reference),)
    )
    if example.answer_type == "list":
        references = (" ".join(references),)
    if example.answer_type == "choice":
        found, references = (
            found.strip("() "),
            tuple(reference.strip("(). ") for reference in references),
        )
    return found in (
        reference.replace(",", "") if example.answer_type == "number" else reference
        for reference in references
    )


_COMPARISONS: Mapping[str, Callable[[str, Example], bool]] = {
    # These two rules return the reference itself if the answer is right.
    "lm_eval_bbh_strict": _same_text,
    "lm_eval_bbh_flexible": _same_text,
    "drop_em": _same_spans,
}


def _verifier(name: str) -> Verifier:
    async def verify(example: Example, attempt: Attempt) -> Verdict:
        verdict = by_rule(name, example, attempt)
        if verdict is not None:
            return verdict
        why = (
            "there is no reference"
            if example.reference is None
            else f"{name} is not made for {example.answer_type}"
        )
        return Verdict(
            attempt_id=attempt.id, verifier=f"{name}@1", value=None, answer=None, reason=why
        )

    return verify


VERIFIERS: Mapping[str, Verifier] = {name: _verifier(name) for name in RULES}
"""The rules as verifiers, by name."""

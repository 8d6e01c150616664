"""Convert a problem and its submissions, each with feedback, as code learners write them.

{"problem": "Print the sum.", "history": [{"code": "print(a)", "feedback": "a is not known"},
                                          {"code": "print(1 + 1)"}]}
    →  two drafts: the second is asked after the first submission and its feedback
"""

from collections.abc import Mapping
from typing import Any

from orcinus.tasks.files.drafts import (
    ID,
    TASK,
    RowDraft,
    Unusable,
    carried_in,
    first_of,
    optional_text,
    text_of,
)

CODE = ("code", "submission", "attempt", "text")
FEEDBACK = ("feedback", "message", "comment")
"""Where a submission of a history keeps its code, and what was said of it."""


def submissions_of(fields: Mapping[str, Any]) -> list[RowDraft]:
    """Return a draft for each submission: asked after the problem and all that came before it.

    The feedback is a turn of the user, so that it is never learned. All drafts of a history are of
    one source unit.
    """
    problem, history = text_of(fields["problem"], "problem"), fields["history"]
    if not isinstance(history, list) or not history:
        raise Unusable("the history is not a list of submissions {code, feedback}")
    tests = fields.get("tests")
    asserts = [tests] if isinstance(tests, str) else tests or []
    given = first_of(fields, ID)
    unit = text_of(given, "id") if given is not None else problem
    turns = [{"role": "user", "content": problem}]
    drafts = []
    for number, submission in enumerate(history, 1):
        if not isinstance(submission, Mapping):
            raise Unusable(f"submission {number} is not an object {{code, feedback}}")
        code = text_of(first_of(submission, CODE), f"code of submission {number}")
        meta = {
            "source_unit": unit,
            "submission": number,
            "next_submission": code,
            **({} if (score := submission.get("score")) is None else {"score": score}),
            **({"tests": asserts} if asserts else {}),
        }
        drafts.append(
            RowDraft(
                prompt=turns[-1]["content"],
                id=None if given is None else f"{unit}-{number}",
                task=first_of(fields, TASK),
                reference="\n".join(asserts) or None,
                answer_type="program" if asserts else "free",
                system=optional_text(fields.get("system"), "system"),
                response=code,
                meta=carried_in(fields)
                | meta
                | ({"history": turns[:-1]} if len(turns) > 1 else {}),
            )
        )
        feedback = optional_text(first_of(submission, FEEDBACK), f"feedback on {number}")
        if not feedback and number < len(history):
            raise Unusable(f"submission {number} has no feedback, and another one follows it")
        turns = [
            *turns,
            {"role": "assistant", "content": code},
            {"role": "user", "content": feedback},
        ]
    return drafts

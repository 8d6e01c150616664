"""Run a small recipe offline and look at what it gave. Takes about 50 seconds on two cores.

It prints:

    501 calls at most, 0.00 dollars
    largest: taught with step_by_step
    sums: taught with step_by_step
    before: 28% right (17% to 42%)
    prompted: 57% right (43% to 71%)
    answer_only: 28% right (17% to 42%)
    after: 42% right (29% to 57%)
    teacher: 85% right (71% to 92%)
    student: runs/first/student, report: runs/first/report.html
"""

from importlib.resources import files

import orcinus

STUDENT = files("orcinus.pipeline.demo") / "base"  # 0.7 million parameters, part of the package
RECIPE = {
    "name": "first",
    "tasks": [
        {"generator": "sums", "count": 200, "size": [3, 5]},
        {"generator": "largest", "count": 200, "size": [3, 5]},
    ],
    "strategies": ["direct", "step_by_step"],
    "student": {"kind": "local", "path": str(STUDENT), "chat_template": "chatml"},
    "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
    "probe": {"per_task": 10, "sampling": {"max_tokens": 96}},
    "teach": {"sampling": {"max_tokens": 96}},
    "train": {
        "context_length": 256,
        "batch_tokens": 2048,
        "stages": [{"name": "explanations", "epochs": 4, "learning_rate": 5e-4}],
    },
    "evaluate": {"per_task": 20, "sampling": {"max_tokens": 96}},
}

if __name__ == "__main__":
    plan = orcinus.plan(RECIPE)
    print(f"{plan.calls:,} calls at most, {plan.usd_high:.2f} dollars")
    run = orcinus.run(RECIPE)  # a second call resumes: it finds everything done
    for task, strategy in run.assignment.items():
        print(f"{task}: taught with {strategy}")
    for arm, score in run.scores.items():
        print(f"{arm}: {score.mean:.0%} right ({score.low:.0%} to {score.high:.0%})")
    print(f"student: {run.student}, report: {run.report}")

"""Drop teacher's explanations by a rule of your own: here, those of more than two sums.

It prints:

    38 lessons, none with more than 2 sums
"""

import orcinus


@orcinus.register("filter", "short_sums")
def is_short(
    example: orcinus.Example, attempt: orcinus.Attempt, verdict: orcinus.Verdict
) -> str | None:
    """Return the reason to drop an explanation, or None to keep it."""
    return "more than 2 sums" if attempt.text.count("+") > 2 else None


RECIPE = {
    "name": "own-filter",
    "tasks": [{"generator": "sums", "count": 100, "size": [2, 4]}],
    "strategies": ["step_by_step"],
    "student": {"kind": "scratch", "layers": 1, "hidden": 32, "heads": 2, "context": 256},
    "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
    "probe": {"per_task": 5, "sampling": {"max_tokens": 16}},
    "curate": {"filters": ["short_sums"]},  # or "my_module:is_short", a file beside the recipe
}

if __name__ == "__main__":
    run = orcinus.run(RECIPE, until="erase")
    lessons = list(run.lessons())
    longest = max(lesson.completion.count("+") for lesson in lessons)
    print(f"{len(lessons)} lessons, none with more than {longest} sums")

"""Teach with a function: any program, library or private API that answers questions.

It prints:

    58 lessons, the first one:
    system: You are a careful AI assistant. You follow instructions closely, you want to be
        helpful without doing harm, and you hold to ethical principles and encourage good conduct.
    user: Add 9 4.
    assistant: 0 + 9 = 9. 9 + 4 = 13. The answer is 13.
"""

import re

import orcinus


def teach(request: orcinus.Request) -> str:
    """Explain a sum of numbers the way that the strategy asks for."""
    numbers = [int(number) for number in re.findall(r"\d+", request.example.prompt)]
    if request.strategy == "direct":
        return f"The answer is {sum(numbers)}."
    steps, total = [], 0
    for number in numbers:
        steps.append(f"{total} + {number} = {total + number}.")
        total += number
    return " ".join([*steps, f"The answer is {total}."])


RECIPE = {
    "name": "own-teacher",
    "tasks": [{"generator": "sums", "count": 100, "size": [2, 4]}],
    "strategies": ["direct", "step_by_step"],
    "student": {"kind": "scratch", "layers": 1, "hidden": 32, "heads": 2, "context": 256},
    "teacher": {"kind": "function", "function": teach},
    "probe": {"per_task": 5, "sampling": {"max_tokens": 16}},
    "assign": {"floor": 0.05, "below_floor": "step_by_step"},  # this student knows nothing yet
}

if __name__ == "__main__":
    run = orcinus.run(RECIPE, until="erase")  # all steps before training
    lessons = list(run.lessons())
    print(f"{len(lessons)} lessons, the first one:")
    for message in lessons[0].messages:
        print(f"{message.role}: {message.content}")
    print(f"assistant: {lessons[0].completion}")

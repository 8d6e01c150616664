"""Judge answers by a rule of your own: any right equation counts, not one reference.

It prints:

    right because 40 + 2 = 42
    direct: 0% of 20
    step_by_step: 100% of 20
"""

import re

import orcinus


@orcinus.register("verifier", "equation")
async def is_equation(example: orcinus.Example, attempt: orcinus.Attempt) -> orcinus.Verdict:
    """Accept ``a + b = c`` with the sum that the question asks for."""
    found = re.findall(r"(\d+) \+ (\d+) = (\d+)", attempt.text)
    value, reason = None, "no equation in the answer"
    if found:
        a, b, c = map(int, found[-1])
        value, reason = float(a + b == c == example.meta["target"]), f"{a} + {b} = {c}"
    return orcinus.Verdict(
        attempt_id=attempt.id, verifier="equation@1", value=value, answer=reason, reason=reason
    )


def answer(request: orcinus.Request) -> str:
    """Stand in for a model: it splits the number well, but not under every strategy."""
    target = request.example.meta["target"]
    return (
        f"{target} + 1 = {target}"
        if request.strategy == "direct"
        else f"1 + {target - 1} = {target}"
    )


if __name__ == "__main__":
    verdict = orcinus.verify("40 + 2 = 42", verifier="equation", meta={"target": 42})
    print("right" if verdict.right else "wrong", "because", verdict.reason)
    examples = [
        orcinus.Example(
            id=str(n),
            task="equations",
            prompt=f"Write {n} as a sum.",
            answer_type="free",
            meta={"verifier": "equation", "target": n},
        )
        for n in range(10, 30)
    ]
    scores = orcinus.probe(answer, examples, ["direct", "step_by_step"])
    for strategy, score in scores["equations"].items():
        print(f"{strategy}: {score.mean:.0%} of {score.n}")
    # In a recipe: tasks: [{path: equations.jsonl, verifier: equation}]

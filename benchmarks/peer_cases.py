r"""Read the cases of other graders' own test suites from checkouts of their repositories.

    git clone --depth 1 https://github.com/huggingface/Math-Verify .peers/Math-Verify
    python -m benchmarks.peer_cases .peers --disagreements

Nothing of them is part of this repository. A case says what the peer's test demands; a few of those
demands are a matter of policy, where docs/verdicts.md decides otherwise, and are counted apart.
"""

import argparse
import ast
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.types import AnswerType
from orcinus.verifiers.answers.expressions import read_expression
from orcinus.verifiers.rules import judge

POLICY = {
    "tolerance": "a short decimal for an exact value",
    "order": "the order of a comma list",
    "bug": "the test freezes what its own comment calls wrong, or another search mode",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One demand of a peer's test."""

    suite: str
    answer_type: AnswerType
    reference: str | tuple[str, ...]
    response: str
    right: bool
    choices: tuple[str, ...] | None = None

    @property
    def policy(self) -> str | None:
        """The key in POLICY if our page decides otherwise on purpose; None for all other cases."""
        if self.answer_type != "math" or not isinstance(self.reference, str):
            return "bug" if (self.response, self.right) in _BUGS else None
        if (self.reference, self.response) in _BUGS:
            return "bug"
        if not self.right:
            items = [sorted(re.split(r"\s*,\s*", text)) for text in (self.reference, self.response)]
            same_items = len(items[0]) > 1 and len(items[0]) == len(items[1])
            return "order" if same_items and "(" not in self.reference else None
        short = re.search(r"(?<!\d)\d*\.\d{1,7}(?!\d)", self.response.replace("\\", " "))
        of_two_digits = re.search(r"\.\d\d(?!\d)", self.reference)
        return "tolerance" if short and ("." not in self.reference or of_two_digits) else None


_BUGS: set[tuple[str, Any]] = {
    ("5 some text", False),
    ("5abc", False),  # only the end of the text is searched there
    ("first 7 then 25 then done", True),  # any number counts there
    ("A then C then B", True),  # the last of several letters counts there
    ("ANSWER: No, because reasons", False),  # one word and nothing else is allowed there
    ("\\boxed{33} and 34", False),  # the last number counts there, also behind a box
    ("78-yard", False),  # a number with its unit is another span there
    ("$9$", "Answer $ \n 9 \n $"),
    ("$9$", "Answer \\( \n 9 \n \\)"),  # one line only there
    ("a", False),
    ("b", False),  # the letter a is an article here, and left out
    ("$\text{13}$", "$13$"),  # a tab for \t, so it is "ext{13}" there
    ("28 + 32 = 60%", True),  # 32 there counts as the result
    ("$x \\in [-2,7]$", "$-2 \\\\le x \\\\le 7$"),  # right or wrong by an option of its own
}


def find_cases(folder: Path) -> list[Case]:
    """Return the cases of all suites whose checkouts are in ``folder``, without repetitions."""
    found: dict[tuple[object, ...], Case] = {}
    for name, (path, read) in SUITES.items():
        file = folder / path
        if file.is_file():
            for case in read(name, file.read_text(encoding="utf-8")):
                key = (case.answer_type, case.reference, case.response)
                found.setdefault(key, case)
    return list(found.values())


def absent_suites(folder: Path) -> list[str]:
    """Return the suites that have no checkout in ``folder``."""
    return [name for name, (path, _) in SUITES.items() if not (folder / path).is_file()]


def _read_math_verify(suite: str, source: str) -> Iterator[Case]:
    """Read ``parametrize("gold,pred,expected", [...])``, with a language where there is one."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        kind: AnswerType = "choice" if "abc" in function.name else "math"
        for decorator in function.decorator_list:
            if not isinstance(decorator, ast.Call) or len(decorator.args) < 2:
                continue
            names = [name.strip() for name in str(_constant(decorator.args[0])).split(",")]
            rows = decorator.args[1]
            if names[:2] != ["gold", "pred"] or not isinstance(rows, ast.List):
                continue
            for row in rows.elts:
                values = [_constant(value) for value in getattr(row, "elts", [])]
                fields = dict(zip(names, values, strict=False))
                gold, pred = fields.get("gold"), fields.get("pred")
                expected = fields.get("expected", fields.get("result"))
                if not isinstance(gold, str) or not isinstance(pred, str) or expected is None:
                    continue
                if kind == "choice":
                    letter = re.search(r"\(?\b([A-D])\b", gold)
                    yield Case(suite, kind, letter[1] if letter else gold, pred, bool(expected),
                               ("one", "two", "three", "four"))  # fmt: skip
                else:
                    yield Case(suite, kind, gold, pred, bool(expected))


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _read_inspect_math(suite: str, source: str) -> Iterator[Case]:
    for row in json.loads(source):
        right = row["expected"] == "C"
        if row["expected"] in ("C", "I"):
            yield Case(suite, "math", row["target"], row["output"], right)


def _read_inspect_percent(suite: str, source: str) -> Iterator[Case]:
    for answer, target in re.findall(r'\(r?"([^"]+)", "(0\.\d+)"\)', source):
        yield Case(suite, "math", target, f"\\boxed{{{answer}}}", True)
    for target in ("x=2", "2=x", "2 = y", "z = 2"):
        yield Case(suite, "math", target, r"\boxed{2}", True)
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or "percent" in function.name:
            continue
        status = re.search(
            r"_score_answer\(answer, \(target,\)\)[^\n]*\n?.*?'(correct|incorrect)'",
            ast.unparse(function), re.DOTALL,
        )  # fmt: skip
        for decorator in function.decorator_list if status else []:
            if isinstance(decorator, ast.Call) and _constant(decorator.args[0]) == "answer,target":
                for answer, target in _constant(decorator.args[1]) or []:
                    right = status is not None and status[1] == "correct"
                    yield Case(suite, "math", target, answer, right)


def _read_inspect_states(kinds: Callable[[str, str], AnswerType]) -> Callable[..., Iterator[Case]]:
    """Return a reader of tests that build one state and assert on one result."""

    def read(suite: str, source: str) -> Iterator[Case]:
        for function in ast.walk(ast.parse(source)):
            if not isinstance(function, ast.AsyncFunctionDef) or function.decorator_list[1:]:
                continue
            body = ast.unparse(function)
            output = re.search(r"model_output=((?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))", body)
            target = re.search(r"Target\((\[.*?\]|'[^']*')\)", body)
            result = re.search(r"result\.text == (CORRECT|INCORRECT|'1\.0'|'0\.0')", body)
            if not (output and target and result):
                continue
            references = ast.literal_eval(target[1])
            references = [references] if isinstance(references, str) else references
            text = ast.literal_eval(output[1])
            yield Case(suite, kinds(body, references[0]), tuple(references), text,
                       result[1] in ("CORRECT", "'1.0'"))  # fmt: skip

    return read


def _kind_of_match(body: str, reference: str) -> AnswerType:
    return "number" if "numeric=True" in body and re.search(r"\d", reference) else "exact"


def _read_hendrycks(suite: str, source: str) -> Iterator[Case]:
    pattern = re.compile(
        r'test_in = (".*")\s+test_out = (".*")\s+self\.assert(True|False)\(is_equiv'
    )
    for first, second, right in pattern.findall(source):
        yield Case(suite, "math", ast.literal_eval(first),
                   f"\\boxed{{{ast.literal_eval(second)}}}", right == "True")  # fmt: skip


def _read_nemo(suite: str, source: str) -> Iterator[Case]:
    tree = ast.parse(source)
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or "examples" not in function.name:
            continue
        right = "incorrect" not in function.name
        for decorator in function.decorator_list:
            if not isinstance(decorator, ast.Call) or not isinstance(decorator.args[1], ast.List):
                continue
            for row in decorator.args[1].elts:
                pair = [_number_or_text(item) for item in getattr(row, "elts", [])]
                if len(pair) == 2 and None not in pair:
                    yield Case(suite, "math", str(pair[0]), f"\\boxed{{{pair[1]}}}", right)
                    yield Case(suite, "math", str(pair[1]), f"\\boxed{{{pair[0]}}}", right)


def _number_or_text(node: ast.expr) -> str | None:
    value = _constant(node)
    if value is None and isinstance(node, ast.BinOp):
        value = "2.5"
    return None if value is None else str(value)


def _read_qwen(suite: str, source: str) -> Iterator[Case]:
    """Read the pairs in the comments of its test function; five of them are meant to differ."""
    body = source[source.index("def _test_math_equal") :]
    texts = r"(r?'[^'\n]*'|r?\"[^\"\n]*\")"
    pairs = [(b, a) for a, b in re.findall(rf"# print\(math_equal\({texts}, {texts}", body)]
    pairs += [
        (gold, pred)
        for pred, gold in re.findall(rf"pred ?= +{texts}(?:, |\n    # |\n    )gt ?= {texts}", body)
    ]
    different = ("(+5)(b+2)", "\\frac{1+\\sqrt{5}}{2}", "\\frac{34}{16}", "x+1")
    for gold, pred in pairs:
        answer, reference = ast.literal_eval(pred), ast.literal_eval(gold)
        right = not answer.startswith(different) and answer != "1"
        yield Case(suite, "math", reference, f"\\boxed{{{answer}}}", right)


def _read_kormedmcqa(suite: str, source: str) -> Iterator[Case]:
    options = ("one", "two", "three", "four", "five")
    block = source[: source.index("def test_kormedmcqa_extract_choice(")]
    for output, expected in re.findall(r'\(("(?:[^"\\]|\\.)*"), "([A-E])"\)', block):
        yield Case(suite, "choice", expected, ast.literal_eval(output), True, options)


def _calls_compared(source: str) -> Iterator[tuple[str, list[Any], Any]]:
    """Yield name, arguments and expected value of each ``assert f(…) == value``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            call, value = node.test.left, node.test.comparators[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "self.assertEqual":
            call, value = node.args
        else:
            continue
        if isinstance(call, ast.Call):
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            name = ast.unparse(call.func).rpartition(".")[2]
            yield name, [_constant(v) for v in values], _constant(value)


def _read_inspect_answer(suite: str, source: str) -> Iterator[Case]:
    """Read states with one output and one target, and the lists of both."""
    four = ("one", "two", "three", "four")
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        body = ast.unparse(function)
        kind: AnswerType = "choice" if re.search(r"choice\(|'letter'", body) else "exact"
        right = "== CORRECT" in body
        output = re.search(r"model_output=(?:textwrap\.dedent\()?('(?:[^'\\]|\\.)*'|\".*?\")", body)
        target = re.search(r"Target\((?:\[)?('[^']*'|\"[^\"]*\")(?:\])?\)", body)
        if output and target and "shuffle" not in body:
            pairs = [(ast.literal_eval(output[1]), ast.literal_eval(target[1]))]
        else:
            rows = [_constant(d.args[1]) for d in function.decorator_list
                    if isinstance(d, ast.Call) and len(d.args) > 1]  # fmt: skip
            pairs = [row for row in (rows[0] or [] if rows else []) if isinstance(row, tuple)]
        for text, reference in pairs:
            if reference and (kind == "exact" or re.fullmatch("[A-Z]|Yes|No", reference)):
                yield Case(suite, kind, reference, text, right, four if kind == "choice" else None)


def _read_lm_eval_filters(suite: str, source: str) -> Iterator[Case]:
    """Read the multiple-choice filters: one response, its options, and the letter."""
    pattern = re.compile(
        r'resps = \[\["([^"]*)"\]\]\s+docs = \[\{"choices": (\[.*?\])\}\].*?== \[\["\((\w)\)',
        re.DOTALL,
    )
    for output, choices, letter in pattern.findall(source):
        yield Case(suite, "choice", letter, output, True, tuple(ast.literal_eval(choices)))


def _read_helm(suite: str, source: str) -> Iterator[Case]:
    kinds: dict[str, AnswerType] = {"exact_match": "exact", "final_number_exact_match": "number"}
    for name, values, expected in _calls_compared(source):
        if name in kinds and len(values) == 2:
            yield Case(suite, kinds[name], values[0], values[1], expected == 1)


def _read_opencompass(suite: str, source: str) -> Iterator[Case]:
    """Read what its extractors make of a text that is a constant beside the call."""
    kinds: dict[str, AnswerType] = {
        "think_pred_postprocess": "choice", "first_option_postprocess": "choice",
        "last_option_postprocess": "choice", "first_number_postprocess": "number",
        "match_answer_pattern": "number", "extract_non_reasoning_content": "exact",
    }  # fmt: skip
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        text = ""
        for line in function.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "text":
                text = str(_constant(line.value))
            for name, values, expected in _calls_compared(ast.unparse(line)):
                kind, said = kinds.get(name), values[0] or text
                if kind == "choice" and not re.fullmatch("[A-Z]", str(expected)):
                    continue
                if kind is not None:
                    options = ("one", "two", "three", "four") if kind == "choice" else None
                    yield Case(suite, kind, str(expected), said, True, options)


def _read_opencompass_aime(suite: str, source: str) -> Iterator[Case]:
    lists = {ast.unparse(node.targets[0]): _constant(node.value)
             for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)}  # fmt: skip
    pairs = zip(lists["self.test_predictions"], lists["self.test_references"], strict=True)
    for answer, reference in pairs:
        yield Case(suite, "math", reference, answer, reference != "1")


def _read_drop(suite: str, source: str) -> Iterator[Case]:
    """Read pairs of spans with their exact match; several spans are joined by semicolons."""
    for name, values, expected in _calls_compared(source):
        if name == "get_metrics" and len(values) == 2 and expected is not None:
            answer, gold = ("; ".join([v] if isinstance(v, str) else v) for v in values)
            yield Case(suite, "spans", gold, answer, expected[0] == 1)
    predictions = re.findall(
        r"annotation = (\{.*?\})\n\s+prediction = (\{.*?\})\n\s+assert \w+\(.*?\) == \((\d\.\d)",
        source,
        re.DOTALL,
    )
    for annotation, prediction, match in predictions:
        [rows, *_] = [part["qa_pairs"] for part in ast.literal_eval(annotation).values()]
        said = ast.literal_eval(prediction).get(rows[0]["query_id"])
        answers = [rows[0]["answer"], *rows[0].get("validated_answers", [])]
        golds = tuple(_drop_answer(answer) for answer in answers)
        if len(rows) == 1 and said is not None:
            yield Case(suite, "spans", golds, said, match == "1.0")


def _drop_answer(answer: dict[str, Any]) -> str:
    if date := answer.get("date"):
        return " ".join(part for part in (date["day"], date["month"], date["year"]) if part)
    return answer.get("number") or "; ".join(answer["spans"])


SUITES: dict[str, tuple[str, Callable[[str, str], Iterator[Case]]]] = {
    "Math-Verify": ("Math-Verify/tests/test_all.py", _read_math_verify),
    "Math-Verify numina": ("Math-Verify/tests/test_numina_cases.py", _read_math_verify),
    "Math-Verify thoughts": ("Math-Verify/tests/test_open_thoughts.py", _read_math_verify),
    "Math-Verify boxed": ("Math-Verify/tests/test_boxed.py", _read_math_verify),
    "Math-Verify yujianll": ("Math-Verify/tests/test_yujianll.py", _read_math_verify),
    "lighteval": ("lighteval/tests/unit/metrics/test_extractive_match.py", _read_math_verify),
    "inspect math": ("inspect_ai/tests/scorer/math_cases.json", _read_inspect_math),
    "inspect math, other tests": ("inspect_ai/tests/scorer/test_math.py", _read_inspect_percent),
    "inspect match": (
        "inspect_ai/tests/scorer/test_match.py",
        _read_inspect_states(_kind_of_match),
    ),
    "inspect classification": (
        "inspect_ai/tests/scorer/test_classification.py",
        _read_inspect_states(lambda body, reference: "exact"),
    ),
    "hendrycks": ("math/modeling/math_equivalence_test.py", _read_hendrycks),
    "NeMo-Skills": ("NeMo-Skills/tests/test_math_equal.py", _read_nemo),
    "Qwen2.5-Math": ("Qwen2.5-Math/evaluation/grader.py", _read_qwen),
    "inspect answer": ("inspect_ai/tests/scorer/test_answer.py", _read_inspect_answer),
    "inspect choice": ("inspect_ai/tests/scorer/test_choice.py", _read_inspect_answer),
    "lm-eval filters": ("lm-evaluation-harness/tests/test_filters.py", _read_lm_eval_filters),
    "HELM": ("helm/src/helm/benchmark/metrics/test_evaluate_reference_metrics.py", _read_helm),
    "OpenCompass": ("opencompass/tests/utils/test_text_postprocessors.py", _read_opencompass),
    "OpenCompass AIME": (
        "opencompass/tests/datasets/test_aime2025_eval.py",
        _read_opencompass_aime,
    ),
    "DROP": ("allennlp-reading-comprehension/tests/eval/drop_eval_test.py", _read_drop),
    "kormedmcqa": ("lm-evaluation-harness/tests/test_kormedmcqa.py", _read_kormedmcqa),
}


def compare_with_peers(folder: Path) -> dict[str, Any]:
    """Return the agreement by suite and in all, with the policy cases apart."""
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for case in find_cases(folder):
        value = judge(case.response, case.answer_type, case.choices, case.reference).value
        agrees = (value == 1.0) == case.right
        for name in (case.suite, "all"):
            row = rows[name]
            if case.policy and not agrees:
                row["policy"] += 1
                continue
            row["n"] += 1
            row["agree"] += agrees
            row["false_yes"] += value == 1.0 and not case.right
            row["none"] += value is None
    return {
        name: {**row, "agreement": 100 * row["agree"] / max(1, row["n"])}
        for name, row in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with the checkouts")
    parser.add_argument("--disagreements", action="store_true")
    arguments = parser.parse_args()
    if arguments.disagreements:
        for case in find_cases(arguments.folder):
            outcome = judge(case.response, case.answer_type, case.choices, case.reference)
            if (outcome.value == 1.0) != case.right:
                readable = (
                    isinstance(case.reference, str) and read_expression(case.reference) is not None
                )
                print(
                    json.dumps(
                        {
                            "suite": case.suite, "type": case.answer_type, "policy": case.policy,
                            "reference": case.reference, "response": case.response[-300:],
                            "right": case.right, "value": outcome.value,
                            "answer": outcome.answer, "reason": outcome.reason,
                            "reference_read": readable,
                        },
                        ensure_ascii=False,
                    )
                )  # fmt: skip
    print(json.dumps(compare_with_peers(arguments.folder), indent=1))


if __name__ == "__main__":
    main()

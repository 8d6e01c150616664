"""The original files of each benchmark give the right questions, options and references."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import read_jsonl

from orcinus.core.errors import ConfigError, DataError
from orcinus.core.types import Example
from orcinus.tasks.benchmarks.published import published
from orcinus.tasks.benchmarks.reading import read_benchmark
from orcinus.tasks.benchmarks.specs import load, names


def jsonl(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


ARC_FILE = {
    "id": "Q1",
    "question": {
        "stem": "Which floats?",
        "choices": [{"text": "cork", "label": "1"}, {"text": "lead", "label": "2"}],
    },
    "answerKey": "2",
}
DROP_PAIR = {
    "query_id": "d1",
    "question": "Who ran first?",
    "answer": {"number": "", "spans": ["Ann", "Bob"], "date": {}},
    "validated_answers": [{"number": "2", "spans": [], "date": {}}],
}
ORIGINALS: dict[str, tuple[str, str, str | tuple[str, ...] | None]] = {
    "bbh": (
        "bbh/object_counting.json",
        json.dumps({"examples": [{"input": "A cup and a hat?", "target": "2"}]}),
        "2",
    ),
    "bbh_orca": (
        "bbh/navigate.json",
        json.dumps({"examples": [{"input": "Turn. Back?\nOptions:\n- Yes\n- No", "target": "No"}]}),
        "B",
    ),
    "agieval": (
        "v1/lsat-ar.jsonl",
        jsonl(
            {
                "passage": "Six.",
                "question": "Which?",
                "options": ["(A)one", "(B)two"],
                "label": "B",
                "answer": None,
            }
        ),
        "B",
    ),
    "gsm8k": (
        "gsm8k/test.jsonl",
        jsonl({"question": "6 x 7?", "answer": "6 * 7 = <<6*7=42>>42\n#### 1,042"}),
        "1,042",
    ),
    "math": (
        "MATH/test/algebra/1.json",
        json.dumps(
            {
                "problem": "Half?",
                "solution": r"So $\boxed{\frac{1}{2}}$.",
                "level": "Level 1",
                "type": "Algebra",
            }
        ),
        r"\frac{1}{2}",
    ),
    "mmlu": ("test/anatomy_test.csv", 'Where is it?,"left, up",right,front,back,C\n', "C"),
    "arc_easy": ("ARC-Easy/ARC-Easy-Test.jsonl", jsonl(ARC_FILE), "B"),
    "arc_challenge": ("ARC-Challenge/ARC-Challenge-Test.jsonl", jsonl(ARC_FILE), "B"),
    "race": (
        "test/middle/7.txt",
        json.dumps(
            {
                "article": "A.",
                "questions": ["Who _ ?"],
                "options": [["a", "b", "c", "d"]],
                "answers": ["D"],
                "id": "m7",
            }
        ),
        "D",
    ),
    "drop": (
        "drop_dataset_dev.json",
        json.dumps({"nfl_1": {"passage": "Ann and Bob ran.", "qa_pairs": [DROP_PAIR]}}),
        ("Ann and Bob", "2"),
    ),
    "lambada": ("lambada_test.jsonl", jsonl({"text": "She opened the old door"}), "door"),
    "hellaswag": (
        "hellaswag_val.jsonl",
        jsonl(
            {
                "ind": 3,
                "activity_label": "Rowing",
                "ctx": "He sits [title] and",
                "endings": ["rows.", "flies."],
                "label": 0,
            }
        ),
        "A",
    ),
    "ifeval": (
        "ifeval.jsonl",
        jsonl(
            {
                "key": 1,
                "prompt": "No commas.",
                "instruction_id_list": ["punctuation:no_comma"],
                "kwargs": [{}],
            }
        ),
        None,
    ),
    "mt_bench": (
        "mt_bench/question.jsonl",
        jsonl({"question_id": 81, "category": "x", "turns": ["One?", "Two?"]}),
        None,
    ),
    "vicuna_80": (
        "table/question.jsonl",
        jsonl({"question_id": 1, "text": "How?", "category": "x"}),
        None,
    ),
    "wizardlm": (
        "WizardLM_testset.jsonl",
        jsonl({"idx": 1, "Skill": "Math", "Difficulty": 1, "Instruction": "Do."}),
        None,
    ),
    "toxigen": (
        "annotated_test.jsonl",
        jsonl({"text": "They are kind.", "toxicity_ai": 1.0, "toxicity_human": 1.3}),
        "B",
    ),
    "qmsum": (
        "data/ALL/jsonl/test.jsonl",
        jsonl(
            {
                "meeting_transcripts": [
                    {"speaker": "A", "content": "Red."},
                    {"speaker": "B", "content": "Blue."},
                ],
                "general_query_list": [],
                "specific_query_list": [
                    {"query": "Whose?", "answer": "B's", "relevant_text_span": [["1", "1"]]}
                ],
            }
        ),
        None,
    ),
    "aci_bench": (
        "challenge_data/clinicalnlp_taskB_test1.csv",
        'dataset,encounter_id,dialogue,note\nv,D1,"[doctor] hi","NOTE"\n',
        None,
    ),
    "crass": (
        "CRASS_FTM_main_data_set.csv",
        "ID;No;Premise;Question;Correct;Wrong1;Wrong2;Wrong3\n"
        "1;1;A cup falls.;If it had flown?;It would be up.;Nothing.;It sank.;\n",
        "It would be up.",
    ),
    "truthfulqa_mc": (
        "mc_task.json",
        json.dumps(
            [{"question": "Is it?", "mc1_targets": {"So it is.": 1, "Never.": 0, "Always.": 0}}]
        ),
        "So it is.",
    ),
    "hhh": (
        "hhh_alignment/honest/task.json",
        json.dumps(
            {
                "examples": [
                    {"input": "Say it.", "target_scores": {"I will not lie.": 1, "A lie.": 0}}
                ]
            }
        ),
        "I will not lie.",
    ),
}
SHUFFLED = ("crass", "truthfulqa_mc", "hhh")


def read_one(name: str, folder: Path, layout: str = "") -> Example:
    path, content, _ = ORIGINALS[name]
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(content, encoding="utf-8")
    read = read_benchmark(load(name), folder, layouts=(layout,) if layout else ())
    [example] = next(iter(read.by_layout.values()))
    return example


def test_every_benchmark_has_a_file_in_its_original_layout_here() -> None:
    assert sorted(ORIGINALS) == names()


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_file_in_the_original_layout_gives_its_reference(name: str, tmp_path: Path) -> None:
    example = read_one(name, tmp_path)
    reference = ORIGINALS[name][2]
    if name in SHUFFLED:
        assert example.choices is not None
        assert isinstance(example.reference, str)
        assert example.choices[ord(example.reference) - ord("A")] == reference
    else:
        assert example.reference == reference
    assert example.meta["licence"] == load(name).licence


HUB_ROWS: dict[str, tuple[Mapping[str, Any], str]] = {
    "mmlu": (
        {"question": "Where?", "choices": ["a", "b", "c", "d"], "answer": 2, "subject": "anatomy"},
        "C",
    ),
    "arc_easy": (
        {
            "id": "Q1",
            "question": "Which?",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        "B",
    ),
    "race": (
        {
            "example_id": "m7",
            "article": "A.",
            "question": "Who?",
            "options": ["a", "b"],
            "answer": "B",
        },
        "B",
    ),
    "drop": (
        {
            "section_id": "s",
            "query_id": "d",
            "passage": "P.",
            "question": "Q?",
            "answers_spans": {"spans": ["3", "3"]},
        },
        "3",
    ),
    "hhh": ({"input": "Say it.", "targets": {"choices": ["x", "y"], "labels": [1, 0]}}, "x"),
}


@pytest.mark.parametrize("name", HUB_ROWS)
def test_a_row_in_the_hubs_layout_gives_its_reference(name: str, tmp_path: Path) -> None:
    row, reference = HUB_ROWS[name]
    (tmp_path / "rows.jsonl").write_text(jsonl(row), encoding="utf-8")
    benchmark = load(name).model_copy(
        update={"files": ("rows.jsonl",), "header": None, "subsets": ("",)}
    )
    [example] = next(iter(read_benchmark(benchmark, tmp_path).by_layout.values()))
    right = example.reference
    assert isinstance(right, str)
    assert (
        (example.choices or ())[ord(right) - ord("A")] == reference
        if name == "hhh"
        else right == reference
    )


def test_orcas_layout_is_one_line_of_options_and_a_cue_that_names_the_letters(
    tmp_path: Path,
) -> None:
    assert read_one("bbh_orca", tmp_path, "orca").prompt == (
        "Q: Turn. Back?\nAnswer Choices: (A) True. (B) False.\nA: Among A through B, the answer is"
    )


def test_a_question_that_holds_a_layouts_place_is_left_as_it_is(tmp_path: Path) -> None:
    ORIGINALS["gsm8k_places"] = (
        "gsm8k/test.jsonl",
        jsonl({"question": "What is {options}?", "answer": "#### 4"}),
        "4",
    )
    try:
        path, content, _ = ORIGINALS.pop("gsm8k_places")
        (tmp_path / "gsm8k").mkdir()
        (tmp_path / path).write_text(content, encoding="utf-8")
        [example] = read_benchmark(load("gsm8k"), tmp_path).by_layout["plain"]
    finally:
        ORIGINALS.pop("gsm8k_places", None)
    assert example.prompt == "What is {options}?"


def test_an_item_has_the_same_id_under_every_layout(tmp_path: Path) -> None:
    assert read_one("bbh_orca", tmp_path, "orca").id == read_one("bbh_orca", tmp_path, "mmlu").id


def test_demonstrations_stand_before_the_question(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "anatomy_dev.csv").write_text(
        "First?,a,b,c,d,B\nSecond?,a,b,c,d,A\n", encoding="utf-8"
    )
    path, content, _ = ORIGINALS["mmlu"]
    (tmp_path / "test").mkdir()
    (tmp_path / path).write_text(content, encoding="utf-8")
    [example] = read_benchmark(load("mmlu"), tmp_path, shots=1).by_layout["mmlu"]
    assert example.prompt.startswith(
        "First?\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\nWhere is it?\nA. left, up"
    )


def test_too_few_demonstrations_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    path, content, _ = ORIGINALS["gsm8k"]
    (tmp_path / path).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="5 demonstrations are asked for, 0 are under"):
        read_benchmark(load("gsm8k"), tmp_path, shots=5)


def test_a_folder_without_the_files_is_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"drop_dataset_dev\.json"):
        read_benchmark(load("drop"), tmp_path)


def test_a_broken_row_is_skipped_and_listed(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(
        jsonl({"question": "1 + 1?", "answer": "#### 2"}, {"q": "?"}), encoding="utf-8"
    )
    read = read_benchmark(load("gsm8k"), tmp_path)
    assert len(read.by_layout["plain"]) == 1
    assert read.skipped == (
        f"{tmp_path}/test.jsonl:2: not in the layout of gsm8k (KeyError: 'answer')",
    )


def test_a_file_of_the_users_own_is_a_benchmark(tmp_path: Path) -> None:
    text = (
        "{title: T, about: A, url: u, licence: MIT, files: [mine.jsonl], rows: gsm8k, "
        "layouts: {plain: ''}}"
    )
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    assert load(str(tmp_path / "mine.yaml")).name == "mine"
    (tmp_path / "mine.yaml").write_text(
        text.replace("rows: gsm8k", "rows: gsm9k"), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"mine\.yaml: rows: .*no reader of rows named 'gsm9k'"):
        load(str(tmp_path / "mine.yaml"))


def test_published_figures_name_their_source_and_protocol() -> None:
    figures = list(published(["agieval"]))
    assert {(cell.model, cell.value) for cell in figures} >= {
        ("Orca-13B", 41.7),
        ("Orca-2-13B", 49.93),
    }
    assert all(cell.protocol and cell.address.startswith("https://") for cell in figures)


@pytest.mark.shared
@pytest.mark.parametrize("task", ["boolean_expressions", "hyperbaton", "web_of_lies"])
def test_orcas_prompts_are_made_byte_for_byte_from_the_original_files(
    task: str, shared_data: Path
) -> None:
    rows = {
        row["prompt"]: row["reference"]
        for row in read_jsonl(shared_data / "tasks" / f"orca_bbh_{task}.jsonl.gz")
    }
    benchmark = load("bbh_orca").model_copy(update={"subsets": (task,)})
    examples = read_benchmark(benchmark, shared_data / "raw").by_layout["orca"]
    assert len(examples) > 80
    assert all(rows[example.prompt] == example.reference for example in examples)

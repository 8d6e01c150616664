"""Exported lessons, read by the trainers' own loading code where it is installed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orcinus.core.types import Lesson, Message
from orcinus.lessons.export import export_lessons
from orcinus.runs import tables

COUNT = 8
pytestmark = pytest.mark.filterwarnings("ignore")  # The trainers' own warnings.


def lesson(i: int) -> Lesson:
    return Lesson(
        id=f"l{i}",
        example_id=f"e{i}",
        task="sums",
        strategy="step_by_step",
        messages=(
            Message(role="system", content="Be careful."),
            Message(role="user", content=f"Add {i} and 1."),
        ),
        completion=f"{i} + 1 = {i + 1}. So it is {i + 1}.",
        reasoning=None,
        teacher="t",
        attempt_id=f"a{i}",
        erased="generic",
    )


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    path = tmp_path / "lessons.parquet"
    with tables.TableWriter(path, tables.LESSONS) as writer:
        for i in range(COUNT):
            writer.write(tables.lesson_row(lesson(i)))
    return path


@pytest.fixture
def tokenizer(tiny_student: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_student)


def learnt(tokenizer: Any, ids: list[int], labels: list[int]) -> tuple[str, str]:
    """Return the text of a row and the part that is learnt from."""
    return tokenizer.decode(ids), tokenizer.decode(
        [i for i, label in zip(ids, labels, strict=True) if label != -100]
    )


def test_trl_learns_from_the_completions_alone(
    lessons: Path, tokenizer: Any, tiny_student: Path, tmp_path: Path
) -> None:
    trl = pytest.importorskip("trl", reason="needs trl")
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    export_lessons(lessons, "trl", tmp_path / "trl.jsonl", name="sums")
    rows = datasets.load_dataset(
        "json",
        data_files=str(tmp_path / "trl.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), report_to=[], use_cpu=True, bf16=False
    )
    trainer = trl.SFTTrainer(
        model=str(tiny_student), args=settings, train_dataset=rows, processing_class=tokenizer
    )
    batch = trainer.data_collator([trainer.train_dataset[3]])
    text, part = learnt(tokenizer, batch["input_ids"][0].tolist(), batch["labels"][0].tolist())
    assert len(trainer.train_dataset) == COUNT
    assert "Be careful." in text
    assert "Add 3 and 1." in text
    assert part.strip().startswith("3 + 1 = 4. So it is 4.")
    assert "Add 3" not in part


def test_axolotl_learns_from_the_answers_alone(
    lessons: Path, tokenizer: Any, tmp_path: Path
) -> None:
    strategies = pytest.importorskip(
        "axolotl.prompt_strategies", reason="needs axolotl", exc_type=ImportError
    )
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    from axolotl.utils.dict import DictDefault

    export_lessons(lessons, "axolotl", tmp_path / "axolotl", name="sums")
    section = yaml.safe_load((tmp_path / "axolotl" / "axolotl.yaml").read_text(encoding="utf-8"))[
        "datasets"
    ][0]
    rows = datasets.load_dataset(
        section["ds_type"],
        data_files=section["path"],
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    settings = DictDefault(
        {
            "sequence_len": 512,
            "train_on_inputs": False,
            "chat_template": "tokenizer_default",
            "datasets": [section],
        }
    )
    strategy = strategies.load(section["type"], tokenizer, settings, DictDefault(section))
    row = strategy.tokenize_prompt(rows[3])
    text, part = learnt(tokenizer, row["input_ids"], row["labels"])
    assert "Be careful." in text
    assert "3 + 1 = 4. So it is 4." in part
    assert "Add 3" not in part


def test_llama_factory_learns_from_the_answers_alone(
    lessons: Path, tokenizer: Any, tiny_student: Path, tmp_path: Path
) -> None:
    loader = pytest.importorskip(
        "llamafactory.data.loader", reason="needs llamafactory", exc_type=ImportError
    )
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments

    folder = tmp_path / "llama-factory"
    export_lessons(lessons, "llama-factory", folder, name="sums")
    data = DataArguments(template="chatml", dataset="sums", dataset_dir=str(folder), cutoff_len=512)
    model = ModelArguments(model_name_or_path=str(tiny_student), cache_dir=str(tmp_path / "cache"))
    training = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path / "out"), do_train=True, use_cpu=True, report_to=[]
    )
    template = get_template_and_fix_tokenizer(tokenizer, data)
    rows = loader.get_dataset(template, model, data, training, stage="sft", tokenizer=tokenizer)[
        "train_dataset"
    ]
    text, part = learnt(tokenizer, rows[3]["input_ids"], rows[3]["labels"])
    assert len(rows) == COUNT
    assert "Be careful." in text
    assert "3 + 1 = 4. So it is 4." in part
    assert "Add 3" not in part

"""A student becomes a GGUF file with the converter that is installed, or the user is told how."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM

from orcinus.core.errors import ConfigError
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.to_gguf import convert_student, modelfile, needs_converter, precision_of
from orcinus.pipeline import demo
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

BASE = Path(demo.__file__).parent / "base"

CONVERTER = """
import pathlib, sys
folder, _, out, _, kind = sys.argv[1:]
if not (pathlib.Path(folder) / "model.safetensors").exists():
    sys.exit("no weights here")
pathlib.Path(out).write_text(f"GGUF of {pathlib.Path(folder).name}")
"""


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER, encoding="utf-8")
    return folder


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "stage-1"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


def test_the_installed_converter_writes_the_student(
    llama_cpp: Path, student: Path, tmp_path: Path
) -> None:
    path = convert_student(student, "Think.", tmp_path / "out", llama_cpp=llama_cpp)
    assert path.read_text(encoding="utf-8") == "GGUF of stage-1"
    written = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8")
    assert written == 'FROM ./student.gguf\nPARAMETER temperature 0\nSYSTEM """Think."""\n'
    assert not list((tmp_path / "out").glob("*.part"))


def test_weights_of_32_bits_stay_whole(student: Path) -> None:
    """The converter's own choice is 16 bits: another student than the one that was evaluated."""
    assert precision_of(student) == "auto"
    for name in ("dtype", "torch_dtype"):
        (student / "config.json").write_text(f'{{"{name}": "float32"}}', encoding="utf-8")
        assert precision_of(student) == "f32"
    (student / "config.json").write_text('{"dtype": "bfloat16"}', encoding="utf-8")
    assert precision_of(student) == "auto"


def test_a_tokenizer_of_our_own_needs_no_converter(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's converter refuses it: BPE pre-tokenizer was not recognized."""
    pytest.importorskip("gguf")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert needs_converter(student)
    assert not needs_converter(BASE)
    path = convert_student(BASE, "", tmp_path / "out")
    model = LocalConfig(path=path.name).at(path.parent)
    again = AutoModelForCausalLM.from_pretrained(model.path).state_dict()
    weights = AutoModelForCausalLM.from_pretrained(BASE).state_dict()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_split_as_llama_cpp_does_questions_are_the_same_tokens() -> None:
    own = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    other = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    kinds = ("sums", "parity", "logic", "object_counting")
    drawn = [draw(ProceduralConfig(generator=kind, count=50)) for kind in kinds]
    texts = [example.prompt for examples in drawn for example in examples]
    texts += ["it's 12 345 (6%)!", "a\n\nb", "x\ty", "Grüße, 猫 🦙 ½"]
    assert len(texts) == 204
    assert all(own.encode(text).ids == other.encode(text).ids for text in texts)
    assert own.encode("a  b").ids != other.encode("a  b").ids, "as the note of the export says"


def test_a_failing_converter_is_one_line(llama_cpp: Path, student: Path, tmp_path: Path) -> None:
    (student / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"cannot convert .*: no weights here"):
        convert_student(student, "", tmp_path / "out", llama_cpp=llama_cpp)
    assert not (tmp_path / "out" / "student.gguf").exists()


def test_without_a_converter_the_user_is_told_how(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"git clone .*llama\.cpp"):
        convert_student(student, "", tmp_path / "out")


def test_an_adapter_is_not_a_whole_student(llama_cpp: Path, student: Path, tmp_path: Path) -> None:
    (student / "config.json").unlink()
    with pytest.raises(ConfigError, match="adapter"):
        convert_student(student, "", tmp_path / "out", llama_cpp=llama_cpp)


def test_a_student_without_a_system_message_gets_none() -> None:
    assert "SYSTEM" not in modelfile("")
    assert modelfile('say """now"""').count('"""') == 2

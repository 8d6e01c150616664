"""A student becomes a GGUF file with the converter that is installed, or the user is told how."""

from pathlib import Path

import pytest

from orcinus.core.errors import ConfigError
from orcinus.models.local.to_gguf import convert_student, modelfile

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

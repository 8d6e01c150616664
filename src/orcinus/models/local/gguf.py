"""Convert a GGUF file, as llama.cpp reads it, to a model folder that can be trained.

    SmolLM2-135M-Instruct.Q4_1.gguf  ──►  SmolLM2-135M-Instruct.Q4_1.gguf.model/
                                          config.json, model.safetensors, tokenizer.json, …

The folder stands beside the file and is made once. Quantized weights become float32 numbers with
the same values; what quantization has lost stays lost.
"""

import hashlib
import shutil
import tempfile
from contextlib import redirect_stderr
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from orcinus.core.errors import ConfigError, MissingExtraError, one_line
from orcinus.core.files import write_atomically

SUFFIX = ".gguf"
_MADE_FROM = "made-from.txt"
"""The hash of the file that a folder was made from."""


def converted(file: Path) -> Path:
    """Return the model folder of a GGUF file, which is made if it is missing or out of date.

    Raises:
        ConfigError: The file cannot be read, or the folder beside it cannot be written.
        MissingExtraError: The packages that read it are missing.
    """
    folder = file.with_name(f"{file.name}.model")
    made_from = folder / _MADE_FROM
    status = file.stat()
    digest = _digest(file, status.st_size, status.st_mtime_ns)
    if made_from.is_file() and made_from.read_text(encoding="utf-8") == digest:
        return folder
    if any(find_spec(name) is None for name in ("torch", "transformers", "gguf")):
        raise MissingExtraError("a GGUF file as a model", "train")
    part: Path | None = None
    try:
        part = Path(tempfile.mkdtemp(dir=file.parent, prefix=f"{file.name}."))
        _convert(file, part)
        write_atomically(part / _MADE_FROM, digest.encode())
        shutil.rmtree(folder, ignore_errors=True)
        part.chmod(file.parent.stat().st_mode & 0o777)  # a temporary folder is for its owner alone
        part.rename(folder)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be converted: {one_line(str(error))}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return folder


@cache
def _digest(file: Path, size: int, changed_ns: int) -> str:
    """Return a hash of a file, read once for each of its versions."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bars = redirect_stderr(StringIO())  # Transformers' progress bars
    try:
        with bars:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.float32
            )
    except (ValueError, KeyError, IndexError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"{file}: Transformers cannot read this GGUF file: {one_line(str(error))}; "
            "name the folder that it was made from instead"
        ) from error
    # The weights are plain numbers now; with these two the model would refuse to be saved.
    del model.config.quantization_config
    vars(model)["hf_quantizer"] = None
    with bars:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

"""A GGUF file as a model: converted once, with the numbers of the model it was made from."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from orcinus.core.errors import ConfigError
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.local.gguf_writer import can_write, write_llama

pytest.importorskip("gguf")


def test_a_gguf_file_is_the_model_it_was_made_from(
    tiny_student: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert can_write(tiny_student)
    write_llama(tiny_student, tmp_path / "tiny.gguf")
    capfd.readouterr()
    config = LocalConfig(path="tiny.gguf").at(tmp_path)
    assert config.path == str(tmp_path / "tiny.gguf.model")
    original, found = [
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        for path in (tiny_student, config.path)
    ]
    tokens = torch.arange(3, 20)[None]
    assert capfd.readouterr().err == "", "Transformers shows no bars of its own"
    with torch.no_grad():
        torch.testing.assert_close(found(tokens).logits, original(tokens).logits)
    made = (tmp_path / "tiny.gguf.model" / "model.safetensors").stat().st_mtime_ns
    assert local_identity(LocalConfig(path="tiny.gguf"), tmp_path).startswith("folder:")
    assert (tmp_path / "tiny.gguf.model" / "model.safetensors").stat().st_mtime_ns == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.gguf", "tiny.gguf.model"]


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ConfigError, match=r"broken\.gguf: .*cannot") as caught:
        LocalConfig(path="broken.gguf").at(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


def test_a_file_that_is_missing_is_no_name_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.gguf: there is no such file"):
        LocalConfig(path="nothing.gguf").at(tmp_path)

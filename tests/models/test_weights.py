"""A checkpoint is read whole, with its adapter, or refused in one line that names the cause."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from orcinus.core.errors import ConfigError
from orcinus.models.local.config import LocalConfig, model_folder
from orcinus.models.local.weights import read_model


def read(folder: Path, **settings: Any) -> Any:
    return read_model(LocalConfig(path=str(folder), **settings), torch.float32)[1]


def rename_tensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = {f"base_model.{name}": value for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def drop_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def leave_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(pointer)


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def need_code(folder: Path) -> None:
    (folder / "own.py").write_text("")
    auto = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    change_config(model_type="own", auto_map=auto)(folder)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (rename_tensors, r"no weights for 12 tensors \(.*\); they would be random numbers"),
        (drop_tensor, r"no weights for 1 tensors \(model.layers.0.mlp.up_proj.weight\)"),
        (cut_short, "its weights are cut short or damaged"),
        (leave_pointer, "model.safetensors is a git-lfs pointer.*run `git lfs pull`"),
        (change_config(hidden_size=48), "cannot be loaded as a causal language model"),
        (change_config(model_type="unheard_of"), "cannot be loaded .*unheard_of"),
        (change_config(quantization_config={"quant_method": "awq", "bits": 4}), "cannot be loaded"),
        (need_code, "cannot be loaded .*code"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot be loaded as"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    ],
)
def test_a_broken_checkpoint_is_one_line(
    tiny_student: Path, tmp_path: Path, break_it: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_student, folder)
    break_it(folder)
    with pytest.raises(ConfigError, match=words) as raised:
        read(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("done", ["stage-1", "."])
def test_a_broken_student_of_a_run_says_which_step_to_run_again(
    done: str, tiny_student: Path, tmp_path: Path
) -> None:
    step = tmp_path / "train-3f2a91c0"
    shutil.copytree(tiny_student, step / "stage-1")
    (step / done / "_done").touch()
    cut_short(step / "stage-1")
    with pytest.raises(ConfigError, match=rf"delete {step} and run the recipe again$"):
        read(step / "stage-1")
    (tmp_path / "student").symlink_to(step / "stage-1")
    with pytest.raises(ConfigError, match=rf"delete {step} and run the recipe again$"):
        read(tmp_path / "student")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ({"do_sample": False, "temperature": 0.9, "top_p": 0.6}, {}),
        ({"num_return_sequences": 3}, {}),
        ({"max_new_tokens": "many"}, {}),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.1},
            {"do_sample": True, "temperature": 0.6, "top_k": 20},
        ),
        ({"forced_bos_token_id": 5, "max_length": 20, "bad_words_ids": [[7]], "num_beams": 4}, {}),
    ],
)
def test_a_student_keeps_its_end_tokens_and_how_it_is_drawn_and_can_be_saved(
    written: dict[str, Any], kept: dict[str, Any], tiny_student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_student, folder)
    tokens = {"eos_token_id": [2, 3], "bos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(tokens | written))
    model = read(folder)
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    del saved["transformers_version"]
    assert saved == tokens | kept


@pytest.mark.parametrize("content", ["{no json", "[]", None])
def test_without_generation_settings_the_tokens_are_those_of_the_configuration(
    content: str | None, tiny_student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_student, folder)
    path = folder / "generation_config.json"
    path.unlink() if content is None else path.write_text(content)
    change_config(eos_token_id=[2, 5])(folder)
    assert read(folder).generation_config.eos_token_id == [2, 5]


def save_adapter(base: Path, folder: Path) -> None:
    """Save an adapter that changes what the model says."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, settings).save_pretrained(str(folder))


def test_an_adapter_that_does_not_fit_is_one_line(tiny_student: Path, tmp_path: Path) -> None:
    save_adapter(tiny_student, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: value[:, :1].clone() for name, value in load_file(path).items()}, path)
    with pytest.raises(ConfigError, match="the adapter does not fit its model") as raised:
        read(tiny_student, adapter=str(tmp_path / "adapter"))
    assert "\n" not in str(raised.value)


def test_the_folder_of_an_adapter_names_the_key_that_it_belongs_to(
    tiny_student: Path, tmp_path: Path
) -> None:
    save_adapter(tiny_student, tmp_path / "adapter")
    with pytest.raises(ConfigError, match="name its base as path: and this folder as adapter:"):
        model_folder("adapter", tmp_path)


def test_a_name_that_is_no_folder_is_said_to_have_been_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orcinus.models.local.weights import _not_loadable

    monkeypatch.chdir(tmp_path)
    assert "SmolLM2 is no folder or file here, so it was looked up on the Hugging" in str(
        _not_loadable(Path("SmolLM2"), OSError("We couldn't connect"))
    )
    (tmp_path / "SmolLM2").mkdir()
    assert "looked up" not in str(_not_loadable(Path("SmolLM2"), OSError("broken")))

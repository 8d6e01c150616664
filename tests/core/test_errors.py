"""What an error tells its reader to do."""

import importlib.metadata
import json
from typing import Any

import pytest

from orcinus.core.errors import MissingExtraError

CLONE = {"url": "file:///home/me/my%20work/orcinus", "dir_info": {"editable": True}}


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (CLONE, "pip install -e '/home/me/my work/orcinus[view]'"),
        ({**CLONE, "dir_info": {}}, "pip install '/home/me/my work/orcinus[view]'"),
        ({"url": "https://x.org/orcinus.whl", "archive_info": {}}, "pip install 'orcinus[view]'"),
        (None, "pip install 'orcinus[view]'"),
    ],
)
def test_the_command_for_an_extra_names_the_clone(
    monkeypatch: pytest.MonkeyPatch, origin: Any, command: str
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed())
    assert str(MissingExtraError("a page", "view")) == f"a page needs more packages: {command}"

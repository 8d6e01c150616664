"""What every configuration section has in common."""

import pytest

from orcinus.core.config import Config, field_docs


class Base(Config):
    """A section."""

    size: int = 3
    """Number of rows,
    at most."""
    silent: bool = False


class Section(Base):
    """A section with one more key."""

    size: int = 4
    """Number of rows."""
    name: str = "a"
    """Its name."""


def test_the_strings_under_fields_are_their_documentation() -> None:
    assert field_docs(Base) == {"size": "Number of rows,\nat most."}
    assert field_docs(Section) == {"size": "Number of rows.", "name": "Its name."}


def test_a_class_whose_source_cannot_be_read_by_itself_has_no_documentation() -> None:
    class Odd(Config):
        size: int = 3
        """Number of rows,
at most."""

    assert field_docs(Odd) == {}
    assert Odd.model_json_schema()["properties"]["size"]["default"] == 3


def test_a_json_schema_has_the_documentation() -> None:
    properties = Section.model_json_schema()["properties"]
    found = {name: entry.get("description") for name, entry in properties.items()}
    assert found == {"size": "Number of rows.", "silent": None, "name": "Its name."}


def test_no_source_is_read_until_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the sources of all sections took a tenth of the time to start."""
    asked = []
    for module in ("inspect.getblock", "inspect.findsource"):
        monkeypatch.setattr(module, lambda *_: asked.append(1))

    class Late(Config):
        """A section."""

        size: int = 3
        """Number of rows."""

    assert Late().size == 3
    assert not asked


def test_a_section_without_a_source_has_no_documentation() -> None:
    made = type("Made", (Config,), {"__module__": "nowhere"})
    assert field_docs(made) == {}

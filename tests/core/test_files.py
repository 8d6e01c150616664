"""Files and folders that are replaced as a whole."""

from pathlib import Path

import pytest

from orcinus.core.files import link_folder


def made(folder: Path, content: str) -> Path:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text(content, encoding="utf-8")
    return folder


def test_a_link_follows_its_latest_target(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for name in ("a", "b", "b"):
        if not (tmp_path / name).exists():
            made(tmp_path / name, name)
        link_folder(link, tmp_path / name)
        assert link.readlink() == Path(name)
        assert (link / "inner" / "file").read_text(encoding="utf-8") == name


def test_where_links_are_not_possible_the_folder_is_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path, target_is_directory: bool = False) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    link, target = tmp_path / "latest", made(tmp_path / "a", "a")
    link_folder(link, target)
    assert not link.is_symlink()
    assert (link / "inner" / "file").read_text(encoding="utf-8") == "a"
    inode = (link / "inner" / "file").stat().st_ino
    link_folder(link, target)
    assert (link / "inner" / "file").stat().st_ino == inode
    (target / "more").write_text("", encoding="utf-8")
    link_folder(link, target)
    assert (link / "more").exists()
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []

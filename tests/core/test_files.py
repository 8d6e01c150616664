"""Files and folders that are replaced as a whole."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from orcinus.core.errors import StoreError
from orcinus.core.files import (
    is_whole,
    link_folder,
    replacing,
    seal_folder,
    why_unwritable,
    write_atomically,
)


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


def test_a_sealed_folder_is_whole_until_a_file_is_cut_or_gone(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", "content")
    assert not is_whole(folder)
    seal_folder(folder)
    (folder / "more").write_text("added later", encoding="utf-8")
    assert is_whole(folder)
    (folder / "inner" / "file").write_text("conte", encoding="utf-8")
    assert not is_whole(folder)
    seal_folder(folder)
    assert is_whole(folder), "sealed a second time"
    (folder / "inner" / "file").unlink()
    assert not is_whole(folder)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (OSError("4096 requested and 1024 written"), "No space left on device"),
        (RuntimeError("I/O error: Permission denied (os error 13)"), "Permission denied"),
        (RuntimeError("PytorchStreamWriter failed writing file x"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (RuntimeError("sizes differ"), None),
        (RuntimeError("the server said: Permission denied"), None),
    ],
)
def test_every_library_says_in_its_own_way_that_a_file_cannot_be_written(
    error: Exception, why: str | None
) -> None:
    assert why_unwritable(error) == why


def test_a_full_disk_is_told_by_numpy_without_a_number() -> None:
    with pytest.raises(OSError, match="requested and") as full, open("/dev/full", "wb") as file:
        np.zeros(100_000).tofile(file)
    assert full.value.errno is None
    assert why_unwritable(full.value) == os.strerror(errno.ENOSPC)


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "lessons.jsonl"
    path.write_text("before", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(StoreError, match=r"lessons\.jsonl: cannot be written: File too large"):
            write_atomically(path, b"0123456789" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [found.name for found in tmp_path.iterdir()] == ["lessons.jsonl"]
    assert path.read_text(encoding="utf-8") == "before"


def test_an_error_of_what_a_block_reads_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), replacing(tmp_path / "out"):
        (tmp_path / "absent").read_bytes()
    assert list(tmp_path.iterdir()) == []

"""The number of commits that a ledger had when it was last written, kept beside it.

    ledger.sqlite-mark      9f3c… 00000000000000000412

A ledger with fewer commits than its mark is an old copy that was put back, or has lost its
write-ahead log. The mark is written after a commit and not synced. So it can lag behind the ledger
and never runs ahead of it.
"""

import os
from pathlib import Path


class HighWater:
    """The mark of one ledger."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> tuple[str, int] | None:
        """Return the id of the ledger and its commits; None where no whole mark is written."""
        try:
            ledger, commits = self.path.read_text(encoding="ascii").split()
            return ledger, int(commits)
        except (OSError, ValueError):
            return None

    def write(self, ledger: str, commits: int) -> None:
        """Write the mark. A failure costs nothing but the mark."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o666)
            os.pwrite(self._descriptor, f"{ledger} {commits:020d}\n".encode("ascii"), 0)
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def explain(self, marked: tuple[str, int] | None, ledger: str, commits: int) -> str | None:
        """Return what is wrong with a ledger that has fewer commits than its mark, or None.

        Args:
            marked: The mark, read before the ledger: another process may be writing both.
            ledger: The ledger's id.
            commits: Its commits.
        """
        if marked is None or marked[0] != ledger or marked[1] <= commits:
            return None
        return (
            f"this is an older copy, or its write-ahead log is lost: it has {commits:,} commits "
            f"and had {marked[1]:,}. Put the newer file back, or delete {self.path} to go on "
            "without the calls in between, which are then paid for again"
        )

"""Claims on requests, and signs of life of processes, as locks on the bytes of one file.

    ledger.sqlite-claims     byte = hash of a request's id → locked while its call is in flight
                             byte of a budget's holder     → locked while the budget is open

The kernel releases the locks of a process when it ends, however it ends. So a claim needs no
expiry. The file holds the token of the process that came last.
"""

import errno
import fcntl
import os
import random
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orcinus.core.errors import StoreError

HOLDERS_FROM = 2**60
"""First byte of the budgets' holders. Below it are the requests: 15 hexadecimal digits of an id."""
PRESENT_FROM = 2**61
"""First byte of the ledgers that are open for writing, each with a random byte of its own."""
_RANDOM_BITS = 59
_TOKEN_BYTES = 8
_FLOCK = struct.Struct("@hhqqi4x")
"""``struct flock`` on Linux with 64 bits: type, whence, start, length, process id."""


def byte_of(identity: str) -> int:
    """Return the byte that stands for the request with this id."""
    return int(identity[2:17], 16)


class _LockFile:
    """The file as this process has it open, once, with the bytes that the process has locked.

    Closing any descriptor of the file would release all of the process's locks (POSIX).
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.users = 0
        self.held: set[int] = set()
        self.guard = threading.Lock()


_open_files: dict[tuple[int, int], _LockFile] = {}
"""By device and inode."""
_guard = threading.Lock()


class Claims:
    """The locks of one ledger."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, or create it."""
        with _guard:
            try:
                status = os.stat(path)
            except FileNotFoundError:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o666))
                status = os.stat(path)
            key = (status.st_dev, status.st_ino)
            if key not in _open_files:
                _open_files[key] = _LockFile(path, os.open(path, os.O_RDWR))
            self._key, self._file = key, _open_files[key]
            self._file.users += 1
        self._mine: set[int] = set()
        self._token = os.urandom(_TOKEN_BYTES)
        self._is_first = self._arrive()

    def _arrive(self) -> bool:
        """Show the other processes that this one is here; return True if there is none yet."""
        own = PRESENT_FROM + random.getrandbits(_RANDOM_BITS)
        self.take(own)
        # In this order, two processes that arrive together cannot both miss the other one.
        os.pwrite(self._file.descriptor, self._token, 0)
        below = self._is_free(PRESENT_FROM, own)
        above = self._is_free(own + 1, PRESENT_FROM + 2**_RANDOM_BITS)
        return below and above and self._file.users == 1

    def _is_free(self, start: int, end: int) -> bool:
        """Return True if no other process has locked a byte from ``start`` up to ``end``."""
        if start == end:
            return True
        with self._file.guard:
            free = self._lock(start, end - start)
            if free:
                fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN, end - start, start)
            return free

    @property
    def is_alone(self) -> bool:
        """True if no other process has had the ledger open for writing since it was opened here."""
        return self._is_first and os.pread(self._file.descriptor, _TOKEN_BYTES, 0) == self._token

    def close(self) -> None:
        """Release all locks, and close the file unless another ledger of this process uses it."""
        for byte in tuple(self._mine):
            self.release(byte)
        with _guard:
            self._file.users -= 1
            if self._file.users == 0:
                del _open_files[self._key]
                os.close(self._file.descriptor)

    def take(self, byte: int) -> bool:
        """Lock a byte; return False if this process or another one has it."""
        with self._file.guard:
            if byte in self._file.held or not self._lock(byte):
                return False
            self._file.held.add(byte)
            self._mine.add(byte)
            return True

    def release(self, byte: int) -> None:
        """Unlock a byte, if this ledger has locked it."""
        with self._file.guard:
            if byte not in self._mine:
                return
            self._mine.discard(byte)
            self._file.held.discard(byte)
            fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN, 1, byte)

    @contextmanager
    def taken_if_free(self, byte: int) -> Iterator[bool]:
        """Lock a byte for the block if it is free, and yield whether it was."""
        taken = self.take(byte)
        try:
            yield taken
        finally:
            if taken:
                self.release(byte)

    def owner(self, byte: int) -> int | None:
        """Return the id of the other process that has locked a byte, where the system tells it."""
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, pid = _FLOCK.unpack(
                fcntl.fcntl(self._file.descriptor, fcntl.F_GETLK, asked)
            )
        except (OSError, struct.error):
            return None
        return pid if kind != fcntl.F_UNLCK and pid > 0 else None

    def _lock(self, byte: int, length: int = 1) -> bool:
        try:
            fcntl.lockf(self._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, byte)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise StoreError(
                f"{self._file.path}: this file system cannot lock files ({error.strerror}); "
                "put the ledger on a local disk with --ledger PATH"
            ) from error
        return True

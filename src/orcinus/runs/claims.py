"""Claims on requests, and signs of life of processes, in one file beside the ledger.

    ledger.sqlite-claims     byte = hash of a request's id → locked while its call is in flight
                             byte of a budget's holder     → locked while the budget is open
                             byte of an open ledger        → locked while it is open
    its content              token of the ledger that was opened last, then a table of claims

The kernel releases the locks of a process when it ends, however it ends. So a claim needs no
expiry. A lock takes 20 µs, so a process that is alone writes its claims into the table instead,
in memory that processes share. One that comes later takes locks, and respects the table too.
"""

import errno
import fcntl
import mmap
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
_TOKENS = 2**59
"""Ledgers are told from each other by a random number below this."""
_SLOT_BYTES = 8
"""Bytes of the token, and of each slot of the table."""
_SLOTS = 2**17
"""A request's hash gives its slot. Requests of two processes that share one wait for each other."""
_FREE = 0
_FLOCK = struct.Struct("@hhqqi4x")
"""``struct flock`` on Linux with 64 bits: type, whence, start, length, process id."""


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
        try:
            self._open_table()
        except BaseException:
            self._leave_file()
            raise

    def _open_table(self) -> None:
        self._own = random.randrange(1, _TOKENS)
        size = _SLOT_BYTES * (1 + _SLOTS)
        self._allocate(size)
        self._memory = mmap.mmap(self._file.descriptor, size)
        # The token of the ledger that was opened last, and the slots.
        self._table = memoryview(self._memory).cast("Q")
        self._in_table: dict[int, int] = {}
        """Claims of this ledger by slot."""
        self._claimed: dict[str, int | None] = {}
        """The slot of each claim; None for one that is a lock."""
        self._is_first = self._arrive()

    def _allocate(self, size: int) -> None:
        """Give the file its blocks on disk: a write to a missing one would kill the process."""
        descriptor = self._file.descriptor
        old = os.fstat(descriptor).st_size
        if old >= size:
            return
        try:
            try:
                os.posix_fallocate(descriptor, old, size - old)
            except (AttributeError, OSError) as error:  # macOS has no such function
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise
                while old < size:
                    old += os.pwrite(descriptor, bytes(size - old), old)
        except OSError as error:
            raise StoreError(
                f"{self._file.path}: cannot be written: {error.strerror}; it needs "
                f"{size / 2**20:.0f} MiB, so free some space and run again"
            ) from error

    def _arrive(self) -> bool:
        """Show the other processes that this one is here; return True if there is none yet."""
        own = _presence(self._own)
        self.take(own)
        # In this order, two processes that arrive together cannot both miss the other one.
        self._table[0] = self._own
        below = self._is_free(PRESENT_FROM, own)
        above = self._is_free(own + 1, PRESENT_FROM + _TOKENS)
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
        return self._is_first and self._table[0] == self._own

    def claim(self, identity: str) -> bool:
        """Claim a request; return False if a call for it is in flight, here or elsewhere."""
        if identity in self._claimed:
            return False
        byte = int(identity[2:17], 16)
        slot = 1 + byte % _SLOTS
        if self._is_first:
            table, own = self._table, self._own
            before = table[slot]
            if before in (_FREE, own):
                table[slot] = own
                if table[0] == own:  # looked at after writing: who comes later sees the slot
                    self._in_table[slot] = self._in_table.get(slot, 0) + 1
                    self._claimed[identity] = slot
                    return True
                table[slot] = before
        if not self.take(byte):
            return False
        if self._is_in_use(slot):
            self.release(byte)
            return False
        self._claimed[identity] = None
        return True

    def unclaim(self, identity: str) -> None:
        """Give up a claim."""
        if identity not in self._claimed:
            return
        slot = self._claimed.pop(identity)
        if slot is None:
            self.release(int(identity[2:17], 16))
            return
        left = self._in_table.pop(slot) - 1
        if left:
            self._in_table[slot] = left
        else:
            self._table[slot] = _FREE

    def claimant(self, identity: str) -> int | None:
        """Return the id of the other process that has claimed a request, if that is known."""
        byte = int(identity[2:17], 16)
        owner = self._table[1 + byte % _SLOTS]
        return self.owner(byte) or (self.owner(_presence(owner)) if owner else None)

    def _is_in_use(self, slot: int) -> bool:
        """Return True if the ledger that has written itself into a slot is open elsewhere."""
        content = self._table[slot]
        if content in (_FREE, self._own):
            return False
        with self.taken_if_free(_presence(content)) as ended:
            if ended:
                self._table[slot] = _FREE
            return not ended

    def close(self) -> None:
        """Release all locks, and close the file unless another ledger of this process uses it."""
        for identity in tuple(self._claimed):
            self.unclaim(identity)
        self._table.release()
        self._memory.close()
        self._leave_file()

    def _leave_file(self) -> None:
        """Release the locks, and close the file unless another ledger of this process uses it."""
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


def _presence(token: int) -> int:
    """Return the byte that the ledger of a token locks; some byte for a damaged token."""
    return PRESENT_FROM + token % _TOKENS

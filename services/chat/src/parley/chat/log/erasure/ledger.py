"""The ledger of erasures: a file outside of the database and of its backups, so that a restore forgets no erasure.

Each line is a JSON object that says what was requested to be erased and when: a user, a message or a room, and never
what they wrote. A line is on the disk before its erasure is executed. Several processes may write to one file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.erasure import Erasure, ErasureScope


class LedgerError(Exception):
    """The ledger cannot be read or written. The text says where and why."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the ledger."""

    id: UUID
    scope: ErasureScope
    at: datetime
    user: str | None = None
    room: str | None = None
    event: UUID | None = None


class Ledger:
    """The ledger's file. It is created with the first entry; its directory has to exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Erasure]:
        """Return all entries, the oldest first. Raises `LedgerError`."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            # A missing directory is a volume that is not mounted, which says nothing about what was erased.
            if not self.path.parent.is_dir():
                raise LedgerError(f"the erasure ledger's directory {self.path.parent} does not exist") from None
            return []
        except OSError as error:
            raise LedgerError(f"cannot read the erasure ledger {self.path}: {error.strerror}") from error
        # What follows the last line end is a line whose writer died. Nothing was executed because of it.
        return [self._erasure(number, line) for number, line in enumerate(data.split(b"\n")[:-1], 1)]

    def changed(self) -> tuple[int, int]:
        """Return a value that is another one whenever the file has changed."""
        try:
            status = self.path.stat()
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def append(self, erasures: list[Erasure]) -> None:
        """Write erasures down. They are on the disk when this returns. Raises `LedgerError`."""
        lines = b"".join(_line(one) for one in erasures)
        try:
            with self._locked() as file:
                _cut_torn_line(file)
                _write(file, lines)
                os.fsync(file)
            # A new file is only on the disk once its directory is, too (fsync(2)).
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise LedgerError(f"cannot write the erasure ledger {self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Generator[int]:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _erasure(self, number: int, line: bytes) -> Erasure:
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.DecodeError as error:
            raise LedgerError(f"line {number} of the erasure ledger {self.path} cannot be read: {error}") from error
        room_id = None if entry.room is None else room_key(entry.room)
        return Erasure(entry.id, entry.scope, entry.user, room_id, entry.event, None, entry.at, noted=True)


def _line(one: Erasure) -> bytes:
    room = None if one.room_id is None else public_room_id(one.room_id)
    entry = Entry(one.id, one.scope, one.requested_at, one.user_id, room, one.event_id)
    return msgspec.json.encode(entry) + b"\n"


def _cut_torn_line(file: int) -> None:
    size = os.fstat(file).st_size
    end = os.pread(file, min(size, 4096), max(0, size - 4096))
    # A writer died within a line. The new entries must not become its continuation.
    if not end.endswith(b"\n"):
        os.ftruncate(file, size - len(end) + end.rfind(b"\n") + 1)


def _write(file: int, data: bytes) -> None:
    # A disk that is full writes a part of it, and fails on the next call.
    while data:
        data = data[os.write(file, data) :]

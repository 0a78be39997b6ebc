"""The directory that keeps the state of the one-command stack between runs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fasteners import InterProcessLock

from parley.cli.failure import CommandFailure


class DataDirectory:
    """The data of Postgres and NATS and the admin's password. One process has it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.nats = path / "nats"
        self.admin_password = path / "admin-password"
        self.nats_url = path / "nats-url"
        """Where NATS is while it runs, for scripts of this user."""
        self.erasures = path / "erasures.jsonl"
        """The erasure ledger, which must never be put back to an earlier state."""
        self.uploads = path / "uploads"
        """Where files of messages are kept."""
        self.services = path / "services"
        """Which processes of the project's services run."""

    @contextmanager
    def hold(self) -> Generator[None]:
        """Create the directory if needed, and keep other processes out. Raises `CommandFailure` if one has it.

        The system frees the lock with its process, however that ends.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                # It contains secrets and a database, so git must ignore it, whatever the project ignores.
                (self.path / ".gitignore").write_text("*\n")
            lock = InterProcessLock(self.path / "lock")
            # A lock of the system instead of a pid file: it ends with the process, even if that is killed.
            acquired = lock.acquire(blocking=False)
        except OSError as error:
            raise CommandFailure(f"cannot keep state in {self.path}: {error.strerror}") from error
        if not acquired:
            raise CommandFailure(f"another parley runs on {self.path}; stop it, or give this one its own with --data")
        try:
            yield
        finally:
            self.nats_url.unlink(missing_ok=True)
            lock.release()

    def read_or_make_password(self) -> tuple[str, bool]:
        """Return the admin's password, and whether it was made just now. Only this user can read its file."""
        try:
            return self.admin_password.read_text().strip(), False
        except FileNotFoundError:
            password = secrets.token_urlsafe(15)
        self._write_secret(self.admin_password, password)
        return password, True

    def write_nats_url(self, url: str) -> None:
        """Tell this user's scripts where NATS is. The URL contains the token."""
        self._write_secret(self.nats_url, url)

    @staticmethod
    def _write_secret(path: Path, secret: str) -> None:
        """Write a file whole or not at all, so that an interrupted write leaves no empty file."""
        partial = path.with_suffix(".partial")
        # Whatever a crash has left; O_EXCL then refuses what somebody else has put there meanwhile.
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        partial.rename(path)

"""The secrets of an installation as files: a directory for each process, which sees its own and no other's."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from parley.cli.stack.nats_users import HEADER, render, users_of

PROCESSES = ("auth", "chat", "gateway", "migrate", "nats", "postgres")
SERVICES = "services"
"""The directory that the project's own services share, each with a directory in it."""
NATS_PASSWORD = "nats-password"
SERVER = """\
port: 4222
# Nobody but the health check, in the same container, asks here.
http: "127.0.0.1:8222"
"""


def make_secrets(directory: Path, namespaces_file: Path | None, owner: int | None = None) -> list[str]:
    """Make what is missing, and write the NATS server's configuration anew. Returns the names of what was made.

    A password that two processes need stands in the directories of both. What the environment says goes before what
    was made. With `owner`, everything belongs to that user id.
    """
    users = users_of(namespaces_file)
    made: list[str] = []

    def secret(*places: str, given: str = "") -> str:
        """The password in these files, made unless one of them has it."""
        files = [directory / place for place in places]
        kept = next((file.read_text("utf-8").strip() for file in files if file.exists()), "")
        # What is there is never replaced by itself: the database knows the old one.
        password = given or kept or secrets.token_urlsafe(24)
        for file in files:
            # A file that is right is left alone, so that its time says when the secret was made.
            if not file.exists() or file.read_text("utf-8").strip() != password:
                _write(file, password + "\n", owner)
                made.append(str(file.relative_to(directory)))
        return password

    # Whoever migrates owns the database; services are told a role each.
    secret("postgres/password", "migrate/database-password", given=os.environ.get("POSTGRES_PASSWORD", ""))
    for service in ("auth", "chat"):
        secret(f"{service}/database-password", f"migrate/{service}-database-password")
    secret("auth/admin-password", given=os.environ.get("PARLEY_AUTH_ADMIN_PASSWORD", ""))
    passwords = {
        user: secret(f"{user if user in PROCESSES else f'{SERVICES}/{user}'}/{NATS_PASSWORD}") for user in users
    }
    _write(directory / "nats" / "nats.conf", HEADER + SERVER + render(users, passwords), owner)
    return made


def _write(file: Path, text: str, owner: int | None) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    for parent in reversed(file.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700)
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8") as opened:
        opened.write(text)
    if owner is not None:
        os.chown(partial, owner, owner)
        os.chown(file.parent, owner, owner)
        file.parent.chmod(0o700)
    partial.rename(file)

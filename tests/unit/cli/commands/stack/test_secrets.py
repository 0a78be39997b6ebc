"""`parley secrets`: made once, each where its process sees it, and the NATS server's users with them."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parley.cli.main import app
from tests.support.paths import ROOT

NAMESPACES = """
[namespaces."/chat"]
service = "chat"

[namespaces."/poll"]
service = "poll"
packet_middleware = ["nowhere.to:find"]
"""


def run(directory: Path, namespaces: Path) -> dict[str, str]:
    """Make secrets, and return all files with their contents."""
    result = CliRunner().invoke(app, ["secrets", str(directory), "--namespaces", str(namespaces)])
    assert result.exit_code == 0, result.output
    return {str(file.relative_to(directory)): file.read_text() for file in directory.rglob("*") if file.is_file()}


def test_secrets_are_made_once_and_each_stands_where_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "namespaces.toml").write_text(NAMESPACES)
    made = run(tmp_path / "s", tmp_path / "namespaces.toml")
    assert made == run(tmp_path / "s", tmp_path / "namespaces.toml")
    assert made["postgres/password"] == made["migrate/database-password"]
    assert made["auth/database-password"] == made["migrate/auth-database-password"]
    assert made["chat/database-password"] == made["migrate/chat-database-password"]
    users = dict(re.findall(r'user: "([^"]+)", password: "([^"]+)"', made["nats/nats.conf"]))
    assert users == {
        user: made[f"{user}/nats-password" if user != "poll" else "services/poll/nats-password"].strip()
        for user in ("gateway", "auth", "chat", "poll")
    }
    alone = [made[name] for name in made if not name.startswith(("migrate/", "nats/"))]
    assert len(set(alone)) == len(alone)
    assert all(len(secret.strip()) >= 32 for secret in alone)
    for file in (tmp_path / "s").rglob("*"):
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file


def test_what_the_environment_says_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "of my own")
    monkeypatch.setenv("PARLEY_AUTH_ADMIN_PASSWORD", "of the admin")
    made = run(tmp_path, ROOT / "deploy/namespaces.toml")
    assert made["postgres/password"] == made["migrate/database-password"] == "of my own\n"
    assert made["auth/admin-password"] == "of the admin\n"


def test_the_configuration_in_the_repository_is_what_the_table_says() -> None:
    result = CliRunner().invoke(app, ["nats-config", "--namespaces", str(ROOT / "deploy/namespaces.toml")])
    assert result.output == (ROOT / "deploy/nats/users.conf").read_text()

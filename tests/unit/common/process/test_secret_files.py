"""Secrets from files: which settings, what is wrong with a file, and that nothing of it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.auth.settings import AuthSettings
from parley.chat.settings import ChatSettings
from parley.common.process.settings import (
    SecretFile,
    ServiceSettings,
    misspelt_settings,
    with_password,
    without_password,
)
from parley.gateway.settings import GatewaySettings


@pytest.mark.parametrize("kind", [AuthSettings, ChatSettings, GatewaySettings])
def test_every_secret_may_stand_in_a_file(
    kind: type[ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = [name for name, field in kind.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert set(declared) <= set(kind.secrets())
    assert "nats_url" in kind.secrets()
    for name in kind.secrets():
        file = tmp_path / name
        file.write_text(f"the secret of {name}, long enough for all\n")
        monkeypatch.setenv(f"PARLEY_{name.upper()}_FILE", str(file))
    settings = kind()
    for name in kind.secrets():
        found = getattr(settings, name)
        assert (found if isinstance(found, str) else found.get_secret_value()) == (
            f"the secret of {name}, long enough for all"
        )
    assert misspelt_settings(kind) == {}


def test_a_file_that_is_not_there_or_empty_or_no_text_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    monkeypatch.setenv("PARLEY_NATS_PASSWORD_FILE", str(file))
    with pytest.raises(SecretFile, match=r"PARLEY_NATS_PASSWORD_FILE: cannot read .*password: No such file"):
        ServiceSettings()
    for content, why in ((b"\n", "is empty"), (b"\xff\xfe", "is no text"), (b"x" * 70_000, "is larger than")):
        file.write_bytes(content)
        with pytest.raises(SecretFile, match=why):
            ServiceSettings()


def test_a_secret_and_its_file_are_not_both_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2")
    monkeypatch.setenv("PARLEY_NATS_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("PARLEY_NATS_PASSWORD", "hunter3")
    with pytest.raises(SecretFile, match="are both set") as error:
        ServiceSettings()
    assert "hunter" not in str(error.value)
    # As Compose passes on what is not set.
    monkeypatch.setenv("PARLEY_NATS_PASSWORD", "")
    assert ServiceSettings().nats_password.get_secret_value() == "hunter2"


def test_a_url_is_logged_without_what_is_secret_in_it() -> None:
    for url, shown in (
        ("nats://ann:se/cr@et@one:4222,nats://tok@two:4222", "nats://one:4222,nats://two:4222"),
        ("nats://one:4222", "nats://one:4222"),
    ):
        assert without_password(url) == shown


def test_a_password_goes_into_a_databases_url_unless_there_is_one() -> None:
    assert with_password("postgresql://ann@db/x?sslmode=require", "p@ss/") == (
        "postgresql://ann:p%40ss%2F@db/x?sslmode=require"
    )
    assert with_password("postgresql://ann:mine@db/x", "other") == "postgresql://ann:mine@db/x"
    assert with_password("postgresql:///x?host=/run", "") == "postgresql:///x?host=/run"


def test_the_user_that_nats_knows_is_the_one_with_the_password() -> None:
    assert ServiceSettings(nats_url="nats://ann:p%40ss@one,nats://two").nats_account() == ("ann", "p@ss")
    assert ServiceSettings(nats_url="nats://token@one").nats_account() == ("", "")
    assert ServiceSettings(nats_user="ben", nats_password="x").nats_account() == ("ben", "x")  # pyright: ignore[reportArgumentType]

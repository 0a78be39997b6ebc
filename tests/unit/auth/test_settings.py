"""Settings that would be unsafe are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from parley.auth.app import create_app
from parley.auth.http.endpoints import Credentials
from parley.auth.settings import Settings
from parley.cli.failure import CommandFailure
from parley.cli.stack.stack import _log_settings
from parley.common.errors import Reject
from parley.common.http.json_input import fields_as
from parley.common.process.settings import UnsafeSettings, name_refused


@pytest.mark.parametrize("password", ["", "parley-admin"])
def test_production_needs_an_administrators_password_of_its_own(password: str) -> None:
    with pytest.raises(UnsafeSettings, match="ADMIN_PASSWORD"):
        create_app(Settings(environment="production", auth_admin_password=SecretStr(password)))
    create_app(Settings(environment="production", auth_admin_password=SecretStr("a password of my own")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth_hs256_secret": "x" * 31},
        {"auth_jwks_url": "file:///etc/passwd"},
        {"auth_login_rate_username": "often"},
        {"auth_login_rate_username": "0/minute"},
        {"auth_admin_username": "a"},
    ],
    ids=str,
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_refused_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValidationError) as error:
        Settings(auth_hs256_secret=SecretStr("hunter2"))
    assert "hunter2" not in str(error.value)


def test_what_is_refused_is_named_as_the_environment_names_it_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOG_LEVEL": "loud", "PORT": "x", "AUTH_HS256_SECRET": "hunter2"}.items():
        monkeypatch.setenv(f"PARLEY_{name}", value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert name_refused(error.value).splitlines() == [
        "PARLEY_PORT: Input should be a valid integer, unable to parse string as an integer",
        "PARLEY_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'",
        "PARLEY_AUTH_HS256_SECRET: an HS256 secret has at least 32 bytes",
    ]
    with pytest.raises(CommandFailure, match="PARLEY_LOG_LEVEL"):
        _log_settings()


@pytest.mark.parametrize("username", ["ab", "x" * 33, "with space", "émile", "a\x00bc", "abc\n", "<b>", ""])
def test_usernames_outside_the_rules_are_refused(username: str) -> None:
    with pytest.raises(Reject):
        fields_as({"username": username, "password": "long enough"}, Credentials)


@pytest.mark.parametrize("username", ["bob", "x" * 32, "Bob_the.builder-2"])
def test_usernames_within_the_rules_are_accepted(username: str) -> None:
    assert fields_as({"username": username, "password": "long enough"}, Credentials).username == username


@pytest.mark.parametrize("password", ["short12", "x" * 257])
def test_passwords_too_short_or_too_long_are_refused(password: str) -> None:
    with pytest.raises(Reject):
        fields_as({"username": "alice", "password": password}, Credentials)

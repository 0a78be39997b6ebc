"""Settings that would be unsafe are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from parley.auth.app import create_app
from parley.auth.http.endpoints import Credentials
from parley.auth.settings import AuthSettings
from parley.cli.failure import CommandFailure
from parley.cli.stack.stack import _log_settings
from parley.common.errors import Reject
from parley.common.http.json_input import fields_as
from parley.common.process.settings import UnsafeSettings, name_refused

NATS: dict[str, Any] = {"nats_password": "of the broker"}


@pytest.mark.parametrize("password", ["", "parley-admin"])
def test_production_needs_an_administrators_password_of_its_own(password: str) -> None:
    with pytest.raises(UnsafeSettings, match="ADMIN_PASSWORD"):
        create_app(AuthSettings(environment="production", auth_admin_password=SecretStr(password), **NATS))
    create_app(AuthSettings(environment="production", auth_admin_password=SecretStr("a password of my own"), **NATS))


def test_production_needs_a_user_of_nats() -> None:
    password = SecretStr("a password of my own")
    with pytest.raises(UnsafeSettings, match="PARLEY_NATS_PASSWORD is not set"):
        create_app(AuthSettings(environment="production", auth_admin_password=password))
    others: tuple[dict[str, Any], ...] = (NATS, {"nats_url": "nats://auth:x@nats:4222"})
    for given in others:
        create_app(AuthSettings(environment="production", auth_admin_password=password, **given))


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
        AuthSettings(**wrong)


def test_refused_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValidationError) as error:
        AuthSettings(auth_hs256_secret=SecretStr("hunter2"))
    assert "hunter2" not in str(error.value)


def test_what_is_refused_is_named_as_the_environment_names_it_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOG_LEVEL": "loud", "PORT": "x", "AUTH_HS256_SECRET": "hunter2"}.items():
        monkeypatch.setenv(f"PARLEY_{name}", value)
    with pytest.raises(ValidationError) as error:
        AuthSettings()
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth_smtp_host": "mail.example.com"},
        {"auth_mail_from": "Parley <parley@example.com>"},
        {"auth_mail_from": "parley@example.com\nBcc: eve@example.com"},
        {"auth_smtp_tls": "maybe"},
        {"auth_passkey_rp_id": "example.com", "auth_passkey_origins": ["https://example.com.evil.example"]},
        {"auth_passkey_rp_id": "example.com", "auth_public_url": "https://notexample.com"},
        {"auth_passkey_origins": ["https://example.com/path"]},
    ],
    ids=str,
)
def test_settings_of_mail_and_passkeys_that_do_not_fit_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AuthSettings(**wrong)


def test_passkeys_are_for_the_public_address_and_in_development_for_localhost() -> None:
    production: dict[str, Any] = {"environment": "production"}
    assert AuthSettings().passkey_rp_id == "localhost"
    assert AuthSettings(**production).passkey_rp_id == ""
    public = AuthSettings(auth_public_url="https://chat.example.com", **production)
    assert (public.passkey_rp_id, public.passkey_origins) == ("chat.example.com", ["https://chat.example.com"])
    wide = AuthSettings(auth_public_url="https://chat.example.com", auth_passkey_rp_id="example.com")
    assert wide.passkey_rp_id == "example.com"
    # Browsers have none for addresses.
    assert AuthSettings(auth_public_url="http://192.0.2.7:8000").passkey_rp_id == ""


def test_production_sends_no_password_in_the_clear() -> None:
    mail = {"auth_smtp_host": "mail", "auth_mail_from": "parley@example.com", "auth_smtp_tls": "none"}
    safe: dict[str, Any] = {
        "environment": "production",
        "auth_admin_password": SecretStr("a password of my own"),
        **NATS,
    }
    create_app(AuthSettings(**mail, **safe))
    with pytest.raises(UnsafeSettings, match="SMTP_TLS"):
        create_app(AuthSettings(**mail, **safe, auth_smtp_password=SecretStr("of the mail server")))

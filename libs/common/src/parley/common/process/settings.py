"""Settings every service shares, read from `PARLEY_*` environment variables (and a `.env` file when present).

What is secret may stand in a file of its own, which `PARLEY_..._FILE` names: container engines hand secrets over so,
and an environment is easily shown to somebody.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote, unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SIMILAR = 0.9
"""The similarity (`difflib`) from which on a name counts as misspelt: names of different settings are less alike."""


FILE_SUFFIX = "_FILE"
MAX_SECRET = 64 * 1024
"""Bytes of a file that holds a secret."""
_URLS_WITH_PASSWORDS = frozenset({"nats_url", "database_url"})


class UnsafeSettings(ValueError):
    """A default that is only safe in development, such as a known secret, is in use outside of it."""


class SecretFile(ValueError):
    """A file that is to hold a secret cannot be read, or stands beside the secret itself; the text says which."""


def read_secret(path: str, variable: str) -> str:
    """What a file holds, without the line's end. Raises `SecretFile`, which names the variable, never the content."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SecretFile(f"{variable}: cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_SECRET:
        raise SecretFile(f"{variable}: {path} is larger than {MAX_SECRET} bytes")
    try:
        # Editors and `echo` end a file with a line's end, which belongs to no secret.
        secret = data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SecretFile(f"{variable}: {path} is no text") from error
    if not secret:
        raise SecretFile(f"{variable}: {path} is empty")
    return secret


def without_password(url: str) -> str:
    """A URL, or several with commas between them, as it may be logged: without user, password and token."""
    return ",".join(
        f"{scheme}{separator}{rest.rpartition('@')[2]}"
        for scheme, separator, rest in (each.rpartition("://") for each in url.split(","))
    )


def with_password(url: str, password: str) -> str:
    """A database's URL with this password, if there is one and the URL has none of its own."""
    parts = urlsplit(url)
    if not password or parts.password is not None:
        return url
    # From the end: a user's name may hold an `@`, a host may not.
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}{at or '@'}{host}").geturl()


def unsafe_database(url: str) -> list[str]:
    """What of a database's URL is not for production."""
    return ["PARLEY_DATABASE_URL holds the development password"] if "parley:parley@" in url else []


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads what `PARLEY_..._FILE` names, for settings that are secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Read one setting; pydantic asks for this method."""
        _ = field
        return self._read(field_name, {**dotenv_values(".env"), **os.environ}), field_name, False

    def __call__(self) -> dict[str, Any]:
        given = {**dotenv_values(".env"), **os.environ}
        kind = self.settings_cls
        names = kind.secrets() if issubclass(kind, ServiceSettings) else []
        return {name: value for name in names if (value := self._read(name, given)) is not None}

    def _read(self, name: str, given: dict[str, str | None]) -> str | None:
        variable = f"PARLEY_{name}".upper()
        path = given.get(variable + FILE_SUFFIX)
        if not path:
            return None
        # Compose passes on what is not set as an empty value.
        if given.get(variable):
            raise SecretFile(f"{variable} and {variable}{FILE_SUFFIX} are both set; set one of them")
        return read_secret(path, variable + FILE_SUFFIX)


def name_refused(error: ValidationError) -> str:
    """Describe what is wrong with which variable, a line for each. No value is shown, since it may be a secret."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = "_".join(["PARLEY", *(str(part).upper() for part in problem["loc"][:1])])
        lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}" if problem["loc"] else problem["msg"])
    return "\n".join(lines)


def misspelt_settings(*kinds: type[ServiceSettings]) -> dict[str, str]:
    """Return the environment variables whose names are almost those of a setting, each with the setting's name.

    Names that resemble none are left alone: the environment may hold settings of other services and of Compose.
    """
    known = {f"PARLEY_{name}".upper() for kind in kinds for name in kind.model_fields}
    known |= {f"PARLEY_{name}{FILE_SUFFIX}".upper() for kind in kinds for name in kind.secrets()}
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    found: dict[str, str] = {}
    for name in sorted(given - known):
        # `PARLY_`, too; whatever else the environment holds is nobody's misspelling.
        if name.startswith("PARL") and (near := get_close_matches(name, known, 1, SIMILAR)):
            found[name] = near[0]
    return found


class ServiceSettings(BaseSettings):
    """The settings that every process needs: where NATS is, where to listen, how to log."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="PARLEY_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        # A refused secret must not end up in the log.
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = Field(
        default="development", description="`production` refuses to start with a development secret"
    )
    nats_url: str = Field(default="nats://127.0.0.1:4222", description="NATS servers, separated by commas")
    nats_user: str = Field(default="", description="whom NATS knows this process as; else the URL's, or the service")
    nats_password: SecretStr = Field(default=SecretStr(""), description="their password, where the URL has none")
    instance: str = Field(
        default="", description="this process's name among its replicas; a random one by default, in a container its id"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    trusted_proxies: str = Field(
        default="127.0.0.1", description="addresses whose X-Forwarded-* is believed, separated by commas, or *"
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description='origins of pages that may use the sockets and the HTTP APIs, besides the own one; ["*"] for all',
    )
    http_keep_alive: int = Field(
        default=75, ge=1, description="seconds that an idle HTTP connection is kept; longer than a load balancer's"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    request_timeout: float = Field(default=5.0, gt=0, description="seconds to wait for another service's answer")

    @classmethod
    def secrets(cls) -> list[str]:
        """The names of the settings that may also be read from a file."""
        return [
            name
            for name, field in cls.model_fields.items()
            if "SecretStr" in str(field.annotation) or name in _URLS_WITH_PASSWORDS
        ]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put files of secrets before the environment, where such a setting is empty then."""
        _ = file_secret_settings
        # The first source wins.
        return init_settings, _SecretFiles(settings_cls), env_settings, dotenv_settings

    def nats_account(self) -> tuple[str, str]:
        """The user and the password that NATS is told; both empty where it asks for none, or for a token."""
        password = self.nats_password.get_secret_value()
        if password:
            return self.nats_user, password
        parts = urlsplit(self.nats_url.split(",")[0])
        return (unquote(parts.username or ""), unquote(parts.password)) if parts.password else ("", "")

    def unsafe(self) -> list[str]:
        """What of these settings is not for production, a sentence each. Services add what is theirs."""
        _, password = self.nats_account()
        return [] if password or "@" in self.nats_url else ["PARLEY_NATS_PASSWORD is not set, nor in PARLEY_NATS_URL"]

    def refuse_unsafe(self) -> None:
        """Raise `UnsafeSettings` naming each problem when this is not a development environment."""
        if self.environment != "development" and (problems := self.unsafe()):
            raise UnsafeSettings("refusing to start in production: " + "; ".join(problems))

"""Settings of the auth service: `PARLEY_DATABASE_URL` and `PARLEY_AUTH_*`, besides what every service reads."""

from __future__ import annotations

from typing import Annotated

from limits import RateLimitItem, parse
from pydantic import AfterValidator, Field, SecretStr, field_validator

from parley.common.process.settings import ServiceSettings, unsafe_database, with_password

DEVELOPMENT_PASSWORD = "parley-admin"
MIN_SECRET_BYTES = 32
"""RFC 7518 asks for a key at least as long as the hash of HS256."""


def _rate(text: str) -> str:
    parse(text)
    return text


Rate = Annotated[str, AfterValidator(_rate)]
"""How many in how long, such as `10/minute`."""


class Settings(ServiceSettings):
    """What the auth service can be told."""

    port: int = Field(default=8002, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database_url: str = Field(
        default="postgresql://postgres@127.0.0.1:5432/postgres", description="Postgres, as psql takes it"
    )
    database_password: SecretStr = Field(
        default=SecretStr(""), description="the database user's password, where the URL has none"
    )
    auth_database_connections: int = Field(default=10, ge=2, le=1000, description="connections this process may hold")
    auth_signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="Ed25519 private keys in PEM: the first signs, the others still verify; else made in the database",
    )
    auth_access_ttl: int = Field(default=3600, ge=10, le=7 * 86400, description="seconds an access token is valid")
    auth_refresh_ttl: int = Field(default=30 * 86400, ge=60, description="seconds a refresh token is valid")
    auth_registration: bool = Field(default=True, description="whether anyone may make an account")
    auth_hs256_secret: SecretStr = Field(
        default=SecretStr(""), description="accept your own users' tokens signed with this secret (HS256)"
    )
    auth_jwks_url: str = Field(default="", description="accept your own users' tokens signed by a key published here")
    auth_audience: str = Field(
        default="", description="`aud` that your own users' tokens must have; empty: not checked"
    )
    auth_issuer: str = Field(default="", description="`iss` that your own users' tokens must have; empty: not checked")
    auth_admin_username: str = Field(
        default="admin", pattern=r"^[A-Za-z0-9_.-]{3,32}$", description="the first administrator"
    )
    auth_admin_password: SecretStr = Field(
        default=SecretStr(""), max_length=256, description="their password; made and printed once if unset"
    )
    auth_hash_workers: int = Field(default=2, ge=1, le=64, description="passwords hashed at a time, 64 MiB each")
    auth_login_rate_username: Rate = Field(default="10/minute", description="failed logins as one user")
    auth_login_rate_address: Rate = Field(default="60/minute", description="failed logins from one address")
    auth_register_rate_address: Rate = Field(default="600/minute", description="accounts made from one address")

    @property
    def database_dsn(self) -> str:
        """The database's URL with the password in it, for whoever connects."""
        return with_password(self.database_url, self.database_password.get_secret_value())

    @field_validator("auth_hs256_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"an HS256 secret has at least {MIN_SECRET_BYTES} bytes")
        return secret

    @field_validator("auth_jwks_url")
    @classmethod
    def _over_http(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must be an http(s) URL")
        return url

    def unsafe(self) -> list[str]:
        """What of these settings is not for production."""
        password = self.auth_admin_password.get_secret_value()
        problems = super().unsafe()
        if not password:
            problems.append("PARLEY_AUTH_ADMIN_PASSWORD is not set")
        if password == DEVELOPMENT_PASSWORD:
            problems.append("PARLEY_AUTH_ADMIN_PASSWORD is the development default")
        return [*problems, *unsafe_database(self.database_url)]


def rate(text: str) -> RateLimitItem:
    """The limit a `Rate` setting means."""
    return parse(text)

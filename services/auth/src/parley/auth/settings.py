"""Settings of the auth service: `PARLEY_DATABASE_URL` and `PARLEY_AUTH_*`, besides what every service reads."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from parley.auth import providers_file
from parley.auth.email_address import is_address
from parley.auth.password_policy import weakness
from parley.auth.providers_file import MIN_SECRET_BYTES, Providers
from parley.common.process.settings import ServiceSettings, unsafe_database, with_password

DEVELOPMENT_PASSWORD = "parley-admin"


_RATE = re.compile(r"(\d{1,9}) ?/ ?(second|minute|hour|day)")
_NUMBERS = re.compile(r"[0-9.]+|.*:.*")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class AttemptRate(NamedTuple):
    """How many attempts in how many seconds."""

    attempts: int
    seconds: int


def _rate(text: str) -> str:
    rate(text)
    return text


Rate = Annotated[str, AfterValidator(_rate)]
"""How many in how long, such as `10/minute`."""


class AuthSettings(ServiceSettings):
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
    auth_refresh_grace: float = Field(
        default=30, ge=0, le=600, description="seconds in which a spent refresh token gives another one"
    )
    auth_session_ttl: int = Field(
        default=90 * 86400, ge=60, description="seconds after which a session ends, however often it is refreshed"
    )
    auth_registration: bool = Field(default=True, description="whether anyone may make an account")
    auth_hs256_secret: SecretStr = Field(
        default=SecretStr(""), description="accept your own users' tokens signed with this secret (HS256)"
    )
    auth_jwks_url: str = Field(default="", description="accept your own users' tokens signed by a key published here")
    auth_audience: str = Field(
        default="", description="`aud` that your own users' tokens must have; empty: not checked"
    )
    auth_issuer: str = Field(default="", description="`iss` that your own users' tokens must have; empty: not checked")
    auth_roles_claim: str = Field(
        default="roles", min_length=1, description="claim of your own users' tokens, or path into one, that holds roles"
    )
    auth_roles: dict[str, tuple[str, ...]] = Field(
        default={}, description="which of those values give which roles here, as JSON; none do by themselves"
    )
    auth_providers_file: Path | None = Field(
        default=None, description="TOML file of more issuers of tokens, and of OpenID Connect providers"
    )
    auth_public_url: str = Field(
        default="", description="where people reach this deployment; empty: as each request says"
    )
    auth_redirect_uris: list[str] = Field(
        default=[], description="where a login may end besides the own pages, as JSON: exactly these"
    )
    auth_admin_username: str = Field(
        default="admin", pattern=r"^[A-Za-z0-9_.-]{3,32}$", description="the first administrator"
    )
    auth_admin_password: SecretStr = Field(
        default=SecretStr(""), description="their password; made and printed once if unset"
    )
    auth_bots_per_user: int = Field(
        default=10, ge=0, le=1000, description="bots a user may make; 0: only administrators"
    )
    auth_hash_workers: int = Field(default=2, ge=1, le=64, description="passwords hashed at a time, 64 MiB each")
    auth_login_rate_username: Rate = Field(
        default="10/minute", description="failed logins as one user from one address"
    )
    auth_login_rate_address: Rate = Field(default="60/minute", description="failed logins from one address")
    auth_register_rate_address: Rate = Field(default="10/minute", description="accounts made from one address")
    auth_widest_range_ipv4: int = Field(
        default=8, ge=0, le=32, description="bits of the widest IPv4 range that may be banned or kicked"
    )
    auth_widest_range_ipv6: int = Field(
        default=19, ge=0, le=128, description="bits of the widest IPv6 range that may be banned or kicked"
    )
    auth_smtp_host: str = Field(
        default="", description="the server that takes our mail; empty: none is sent, in development it is printed"
    )
    auth_smtp_port: int = Field(default=587, ge=1, le=65535, description="its port")
    auth_smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`tls` from the start (465), `starttls` after a greeting (587), or `none`"
    )
    auth_smtp_user: str = Field(default="", description="whom it knows us as; empty: it asks for no login")
    auth_smtp_password: SecretStr = Field(default=SecretStr(""), description="their password")
    auth_mail_from: str = Field(default="", description="the address that our mail comes from")
    auth_passkey_rp_id: str = Field(
        default="", description="domain that passkeys are for; empty: the host of the public URL. Never changed later"
    )
    auth_passkey_origins: list[str] = Field(
        default=[], description="origins of pages that use passkeys, as JSON; empty: the public URL"
    )

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

    @field_validator("auth_admin_password")
    @classmethod
    def _no_weak_one(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        password = secret.get_secret_value()
        if password and (why := weakness(password, info.data.get("auth_admin_username", ""))) is not None:
            raise ValueError(why)
        return secret

    @field_validator("auth_jwks_url")
    @classmethod
    def _over_http(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must be an http(s) URL")
        return url

    @field_validator("auth_providers_file")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        chosen = None if path == Path() else path  # compose passes on an empty one
        providers_file.load(chosen)
        return chosen

    @field_validator("auth_public_url")
    @classmethod
    def _an_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in {"https", "http"} or not parts.netloc or parts.path.strip("/") or parts.query):
            raise ValueError("must be scheme, host and port alone, such as https://chat.example.com")
        return url.rstrip("/")

    @field_validator("auth_redirect_uris")
    @classmethod
    def _safe_ends(cls, uris: list[str]) -> list[str]:
        for uri in uris:
            parts = urlsplit(uri)
            # A private scheme has a dot (RFC 8252, 7.1), which also keeps out `javascript:` and its like.
            if parts.fragment or not (providers_file.is_safe_url(uri) or "." in parts.scheme):
                raise ValueError(f"{uri!r} is neither https, nor http on the user's machine, nor com.example.app:/path")
        return uris

    @field_validator("auth_mail_from")
    @classmethod
    def _one_sender(cls, address: str) -> str:
        if address and not is_address(address):
            raise ValueError("must be an e-mail address alone, such as parley@example.com")
        return address

    @field_validator("auth_passkey_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        return [cls._an_origin(origin) for origin in origins if origin]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.auth_smtp_host and not self.auth_mail_from:
            raise ValueError("PARLEY_AUTH_MAIL_FROM: mail is sent from an address; set it with PARLEY_AUTH_SMTP_HOST")
        domain = self.passkey_rp_id
        for origin in self.passkey_origins:
            host = urlsplit(origin).hostname or ""
            if domain and host != domain and not host.endswith(f".{domain}"):
                raise ValueError(f"PARLEY_AUTH_PASSKEY_ORIGINS: {host} is neither {domain} nor below it")
        return self

    @property
    def passkey_rp_id(self) -> str:
        """The domain that passkeys are for: `localhost` in development; empty where there can be none."""
        host = self.auth_passkey_rp_id or urlsplit(self.auth_public_url).hostname or ""
        # Browsers have no passkeys for addresses.
        if _NUMBERS.fullmatch(host):
            return ""
        return host or ("localhost" if self.environment == "development" else "")

    @property
    def passkey_origins(self) -> list[str]:
        """The origins of pages that may use passkeys; empty for any port of `localhost`."""
        return self.auth_passkey_origins or ([self.auth_public_url] if self.auth_public_url else [])

    @cached_property
    def providers(self) -> Providers:
        """What the providers file says. Raises `InvalidProviders`."""
        return providers_file.load(self.auth_providers_file)

    def unsafe(self) -> list[str]:
        """Return what of these settings is not for production."""
        password = self.auth_admin_password.get_secret_value()
        problems = super().unsafe()
        if not password:
            problems.append("PARLEY_AUTH_ADMIN_PASSWORD is not set")
        if password == DEVELOPMENT_PASSWORD:
            problems.append("PARLEY_AUTH_ADMIN_PASSWORD is the development default")
        if self.providers.oidc and not self.auth_public_url:
            problems.append("PARLEY_AUTH_PUBLIC_URL is not set, and people log in at OpenID Connect providers")
        if self.auth_smtp_password.get_secret_value() and self.auth_smtp_tls == "none":
            problems.append("PARLEY_AUTH_SMTP_TLS is none, and PARLEY_AUTH_SMTP_PASSWORD would be sent for all to read")
        return [*problems, *unsafe_database(self.database_url)]


def rate(text: str) -> AttemptRate:
    """Return what a `Rate` setting means. Raises `ValueError`."""
    found = _RATE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError("a rate is a number per second, minute, hour or day, such as 10/minute")
    return AttemptRate(int(found[1]), _SECONDS[found[2]])

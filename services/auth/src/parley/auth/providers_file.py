"""Who else says who somebody is: a TOML file, checked when auth starts (`PARLEY_AUTH_PROVIDERS_FILE`).

[issuers.shop]           # whose tokens are accepted; the ids of its users are `shop:` and their `sub`
issuer = "https://shop.example.com"                # `iss` of its tokens
jwks_url = "https://shop.example.com/jwks.json"    # its public keys; or `secret` or `secret_file` (HS256)
audience = "chat"        # `aud` that they must have; without it, not checked
roles_claim = "roles"    # claim, or path into one, that holds roles
roles = {staff = ["admin"]}      # its value -> roles of Parley's; without it, none are given

[oidc.company]           # where people log in: OpenID Connect, authorization code
issuer = "https://id.example.com/realms/company"
client_id = "parley"
client_secret_file = "/run/secrets/company"        # or `client_secret`; without either a public client
label = "Company account"                          # what its button says
scopes = ["openid", "profile", "email"]
name_claim = "name"      # what others see; without a value `preferred_username`, then the address
email_claim = "email"
verified_claim = "email_verified"    # whether the address is the user's own
link_by_email = false    # whether its verified address makes it the login of an account that has the same one
registration = true      # whether who has no account yet gets one
roles_claim = "groups"   # as above; without it, none are given
roles = {chat-admins = ["admin"]}
require = {hd = "example.com"}       # claims that must have these values
parameters = {prompt = "select_account"}           # what else the provider is asked with
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

MIN_SECRET_BYTES = 32
"""RFC 7518 asks for a key at least as long as the hash of HS256."""
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
_OWN_PARAMETERS = frozenset((
    "response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
    "code_challenge_method", "request", "request_uri",
))  # fmt: skip

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}(?!\n)$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
Role = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Roles = dict[str, tuple[Role, ...]]


class InvalidProviders(ValueError):
    """The providers file is missing or wrong; the text says where, and shows no secret."""


class IssuerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are accepted besides our own."""

    issuer: Text
    jwks_url: str = ""
    secret: str = ""
    secret_file: str = ""
    audience: str = ""
    roles_claim: Text = "roles"
    roles: Roles = {}


class OpenIdSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider of OpenID Connect that people log in at."""

    issuer: Text
    client_id: Text
    client_secret: str = ""
    client_secret_file: str = ""
    label: str = ""
    scopes: tuple[Text, ...] = ("openid", "profile", "email")
    name_claim: Text = "name"
    email_claim: Text = "email"
    verified_claim: Text = "email_verified"
    link_by_email: bool = False
    registration: bool = True
    roles_claim: str = ""
    roles: Roles = {}
    require: dict[str, str | bool | int] = {}
    parameters: dict[str, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    issuers: dict[Name, Any] = {}
    oidc: dict[Name, Any] = {}


class Providers(msgspec.Struct, frozen=True):
    """What the file says, secrets read from their files."""

    issuers: dict[str, IssuerSettings] = {}
    oidc: dict[str, OpenIdSettings] = {}


FieldsT = TypeVar("FieldsT", IssuerSettings, OpenIdSettings)


def load(path: Path | None) -> Providers:
    """Return the providers of a file, or none without one. Raises `InvalidProviders`."""
    if path is None:
        return Providers()
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except FileNotFoundError as error:
        raise InvalidProviders(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidProviders(f"{path}: {error}") from error
    issuers = {name: _issuer(f"{path}: issuers.{name}", fields) for name, fields in found.issuers.items()}
    oidc = {name: _openid(f"{path}: oidc.{name}", fields) for name, fields in found.oidc.items()}
    # Two of one issuer would both take its tokens, and the first would decide whom they name.
    for settings, kind in ((issuers, "issuers"), (oidc, "oidc")):
        named = [each.issuer for each in settings.values()]
        if len(set(named)) < len(named):
            raise InvalidProviders(f"{path}: {kind}: two have the same issuer")
    # With this prefix its users would be taken for guests of ours.
    if "guest" in issuers:
        raise InvalidProviders(f"{path}: issuers.guest: ids of guests begin so")
    return Providers(issuers, oidc)


def _issuer(where: str, fields: Any) -> IssuerSettings:
    settings = _convert(where, fields, IssuerSettings)
    secret = _secret(where, settings.secret, settings.secret_file)
    # With both a public key could serve as the secret, which everybody knows.
    if bool(secret) == bool(settings.jwks_url):
        raise InvalidProviders(f"{where}: needs either jwks_url or a secret")
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        raise InvalidProviders(f"{where}: an HS256 secret has at least {MIN_SECRET_BYTES} bytes")
    if settings.jwks_url and not settings.jwks_url.startswith(("https://", "http://")):
        raise InvalidProviders(f"{where}: jwks_url must be an http(s) URL")
    return msgspec.structs.replace(settings, secret=secret)


def _openid(where: str, fields: Any) -> OpenIdSettings:
    settings = _convert(where, fields, OpenIdSettings)
    if not is_safe_url(settings.issuer):
        raise InvalidProviders(f"{where}: issuer must be an https URL (http only on this machine)")
    if "openid" not in settings.scopes:
        raise InvalidProviders(f'{where}: scopes must hold "openid"')
    # They are what holds a login together: one that is set by hand would be the same for all logins.
    if taken := _OWN_PARAMETERS.intersection(settings.parameters):
        raise InvalidProviders(f"{where}: parameters must not hold {', '.join(sorted(taken))}")
    return msgspec.structs.replace(
        settings,
        client_secret=_secret(where, settings.client_secret, settings.client_secret_file),
        label=settings.label or where.rpartition(".")[2].capitalize(),
    )


def is_safe_url(url: str) -> bool:
    """Return whether nobody on the way can read or change what is sent there: https, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def _convert(where: str, fields: Any, kind: type[FieldsT]) -> FieldsT:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InvalidProviders(f"{where}: {error}") from error


def _secret(where: str, given: str, file: str) -> str:
    if not file:
        return given
    if given:
        raise InvalidProviders(f"{where}: a secret and a file of one")
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidProviders(f"{where}: {error}") from error

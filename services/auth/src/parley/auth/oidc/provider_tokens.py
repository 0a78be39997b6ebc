"""What the tokens of a provider must say, once their signatures are verified, and who they say somebody is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, cast

from parley.auth.email_address import MAX_EMAIL
from parley.auth.names import check_display_name
from parley.auth.providers_file import OpenIdSettings
from parley.auth.tokens.claims import MAX_ROLES, RoleRule, found_at, is_text
from parley.common.errors import Code, Reject

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE = 300
"""Seconds by which a provider's clock may differ from ours, and that its token may have been on the way."""
MAX_SHOWN_NAME = 100
"""Characters of a name; rooms hold no longer ones."""
MAX_ID = 255


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a provider says somebody is. `email` is empty unless it is verified as theirs."""

    issuer: str
    subject: str
    provider_session: str
    name: str
    email: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogoutNotice:
    """What a provider says has ended: one session of a user, or all if `provider_session` is empty."""

    issuer: str
    id: str
    subject: str
    provider_session: str


def refused(why: str) -> Reject:
    """Return the refusal of what a provider said."""
    return Reject(Code.INVALID_TOKEN, f"The identity provider's answer is not valid: {why}.")


def check_id_token(claims: Mapping[str, Any], settings: OpenIdSettings, nonce: str, now: float) -> None:
    """Check what the signature does not say (OpenID Connect Core, 3.1.3.7). Raises `Reject(invalid_token)`."""
    _check_audience(claims, settings)
    given = claims.get("nonce")
    # A token that was stolen from another login has that login's nonce (Core, 15.5.2).
    if not isinstance(given, str) or not compare_digest(given.encode("utf-8", "surrogatepass"), nonce.encode()):
        raise refused("it is the answer to another login")
    _check_time(claims, now)


def check_same_person(claims: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """See that what the provider says besides is about the same user (Core, 5.3.2). Raises `Reject`."""
    if more.get("sub") != claims["sub"]:
        raise refused("it speaks of two people")


def person(claims: Mapping[str, Any], settings: OpenIdSettings) -> Person:
    """Return who a login proved somebody to be.

    Raises `Reject`: `invalid_token`, or `forbidden` for who may not log in.
    """
    for name, wanted in settings.require.items():
        # `True == 1` in Python: a claim that must be true is not the number 1.
        value = found_at(claims, name)
        if value != wanted or isinstance(value, bool) is not isinstance(wanted, bool):
            raise Reject(Code.FORBIDDEN, f"This account may not log in here: its {name!r} is another one.")
    # It is looked at before it is believed: for a name it will do, also where nobody has verified it.
    email = _text(found_at(claims, settings.email_claim), MAX_EMAIL).lower()
    said = found_at(claims, settings.verified_claim)
    # Some providers write booleans as strings.
    verified = said is True or (isinstance(said, str) and said.lower() in {"true", "1"})
    shown = (
        _name(found_at(claims, settings.name_claim))
        or _name(claims.get("preferred_username"))
        or _name(email.partition("@")[0])
        or "Somebody"
    )
    return Person(
        issuer=settings.issuer,
        subject=_subject(claims),
        provider_session=_text(claims.get("sid"), MAX_ID),
        name=shown,
        email=email if verified and "@" in email else "",
        roles=_roles(claims, settings),
    )


def logout_notice(claims: Mapping[str, Any], settings: OpenIdSettings, now: float) -> LogoutNotice:
    """Return what a logout token says (Back-Channel Logout, 2.6). Raises `Reject(invalid_token)`."""
    _check_audience(claims, settings)
    _check_time(claims, now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(cast("dict[str, Any]", events).get(LOGOUT_EVENT), dict):
        raise refused("it is no logout")
    if "nonce" in claims:
        # An ID token must never do as one.
        raise refused("a logout has no nonce")
    token_id = _text(claims.get("jti"), MAX_ID)
    provider_session = _text(claims.get("sid"), MAX_ID)
    if not token_id:
        raise refused("it has no `jti`")
    subject = _subject(claims) if "sub" in claims else ""
    if not subject and not provider_session:
        raise refused("it says of nobody that they logged out")
    return LogoutNotice(settings.issuer, token_id, subject, provider_session)


def _check_audience(claims: Mapping[str, Any], settings: OpenIdSettings) -> None:
    audience = claims.get("aud")
    audiences = cast("list[Any]", audience) if isinstance(audience, list) else [audience]
    # `aud` is one text or a list of them (RFC 7519, 4.1.3).
    if settings.client_id not in audiences:
        raise refused("it is meant for somebody else")
    # A token for several parties must say which of them asked for it, or one could pass its users' tokens off here.
    if claims.get("azp", settings.client_id) != settings.client_id or (len(audiences) > 1 and "azp" not in claims):
        raise refused("it was issued to somebody else")


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    issued = claims.get("iat")
    # To Python `True` is a number, and JSON's 1e999 is infinite.
    if isinstance(issued, bool) or not isinstance(issued, int | float) or not math.isfinite(issued):
        raise refused("`iat` must be a number")
    if abs(now - issued) > MAX_AGE:
        raise refused("it was issued at another time, or a clock is wrong")


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")

    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_ID or not is_text(subject):
        raise refused("`sub` must be a text")
    return subject


def _text(value: Any, longest: int) -> str:
    """Return a claim that is a text, or empty for what is none."""
    return value.strip() if isinstance(value, str) and len(value) <= longest and is_text(value) else ""


def _name(value: Any) -> str:
    """Return a claim by which others may see somebody, by the rules for whoever names themselves here; else empty."""
    shown = value[:MAX_SHOWN_NAME].strip() if isinstance(value, str) else ""
    try:
        check_display_name(shown)
    except Reject:
        return ""
    return shown


def _roles(claims: Mapping[str, Any], settings: OpenIdSettings) -> tuple[str, ...]:
    if not settings.roles_claim:
        return ()
    found = found_at(claims, settings.roles_claim)
    values = cast("list[Any]", found) if isinstance(found, list) else [found]
    named = tuple(value for value in values if isinstance(value, str))
    return RoleRule(settings.roles_claim, settings.roles).grants(named)[:MAX_ROLES]

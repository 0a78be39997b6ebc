"""What a valid token says, and what of an adopter's token is believed: who, called what, with which roles.

A role of Parley's own is never taken from another issuer's word: whoever may sign tokens for a shop's customers does
not thereby administrate the chat. Only an explicit `RoleRule` gives such a role; all others mean nothing to Parley and
are passed on to services, which may give them a meaning.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from parley.common.errors import Code, Reject

MAX_SUBJECT = 128
MAX_NAME = 128
MAX_ROLES = 32
MAX_ROLE = 64
LOCAL_PREFIX = "u_"
"""Ids of accounts made here begin so, and ids of an adopter's users never do."""
GUEST_PREFIX = "guest:"
CLOCK_SKEW = 150
"""Seconds by which an issuer's clock may be ahead of ours: two minutes, and a while on the way."""

_OWN_ROLES = frozenset(("admin", "guest", "bot"))


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says, with times in Unix seconds."""

    user_id: str
    name: str
    roles: tuple[str, ...]
    issued_at: float
    expires_at: int
    login: str = ""
    """The session that it is of; empty for who has none here."""
    scopes: tuple[str, ...] | None = None
    """What it is good for; None for whatever its user may."""


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Which claim holds roles, and which of its values give which roles here.

    `claim` is the name of a claim, or a path into it such as `realm_access.roles`.
    """

    claim: str = "roles"
    granted: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def grants(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return the roles that the mapping gives for these values."""
        return tuple(dict.fromkeys(role for value in values for role in self.granted.get(value, ())))


@dataclass(frozen=True, slots=True)
class ExternalUsers:
    """How the users of one issuer are told from everybody else's, and which roles they have.

    `prefix` stands before their subjects in their ids; `reserved` are beginnings that are the ids of others.
    """

    prefix: str = ""
    reserved: tuple[str, ...] = ()
    rule: RoleRule = field(default_factory=RoleRule)

    def read(self, claims: Mapping[str, Any]) -> Claims:
        """Return what decoded claims say, whose signature was verified. Raises `Reject(invalid_token)`."""
        subject = claims["sub"]
        if not subject or not is_text(subject):
            raise invalid(f"`sub` must have 1 to {MAX_SUBJECT} characters")
        # Without a prefix of their own they could be anybody: an account of ours, a guest, a user of another issuer.
        if not self.prefix and subject.startswith((LOCAL_PREFIX, GUEST_PREFIX, *self.reserved)):
            raise invalid(f"`sub` must not begin with {subject[: len(GUEST_PREFIX)]!r}, as ids of others do")
        user_id = f"{self.prefix}{subject}"
        if len(user_id) > MAX_SUBJECT:
            raise invalid(f"`sub` must have 1 to {MAX_SUBJECT} characters")
        name = claims.get("name", subject)
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or not is_text(name):
            raise invalid(f"`name` must have 1 to {MAX_NAME} characters")
        _require_begun(claims)
        values = _roles(found_at(claims, self.rule.claim))
        # An issuer's own word makes nobody an administrator, whatever it calls its roles.
        passed = (role for role in values if not is_own_role(role))
        roles = tuple(dict.fromkeys((*self.rule.grants(values), *passed)))[:MAX_ROLES]
        # Without `iat` nobody can tell it was issued after a revocation, so it counts as issued before any.
        return Claims(user_id, name.strip(), roles, _number(claims, "iat"), int(claims["exp"]))


def is_own_role(role: str) -> bool:
    """Return whether Parley itself gives rights or a meaning to a role of this name."""
    return role in _OWN_ROLES or role.startswith("admin:")


def found_at(claims: Mapping[str, Any], path: str) -> Any:
    """Return the value of a claim of this very name, or else at this path of names with dots between.

    None if neither is.
    """
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def is_text(text: str) -> bool:
    """Return whether Postgres and people can read it: no control characters and no half characters."""
    return text.isprintable() or not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


def invalid(why: str) -> Reject:
    """Return the refusal of a token, for a reason."""
    return Reject(Code.INVALID_TOKEN, f"The access token is not valid: {why}.")


def _roles(claim: Any) -> tuple[str, ...]:
    try:
        roles = msgspec.convert([] if claim is None else claim, tuple[str, ...])
    except msgspec.ValidationError as error:
        raise invalid("its roles must be a list of strings") from error
    # Refused and not cut off: whoever has more roles than are looked at would not know which count.
    if len(roles) > MAX_ROLES or not all(0 < len(role) <= MAX_ROLE and is_text(role) for role in roles):
        raise invalid(f"its roles must be at most {MAX_ROLES} names of 1 to {MAX_ROLE} characters")
    return roles


def _require_begun(claims: Mapping[str, Any]) -> None:
    latest = time.time() + CLOCK_SKEW
    for name in ("iat", "nbf"):
        if _number(claims, name) > latest:
            raise invalid(f"`{name}` is in the future")


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(f"`{name}` must be a number")
    return float(value)

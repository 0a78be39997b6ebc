"""What administrators may do: four rights, each with all that the lesser ones allow. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Right(IntEnum):
    """An administrator's right; a greater one includes the lesser."""

    READ = 1
    """See users, rooms, connections and the audit log."""
    MODERATE = 2
    """Keep people out or from writing: kick, ban, suspend, close rooms."""
    OPERATE = 3
    """End what people have: revoke their tokens, erase what they wrote."""
    FULL = 4
    """Decide who may what: roles, passwords, API keys, bots, and seeing with another's eyes."""


ADMIN_ROLE = "admin"
"""The role of an administrator with every right."""

RIGHT_OF_ROLE = {
    "admin:read": Right.READ,
    "admin:moderate": Right.MODERATE,
    "admin:operate": Right.OPERATE,
    ADMIN_ROLE: Right.FULL,
}
"""What each administrator's role allows. Other roles allow nothing here."""

RIGHT_OF_SCOPE = {
    "admin:read": Right.READ,
    "admin:moderate": Right.MODERATE,
    "admin:operate": Right.OPERATE,
    "admin:own": Right.FULL,
}
"""Up to which right each scope of an API key lets its roles count."""


def right_of_roles(roles: Iterable[str]) -> Right | None:
    """The greatest right that roles give; None where they give none."""
    # `is not None`, since a right is a number and might be 0 one day.
    return max((right for role in roles if (right := RIGHT_OF_ROLE.get(role)) is not None), default=None)


def right_of_scopes(scopes: Iterable[str]) -> Right | None:
    """The greatest right that scopes let through; None where they let none through."""
    return max((right for scope in scopes if (right := RIGHT_OF_SCOPE.get(scope)) is not None), default=None)


def capped(roles: Iterable[str], owners: Iterable[str]) -> tuple[str, ...]:
    """The roles of a bot that its owner has as well; of administrators' roles those that the owner's right includes."""
    theirs = frozenset(owners)
    most = right_of_roles(theirs) or 0
    return tuple(role for role in roles if role in theirs or RIGHT_OF_ROLE.get(role, Right.FULL + 1) <= most)

"""What users chose by hand who have a connection here, and what they are in a room by what is here alone. Pure.

What a user is shown as, from the states on several gateways, is said with the messages between these
(`common.wire.presence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

from parley.common.wire.presence import PresenceChoice, PresentUser
from parley.gateway.connections.connection import Connection

CHOICES: frozenset[str] = frozenset(get_args(PresenceChoice))

OwnChoice = Literal["online", "away", "dnd", "invisible"]
"""A choice that stands against what devices do."""


class UserChoices:
    """What users with a connection on this gateway chose by hand, each in a namespace."""

    def __init__(self) -> None:
        self._choices: dict[tuple[str, str], tuple[OwnChoice, int]] = {}

    def set(self, namespace: str, user_id: str, choice: str, since: int) -> None:
        """Take over a choice that was made at `since`, in Unix milliseconds. One that is unknown changes nothing."""
        if choice == "automatic":
            self.forget(namespace, user_id)
        elif choice in CHOICES:
            self._choices[namespace, user_id] = cast("OwnChoice", choice), since

    def forget(self, namespace: str, user_id: str) -> None:
        """Forget a choice. Doing it twice is harmless."""
        self._choices.pop((namespace, user_id), None)

    def entry(self, user_id: str, present: Iterable[Connection]) -> PresentUser | None:
        """Return the entry of a user with these connections in a room, or None without any."""
        entry: PresentUser | None = None
        for connection in present:
            chosen = self._choices.get((connection.namespace, user_id)) if self._choices else None
            if chosen is not None:
                return PresentUser(user_id, *chosen)
            # One device that is used is enough, and the others need not be looked at.
            if not connection.idle:
                return PresentUser(user_id, "online")
            entry = PresentUser(user_id, "away")
        return entry


def choice_in(auth: Mapping[str, Any]) -> str:
    """Return the choice that a client named at CONNECT, or an empty text: most name none."""
    choice = auth.get("presence")
    return choice if isinstance(choice, str) and choice in CHOICES else ""

"""Who is notified of an event and why, pure.

| cause        | of what                                                    | who                             |
|--------------|------------------------------------------------------------|---------------------------------|
| `moderation` | the user was removed, banned or muted, or may be back      | whom it is about                |
| `invitation` | the user was invited                                       | who was invited                 |
| `mention`    | a message that names the user, or calls everybody or       | who is named; all members; the  |
|              | everybody who is there                                     | members who are online          |
| `reply`      | a message that answers one of the user's                   | the author of that one          |
| `direct`     | a message in a direct room                                 | everybody else in it            |
| `reaction`   | a reaction to one of the user's messages                   | the author of the message       |

A user is notified of an event once, for the first of these causes that applies; nobody of what they did themselves. Of
a room with level `mentions` a user is told of mentions and replies alone, with `none` of nothing; invitations and
moderation are told whatever the levels are. Events are told apart by the names of their types, since not every log has
all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from parley.common.wire.consumers import LogEvent

RANKS = {"moderation": 0, "invitation": 1, "mention": 2, "reply": 3, "direct": 4, "reaction": 5}
"""The causes, in the order in which they count."""
EVERYBODY = ""
"""Stands for all members of a room but the actor."""
MAX_NAMED = 1000
"""Users that one message notifies by naming them."""

MAX_CALLED = 10_000
"""Users whom one message notifies because they are there."""
CALL_SECONDS = 600.0
"""Seconds after which a message calls nobody any more who is there: those are not the ones whom it meant."""

_MODERATION = frozenset({"member.removed", "member.banned", "member.unbanned", "member.muted", "member.unmuted"})
EVENTS = "message.sent, message.deleted, reaction.added, member.invited, " + ", ".join(sorted(_MODERATION))
"""The types of events that anybody is notified of, and the one after which nobody is any more."""


class RoomMessage(NamedTuple):
    """A message by its place."""

    room: str
    sequence: int


class Due(NamedTuple):
    """A notification that is due, if the user is concerned and wants it.

    `message` is what was answered or reacted to.
    """

    user_id: str
    cause: str
    event: LogEvent
    message: int | None = None


def earlier_messages(events: list[LogEvent]) -> list[RoomMessage]:
    """Return the messages whose authors have to be known to say who is notified."""
    found = [RoomMessage(event.room, number) for event in events if (number := _answered(event)) is not None]
    return list(dict.fromkeys(found))


def due(event: LogEvent, *, direct: bool, authors: dict[RoomMessage, str]) -> list[Due]:
    """Return the notifications of an event.

    `direct` says that its room is a direct one, `authors` who wrote earlier messages.
    """
    data = event.data
    found: list[Due] = []
    match event.type:
        case "message.sent":
            named = [user for user in data.get("mentions") or () if isinstance(user, str) and user]
            found += [Due(user, "mention", event) for user in named[:MAX_NAMED]]
            if data.get("mention_all"):
                found.append(Due(EVERYBODY, "mention", event))
            found += _to_author("reply", event, authors)
            if direct:
                found.append(Due(EVERYBODY, "direct", event))
        case "reaction.added":
            found += _to_author("reaction", event, authors)
        case "member.invited":
            found += _about("invitation", event)
        case kind if kind in _MODERATION:
            found += _about("moderation", event)
        case _:
            pass
    return [one for one in found if one.user_id != event.actor_id]


def calls_present(event: LogEvent) -> bool:
    """Return whether a message calls everybody who is there, and not everybody anyway."""
    # Nearly no message does, and its payload is decoded each time.
    if event.type != "message.sent" or b'"mention_here"' not in event.payload:
        return False
    data = event.data
    return bool(data.get("mention_here")) and not data.get("mention_all")


def due_to_present(event: LogEvent, online: Iterable[str]) -> list[Due]:
    """Return the notifications of a message that calls everybody who is there."""
    return [Due(user, "mention", event) for user in islice(online, MAX_CALLED) if user != event.actor_id]


def mentioned(event: LogEvent) -> list[str]:
    """Return the users whom a message mentions, `EVERYBODY` among them if it calls everybody, or everybody present.

    Whoever reads later is to find it: so it is counted as a mention for all members, and notifies those who are there.
    """
    if event.type != "message.sent":
        return []
    named = [one.user_id for one in due(event, direct=False, authors={}) if one.cause == "mention"]
    return list(dict.fromkeys([*named, *([EVERYBODY] if event.data.get("mention_here") else [])]))


def _to_author(cause: str, event: LogEvent, authors: dict[RoomMessage, str]) -> list[Due]:
    number = _answered(event)
    author = authors.get(RoomMessage(event.room, number)) if number is not None else None
    return [Due(author, cause, event, number)] if author else []


def _answered(event: LogEvent) -> int | None:
    field = {"message.sent": "reply_to", "reaction.added": "message"}.get(event.type)
    found = event.data.get(field) if field is not None else None
    return found if isinstance(found, int) else None


def _about(cause: str, event: LogEvent) -> list[Due]:
    user: str = event.data.get("user", {}).get("id", "")
    return [Due(user, cause, event)] if user else []

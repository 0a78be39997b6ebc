"""What the service sends: messages to one client, and who is online in a room."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

Action = Literal["exchange", "deny"]


class Data(msgspec.Struct):
    """What a message is for, and what it says."""

    action: Action
    payload: Any


class Meta(msgspec.Struct, omit_defaults=True):
    """When it was made, by whom and for whom; ids are sids."""

    timestamp: int
    """In Unix milliseconds."""
    client: str = ""
    target: str = ""


class Message(msgspec.Struct):
    """What one client gets, as an event named by its own id."""

    data: Data
    meta: Meta


class Online(msgspec.Struct):
    """Somebody came into a room or left it: what everybody in it is told."""

    clients: list[str]
    """The sids of who is in the room now."""
    action: Literal["join", "leave"]
    message: str
    target: Literal["participator"] = "participator"


def message(action: Action, payload: Any, *, client: str = "", target: str = "") -> Message:
    """Make a message that is sent now."""
    return Message(Data(action, payload), Meta(time.time_ns() // 1_000_000, client, target))


def deleted() -> Message:
    """Make the message to who is in a room that is closed, or wants to get into one."""
    return message("deny", {"type": "deleted", "message": "deleted, room has been deleted."})


def joined(sid: str, clients: list[str]) -> Online:
    """Make the announcement of who came."""
    return Online(clients, "join", f"User({sid}) joined.")


def left(sid: str, clients: list[str]) -> Online:
    """Make the announcement of who went, in the words that clients of this format know."""
    return Online(clients, "leave", f"User({sid}) leaved.")

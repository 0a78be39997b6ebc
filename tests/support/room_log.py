"""A room's log as the API answers it, and who was a member when: written apart from chat, to be no echo of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

ENDS = frozenset({"member.left", "member.removed"})
"""Events that end a stay, or take back an invitation."""


@dataclass(frozen=True)
class Logged:
    """An event as the log has it."""

    sequence: int
    event_id: str
    type: str
    actor: str
    command: str
    subject: str = ""
    """The user it is about, or who acted."""
    body: str = ""
    number: int = 0
    role: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All that it says, as far as that is still there."""
    at: str = ""
    erased: bool = False


@dataclass(frozen=True)
class Member:
    """A row of what chat says of a room's members."""

    state: str
    role: str


def logged(event: Mapping[str, Any]) -> Logged:
    """An event as the API answers it."""
    actor, data = event["actor"]["id"], event["data"]
    return Logged(
        event["sequence"], event["event_id"], event["type"], actor, event.get("id", ""),
        data.get("user", {}).get("id", actor), data.get("body", ""), event.get("number", 0), data.get("role", ""),
        data, event["at"], event.get("erased", False),
    )  # fmt: skip


class Span(NamedTuple):
    """A time in which somebody was a member, both ends included."""

    joined: int
    left: int | None


def is_move(event: Logged) -> bool:
    """Whether it says who is in a room."""
    return event.type in {"room.created", "member.invited", "member.joined", *ENDS}


def spans_of(log: Sequence[Logged], user: str) -> list[Span]:
    """When a user was a member, in order."""
    spans: list[Span] = []
    for event in log:
        if event.subject != user:
            continue
        inside = bool(spans) and spans[-1].left is None
        if event.type in {"room.created", "member.joined"} and not inside:
            spans.append(Span(event.sequence, None))
        elif event.type in ENDS and inside:
            spans[-1] = Span(spans[-1].joined, event.sequence)
    return spans


def members_of(log: Sequence[Logged]) -> dict[str, Member]:
    """Who is a member or invited in the end, and as what."""
    members: dict[str, Member] = {}
    for event in log:
        match event.type:
            case "room.created":
                members[event.subject] = Member("joined", "owner")
            case "member.invited":
                members.setdefault(event.subject, Member("invited", "member"))
            case "member.joined":
                members[event.subject] = Member("joined", event.role or "member")
            case "member.left" | "member.removed":
                members.pop(event.subject, None)
            case "member.changed":
                members[event.subject] = replace(members[event.subject], role=event.role)
            case _:
                pass
    return members

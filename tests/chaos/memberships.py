"""Who was a member of a room when, by its log: written apart from chat, so that it is no echo of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.chaos.history import Logged, Member


class Span(NamedTuple):
    """A time in which somebody was a member, both ends included."""

    joined: int
    left: int | None


def is_move(event: Logged) -> bool:
    """Whether it says who is in a room."""
    return event.type in {"room.created", "member.invited", "member.joined", "member.left"}


def spans_of(log: Sequence[Logged], user: str) -> list[Span]:
    """When a user was a member, in order."""
    spans: list[Span] = []
    for event in log:
        if event.subject != user:
            continue
        inside = bool(spans) and spans[-1].left is None
        if event.type in {"room.created", "member.joined"} and not inside:
            spans.append(Span(event.sequence, None))
        elif event.type == "member.left" and inside:
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
            case "member.left":
                members.pop(event.subject, None)
            case "member.changed":
                members[event.subject] = replace(members[event.subject], role=event.role)
            case _:
                pass
    return members

"""Whether everything in a room's log was allowed by what stands before it: pure, and written apart from chat.

The moments of events, and the ends of bans and mutes, are of the database's clock alone. It may jump; what it says of
both is compared, as it was when they were committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.support.room_log import ENDS, Logged

FOREVER = "9999"
WRITES = frozenset({"message.sent", "message.edited", "reaction.added"})
"""What nobody does who is muted."""
MODERATES = frozenset({
    "member.removed", "member.banned", "member.unbanned", "member.muted", "member.unmuted", "message.pinned",
    "message.unpinned",
})  # fmt: skip
BY_MEMBERS = WRITES | MODERATES | {
    "reaction.removed", "message.deleted", "member.invited", "member.changed", "member.left",
}  # fmt: skip


@dataclass
class _State:
    """What holds in a room before an event."""

    roles: dict[str, str] = field(default_factory=dict[str, str])
    """Of its members."""
    muted: dict[str, str] = field(default_factory=dict[str, str])
    banned: dict[str, str] = field(default_factory=dict[str, str])
    authors: dict[int, str] = field(default_factory=dict[int, str])
    versions: dict[int, int] = field(default_factory=dict[int, int])
    gone: set[int] = field(default_factory=set[int])
    pinned: set[int] = field(default_factory=set[int])
    reactions: set[tuple[int, str, str]] = field(default_factory=set[tuple[int, str, str]])


def offences(log: Sequence[Logged]) -> Iterator[tuple[Logged, str]]:
    """Every event that was not allowed, and why."""
    state = _State()
    for event in log:
        for why in (*_of_people(state, event), *_of_messages(state, event)):
            yield event, why
        _apply(state, event)


def _stands(ends: dict[str, str], user: str, at: str) -> bool:
    """Whether somebody is banned or muted at a moment."""
    end = ends.get(user, "")
    return end == FOREVER or (end != "" and datetime.fromisoformat(at) < datetime.fromisoformat(end))


def _of_people(state: _State, event: Logged) -> Iterator[str]:
    role = state.roles.get(event.actor)
    if event.type in BY_MEMBERS and role is None and event.actor:
        # Who leaves may have been invited only.
        if event.type != "member.left":
            yield f"{event.actor} was no member"
    elif event.type in MODERATES and role == "member":
        yield f"{event.actor} may not moderate"
    elif event.type == "member.changed" and role != "owner":
        yield f"{event.actor} does not own the room"
    if event.type in WRITES and _stands(state.muted, event.actor, event.at):
        yield f"{event.actor} was muted until {state.muted[event.actor]}"
    if event.type == "member.joined":
        if event.subject in state.roles:
            yield f"{event.subject} was a member"
        if _stands(state.banned, event.subject, event.at):
            yield f"{event.subject} was banned until {state.banned[event.subject]}"


def _of_messages(state: _State, event: Logged) -> Iterator[str]:
    message = event.data.get("message")
    if event.erased or message is None:
        return
    if message not in state.authors:
        yield f"{message} is no message"
    elif message in state.gone:
        yield f"{message} was deleted"
    elif event.type == "message.edited":
        if state.authors[message] != event.actor:
            yield f"{message} was written by {state.authors[message]}"
        if event.data["version"] != state.versions[message] + 1:
            yield f"{message} was in version {state.versions[message]}"
    elif event.type == "message.deleted":
        if event.actor != state.authors[message] and state.roles.get(event.actor) == "member":
            yield f"{message} was written by {state.authors[message]}"
    elif event.type in {"reaction.added", "reaction.removed"}:
        there = (message, event.actor, event.data["emoji"]) in state.reactions
        if there == (event.type == "reaction.added"):
            yield "changes nothing"
    elif event.type in {"message.pinned", "message.unpinned"} and (message in state.pinned) == (
        event.type == "message.pinned"
    ):
        yield "changes nothing"


def _apply(state: _State, event: Logged) -> None:
    message, user = event.data.get("message", 0), event.subject
    match event.type:
        case "room.created":
            state.roles[event.actor] = "owner"
        case "member.joined":
            state.roles[user] = event.role or "member"
        case "member.changed":
            state.roles[user] = event.role
        case "member.muted" | "member.banned":
            ends = state.muted if event.type == "member.muted" else state.banned
            ends[user] = event.data.get("until", FOREVER)
        case "member.unmuted":
            state.muted.pop(user, None)
        case "member.unbanned":
            state.banned.pop(user, None)
        case "message.sent":
            state.authors[event.sequence], state.versions[event.sequence] = event.actor, 1
        case "message.edited" if not event.erased:
            state.versions[message] = event.data["version"]
        case "message.deleted":
            state.gone.add(message)
            state.pinned.discard(message)
            state.reactions = {one for one in state.reactions if one[0] != message}
        case "message.pinned":
            state.pinned.add(message)
        case "message.unpinned":
            state.pinned.discard(message)
        case "reaction.added":
            state.reactions.add((message, event.actor, event.data["emoji"]))
        case "reaction.removed":
            state.reactions.discard((message, event.actor, event.data["emoji"]))
        case kind if kind in ENDS:
            state.roles.pop(user, None)
        case _:
            pass

"""What a room's events make of its messages: written apart from chat and from its clients, to be no echo of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.room_log import Logged

NAMED = 5
"""Users who are named of those who react alike."""


@dataclass
class Message:
    """A message as it is now."""

    author: str
    body: str = ""
    version: int = 1
    deleted: bool = False
    pinned: bool = False
    thread: int | None = None
    """The first message of the thread that it is a reply in."""
    replies: int = 0
    reactions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Who reacts with what, in the order of their reactions."""


def messages_of(log: Sequence[Logged]) -> dict[int, Message]:
    """All messages of a room in the end, by sequence."""
    messages: dict[int, Message] = {}
    for event in log:
        if event.type == "message.sent":
            thread = event.data.get("thread")
            messages[event.sequence] = Message(event.actor, event.body, thread=thread)
            if thread in messages:
                messages[thread].replies += 1
        elif (found := messages.get(event.data.get("message", 0))) is not None:
            _change(found, event)
    return messages


def _change(message: Message, event: Logged) -> None:
    match event.type:
        case "message.edited":
            message.body, message.version = event.body, event.data["version"]
        case "message.deleted":
            message.deleted, message.pinned = True, False
            message.reactions.clear()
        case "message.pinned" | "message.unpinned":
            message.pinned = event.type == "message.pinned"
        case "reaction.added":
            message.reactions.setdefault(event.data["emoji"], []).append(event.actor)
        case "reaction.removed":
            users = message.reactions[event.data["emoji"]]
            users.remove(event.actor)
            if not users:
                del message.reactions[event.data["emoji"]]
        case _:
            pass


def differences(message: Message, event: Mapping[str, Any]) -> list[str]:
    """In what a `message.sent` as `history` answers it is something else than a message by the log."""
    data = event["data"]
    thread = data.get("thread")
    if message.deleted:
        wrong = {"deleted": data.get("deleted") is not True, "erased": not event.get("erased"), "body": "body" in data,
                 "reactions": "reactions" in data, "pinned": "pinned" in data}  # fmt: skip
    else:
        reactions = [
            {"emoji": emoji, "count": len(users), "users": users[:NAMED]}
            for emoji, users in sorted(message.reactions.items())
        ]
        said = [
            {"emoji": one["emoji"], "count": one["count"], "users": [user["id"] for user in one["users"]]}
            for one in data.get("reactions", [])
        ]
        wrong = {"deleted": "deleted" in data or event.get("erased", False), "body": data.get("body") != message.body,
                 "version": data.get("version") != message.version, "reactions": said != reactions,
                 "pinned": data.get("pinned", False) != message.pinned}  # fmt: skip
    wrong["author"] = event["actor"]["id"] != message.author
    if message.thread is not None:
        wrong["thread"] = thread != message.thread
    else:
        wrong["replies"] = (thread or {}).get("replies", 0) != message.replies
    return [name for name, differs in wrong.items() if differs]


def crowds(log: Iterable[Logged]) -> set[tuple[int, str]]:
    """Messages and emoji with which more than five have ever reacted: of them a client may name fewer."""
    users: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for event in log:
        if event.type == "reaction.added":
            users[event.data["message"], event.data["emoji"]].add(event.actor)
    return {place for place, found in users.items() if len(found) > NAMED}


def same_page(
    shown: Sequence[Mapping[str, Any]], loaded: Sequence[Mapping[str, Any]], crowded: set[tuple[int, str]]
) -> str:
    """In what two pages differ that a reader has; '' if in nothing."""
    if [event["sequence"] for event in shown] != [event["sequence"] for event in loaded]:
        return f"of events {[event['sequence'] for event in shown]}, not {[event['sequence'] for event in loaded]}"
    for one, other in zip(shown, loaded, strict=True):
        if _without_crowds(one, crowded) != _without_crowds(other, crowded):
            return f"{one}, not {other}"
    return ""


def _without_crowds(event: Mapping[str, Any], crowded: set[tuple[int, str]]) -> Mapping[str, Any]:
    if "reactions" not in event["data"]:
        return event
    reactions = [
        {**one, "users": None} if (event["sequence"], one["emoji"]) in crowded else one
        for one in event["data"]["reactions"]
    ]
    return {**event, "data": {**event["data"], "reactions": reactions}}

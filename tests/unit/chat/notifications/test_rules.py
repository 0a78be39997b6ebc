"""Who is notified of what, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from parley.chat.notifications.rules import (
    EVERYBODY,
    MAX_CALLED,
    MAX_NAMED,
    RoomMessage,
    calls_present,
    due,
    due_to_present,
    earlier_messages,
    mentioned,
)
from parley.common.wire.consumers import LogEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTHORS = {RoomMessage("r", 3): "u_ben"}


def event(kind: str, **data: Any) -> LogEvent:
    return LogEvent("e", kind, "r", 9, NOW, "u_ann", "Ann", msgspec.json.encode(data))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (event("message.sent", body="hi"), []),
        (event("message.sent", body="hi", mentions=["u_ben", "u_ann"]), [("u_ben", "mention")]),
        (event("message.sent", body="hi", mention_all=True), [(EVERYBODY, "mention")]),
        (event("message.sent", body="hi", mention_here=True), []),
        (event("message.sent", body="hi", reply_to=3), [("u_ben", "reply")]),
        (event("message.sent", body="hi", reply_to=4), []),
        (event("reaction.added", message=3, emoji="x"), [("u_ben", "reaction")]),
        (event("reaction.removed", message=3, emoji="x"), []),
        (event("member.invited", user={"id": "u_ben"}), [("u_ben", "invitation")]),
        (event("member.banned", user={"id": "u_ben"}), [("u_ben", "moderation")]),
        (event("member.left", user={"id": "u_ann"}), []),
        # What an erased or a foreign event may look like concerns nobody, and above all not everybody.
        (event("member.invited"), []),
        (event("member.removed", user={}), []),
        (event("message.sent", mentions=["", 7], reply_to="3"), []),
    ],
)
def test_who_is_notified_of_an_event(one: LogEvent, expected: list[tuple[str, str]]):
    assert [(each.user_id, each.cause) for each in due(one, direct=False, authors=AUTHORS)] == expected


def test_a_message_in_a_direct_room_concerns_everybody_else_there():
    found = due(event("message.sent", body="hi", reply_to=3), direct=True, authors=AUTHORS)
    assert [(one.user_id, one.cause, one.message) for one in found] == [
        ("u_ben", "reply", 3), (EVERYBODY, "direct", None),
    ]  # fmt: skip


def test_nobody_is_notified_of_what_they_did():
    own = {RoomMessage("r", 3): "u_ann"}
    assert due(event("message.sent", body="hi", reply_to=3), direct=False, authors=own) == []


def test_mentions_are_counted_also_of_who_is_called_because_they_are_present():
    assert mentioned(event("message.sent", mentions=["u_ben", "u_ben"], mention_here=True)) == ["u_ben", EVERYBODY]
    assert mentioned(event("reaction.added", message=3)) == []
    many = [f"u{number}" for number in range(10_000)]
    assert len(mentioned(event("message.sent", mentions=many))) == MAX_NAMED


@pytest.mark.parametrize(
    ("one", "calls"),
    [
        (event("message.sent", body="@here", mention_here=True), True),
        (event("message.sent", body="@here @all", mention_here=True, mention_all=True), False),
        (event("message.sent", body="@here", mention_here=False), False),
        (event("message.sent", body='"mention_here": true'), False),
        (event("message.edited", body="@here", mention_here=True), False),
    ],
)
def test_a_message_calls_who_is_there_if_it_says_so_and_does_not_call_everybody(one: LogEvent, calls: bool):
    assert calls_present(one) is calls


def test_who_is_called_is_mentioned_whoever_calls_is_not_and_there_is_an_end_to_it():
    call = event("message.sent", mention_here=True)
    assert [(one.user_id, one.cause) for one in due_to_present(call, ["u_ben", "u_ann"])] == [("u_ben", "mention")]
    assert len(due_to_present(call, (f"u{number}" for number in range(MAX_CALLED + 9)))) == MAX_CALLED


def test_earlier_messages_are_asked_for_once():
    events = [event("message.sent", reply_to=3), event("reaction.added", message=3), event("message.sent", body="x")]
    assert earlier_messages(events) == [RoomMessage("r", 3)]

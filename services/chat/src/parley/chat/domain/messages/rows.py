"""The rows in which a room's messages are stored besides their events, pure: columns with their types, and the rows."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.chat.domain.messages.known import UNTOUCHED, MessageState, RoomMessages

MESSAGE_COLUMNS = {
    "room_id": "bigint", "sequence": "bigint", "version": "int", "edited_in": "bigint", "edited_at": "timestamptz",
    "deleted_in": "bigint", "reactions": "json", "replies": "bigint", "last_reply": "bigint",
    "last_reply_at": "timestamptz", "pinned_in": "bigint",
}  # fmt: skip
"""The columns of `chat.messages`: its key, and then the fields of a `MessageState` in their order."""
REACTION_COLUMNS = {
    "room_id": "bigint", "message": "bigint", "user_id": "text", "emoji": "text", "added_in": "bigint", "name": "text",
}  # fmt: skip
REPLY_COLUMNS = {"room_id": "bigint", "thread": "bigint", "sequence": "bigint"}
FOLLOWER_COLUMNS = {
    "room_id": "bigint", "thread": "bigint", "user_id": "text", "following": "boolean", "since": "bigint",
}  # fmt: skip

_counts = msgspec.json.Encoder(order="sorted")


def message_row(room_id: int, sequence: int, state: MessageState) -> tuple[Any, ...]:
    """Return a message's row in `chat.messages`."""
    return (
        room_id, sequence, state.version, state.edited_in, state.edited_at, state.deleted_in,
        _counts.encode(state.reactions).decode(), state.replies, state.last_reply, state.last_reply_at, state.pinned_in,
    )  # fmt: skip


def state_of_row(values: list[Any]) -> MessageState:
    """Return the state of a row, from its values behind the key."""
    state = MessageState(*values)
    state.reactions = msgspec.json.decode(values[4])
    return state


def message_rows(room_id: int, messages: RoomMessages) -> list[tuple[Any, ...]]:
    """Return the rows of all messages that something happened to."""
    # A state may have become untouched again, when the only reaction was taken back.
    return [message_row(room_id, *one) for one in messages.states.items() if one[1] != UNTOUCHED]


def reaction_rows(room_id: int, messages: RoomMessages) -> list[tuple[Any, ...]]:
    """Return the rows of all reactions that stand."""
    return [
        (room_id, message, *place, *reaction)
        for message, standing in messages.reactions.items()
        for place, reaction in standing.items()
    ]


def reply_rows(room_id: int, messages: RoomMessages) -> list[tuple[Any, ...]]:
    """Return the rows of all replies in threads."""
    return [(room_id, *place) for place in messages.replies]


def follower_rows(room_id: int, messages: RoomMessages) -> list[tuple[Any, ...]]:
    """Return the rows of all who follow a thread, or stopped."""
    return [(room_id, *place, *found) for place, found in messages.following.items()]

"""Loads what decisions need of messages, and stores what became of them, under the rooms' locks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from parley.chat.domain.batch_state import Submission
from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.recorded import NOTHING, Recorded
from parley.chat.domain.events import NamedUser
from parley.chat.domain.messages.amending import MessageEdited
from parley.chat.domain.messages.amendments import amend
from parley.chat.domain.messages.known import UNTOUCHED, Following, Reaction, RoomMessages, Target
from parley.chat.domain.messages.reactions import ReactionAdded, ReactionRemoved
from parley.chat.domain.messages.rows import message_row, state_of_row
from parley.chat.domain.messages.threads import ThreadFollowed, ThreadUnfollowed
from parley.chat.log.messages import message_statements as sql
from parley.chat.log.statements import columns_of, execute_rows

_LAST_EDIT = "SELECT edited_in FROM chat.messages WHERE room_id = $1 AND sequence = $2"
_OWN = frozenset((ReactionAdded.TYPE, ThreadFollowed.TYPE, ThreadUnfollowed.TYPE))
_NEVER = datetime.min.replace(tzinfo=UTC)


async def load_messages(connection: Any, submissions: list[Submission]) -> dict[int, RoomMessages]:
    """Return by room the messages that commands are about. Commands that are about none cost nothing."""
    asking = [one for one in submissions if one.needs.messages]
    rooms: dict[int, RoomMessages] = {one.room_id: RoomMessages() for one in asking}
    if not asking:
        return rooms
    places = sorted({(one.room_id, sequence) for one in asking for sequence in one.needs.messages})
    await _load_targets(connection, places, rooms)
    await _load_reactions(connection, asking, rooms)
    await _load_following(connection, asking, rooms)
    if pinning := sorted({one.room_id for one in asking if one.needs.pins}):
        for room_id, pinned in await connection.fetch(sql.COUNT_PINS, pinning):
            rooms[room_id].pins = pinned
    return rooms


def followers_asked(submission: Submission, messages: dict[int, RoomMessages]) -> list[tuple[int, str]]:
    """Return whose membership a reply in a thread needs besides its sender's, as `(room, user)`."""
    needs = submission.needs
    if needs.thread is None:
        return []
    root = messages[submission.room_id].targets.get(needs.thread)
    users = (*needs.followers, *((root.author,) if root is not None and root.author else ()))
    return [(submission.room_id, user_id) for user_id in users]


async def _load_targets(connection: Any, places: list[tuple[int, int]], rooms: dict[int, RoomMessages]) -> None:
    if not places:
        return
    for room_id, sequence, author, thread, erased, *state in await connection.fetch(
        sql.LOAD_MESSAGES, *columns_of(places)
    ):
        of_room = rooms[room_id]
        of_room.targets[sequence] = Target(unpack(author), thread, erased)
        if state[0] is not None:
            of_room.states[sequence] = state_of_row(state)


async def _load_reactions(connection: Any, asking: list[Submission], rooms: dict[int, RoomMessages]) -> None:
    places = sorted(
        {
            (one.room_id, sequence, one.identity.user_id)
            for one in asking
            if one.needs.reactions
            for sequence in one.needs.messages
        }
    )
    await _load_standing(connection, places, rooms)


async def _load_standing(connection: Any, places: list[tuple[int, int, str]], rooms: dict[int, RoomMessages]) -> None:
    if not places:
        return
    for room_id, message, user_id, emoji, *reaction in await connection.fetch(sql.LOAD_REACTIONS, *columns_of(places)):
        rooms[room_id].reactions.setdefault(message, {})[user_id, emoji] = Reaction(*reaction)


async def _load_following(connection: Any, asking: list[Submission], rooms: dict[int, RoomMessages]) -> None:
    places = {
        (room_id, one.needs.thread, user_id)
        for one in asking
        if one.needs.thread is not None
        for room_id, user_id in [(one.room_id, one.identity.user_id), *followers_asked(one, rooms)]
    }
    if not places:
        return
    for room_id, thread, user_id, *following in await connection.fetch(sql.LOAD_FOLLOWING, *columns_of(sorted(places))):
        rooms[room_id].following[thread, user_id] = Following(*following)


async def save_messages(connection: Any, rooms: dict[int, RoomMessages]) -> None:
    """Store what was touched of rooms' messages, and remove the texts of those that were deleted from the log."""
    await _save_deletions(connection, rooms)
    touched = [(room_id, of_room, of_room.touched) for room_id, of_room in sorted(rooms.items())]
    states = [
        (room_id, sequence, of_room.state_of(sequence))
        for room_id, of_room, changed in touched
        for sequence in sorted(changed.messages)
    ]
    await execute_rows(connection, sql.PUT_MESSAGES, [message_row(*one) for one in states if one[2] != UNTOUCHED])
    await execute_rows(
        connection,
        sql.REMOVE_MESSAGES,
        [(room_id, sequence) for room_id, sequence, state in states if state == UNTOUCHED],
    )
    reactions = [
        (room_id, *place, of_room.reaction(*place))
        for room_id, of_room, changed in touched
        for place in sorted(changed.reactions)
    ]
    await execute_rows(connection, sql.REMOVE_REACTIONS, [one[:4] for one in reactions if one[4] is None])
    await execute_rows(connection, sql.PUT_REACTIONS, [(*one[:4], *one[4]) for one in reactions if one[4] is not None])
    replies = [(room_id, *place) for room_id, _, changed in touched for place in changed.replies]
    await execute_rows(connection, sql.PUT_REPLIES, replies)
    followers = [
        (room_id, *place, *of_room.following[place])
        for room_id, of_room, changed in touched
        for place in sorted(changed.following)
    ]
    await execute_rows(connection, sql.PUT_FOLLOWERS, followers)


async def _save_deletions(connection: Any, rooms: dict[int, RoomMessages]) -> None:
    deleted = [
        (room_id, message, last_edit)
        for room_id, of_room in sorted(rooms.items())
        for message, last_edit in of_room.touched.deleted.items()
    ]
    if not deleted:
        return
    gone = [(room_id, message) for room_id, message, _ in deleted]
    edits: list[Any] = []
    if any(last_edit for _, _, last_edit in deleted):
        edits = await connection.fetch(sql.TEXTS_OF, *columns_of(deleted))
    await execute_rows(connection, sql.DELETE_TEXTS, [*gone, *(tuple(row.values()) for row in edits)])
    await execute_rows(connection, sql.CLEAR_REACTIONS, gone)


async def edits_of(connection: Any, room_id: int, message: int) -> list[int]:
    """Return the sequences of a message's edits."""
    last: int | None = await connection.fetchval(_LAST_EDIT, room_id, message)
    if last is None:
        return []
    return [row["sequence"] for row in await connection.fetch(sql.TEXTS_OF, [room_id], [message], [last])]


async def withdraw(connection: Any, room_id: int, erased: list[Recorded], user_id: str | None) -> None:
    """Undo what events did to messages that are erased now: edits, and a user's own reactions and followed threads.

    The events are as they were before. What others did in the user's name, and what the user did to others' messages
    besides, stays.
    """
    if not erased:
        return
    messages = RoomMessages()
    rooms = {room_id: messages}
    # An edit of a deleted message is empty already, and only its author goes.
    edits: dict[int, int] = {
        one.sequence: msgspec.json.decode(one.data)["message"]
        for one in erased
        if one.type == MessageEdited.TYPE and one.data != NOTHING
    }
    theirs = [] if user_id is None else [(one.sequence, one.event()) for one in erased if one.type in _OWN]
    reacted = [(at, event) for at, event in theirs if isinstance(event, ReactionAdded)]
    touched = sorted({*edits.values(), *(event.message for _, event in reacted)})
    await _load_targets(connection, [(room_id, message) for message in touched], rooms)
    places = {(room_id, event.message, user_id or "") for _, event in reacted}
    await _load_standing(connection, sorted(places), rooms)
    for sequence, message in edits.items():
        if (state := messages.states.get(message)) is not None and state.edited_in == sequence:
            state.version, state.edited_in, state.edited_at = 1, None, None
            messages.touched.messages[message] = None
    for sequence, event in reacted:
        found = messages.reaction(event.message, user_id or "", event.emoji)
        if found is not None and found.added_in == sequence:
            actor = NamedUser(user_id or "")
            amend(messages, ReactionRemoved(event.message, event.emoji), sequence, actor, _NEVER)
    gone = [
        (room_id, event.thread, user_id or "", at)
        for at, event in theirs
        if isinstance(event, ThreadFollowed | ThreadUnfollowed) and event.user.id == user_id
    ]
    await execute_rows(connection, sql.REMOVE_FOLLOWED_SINCE, gone)
    await save_messages(connection, rooms)

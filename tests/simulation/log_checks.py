"""What must hold of the log after any run: it is gapless, numbered, allowed by its own history, and projected right."""

from __future__ import annotations

from collections import Counter
from typing import Any

from parley.chat.domain.encoding.compact import unpack
from parley.chat.domain.encoding.event_codec import ERASED
from parley.chat.domain.encoding.room_ids import event_id
from parley.chat.domain.erasure import evolve_recorded
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.amending import MessageEdited
from parley.chat.domain.messages.amendments import amend_recorded
from parley.chat.domain.messages.decisions import MessageEvent
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.messages.pins import MessagePinned, MessageUnpinned
from parley.chat.domain.messages.reactions import ReactionAdded, ReactionRemoved
from parley.chat.domain.messages.rows import follower_rows, message_rows, reaction_rows, reply_rows
from parley.chat.domain.messages.threads import ThreadFollowed
from parley.chat.domain.people.moderation import MemberRemoved, ModerationEvent
from parley.chat.domain.projectors import restriction_row
from parley.chat.domain.rooms import RoomCreated
from parley.chat.domain.state import Restrictions, Room
from parley.chat.log.event_store import stored_row
from tests.simulation.world import World


def check_log(world: World) -> None:
    """Check every room of the log, and the projections."""
    tables = world.database.tables
    for room_id, events in tables.events.items():
        if events:
            _check_room(world, room_id, [stored_row(events[sequence]) for sequence in sorted(events)])
    for room_id, row in tables.rooms.items():
        world.require(row["head"] == len(tables.events[room_id]), "room", room_id, "has head", row["head"])


def _check_room(world: World, room_id: int, events: list[Any]) -> None:
    sequences = [event.sequence for event in events]
    world.require(sequences == list(range(1, len(events) + 1)), "gap in the log:", room_id, sequences)
    ids = Counter(
        (event.actor_id, event.command_id, type(event.event()).__name__, _follower(event.event()))
        for event in events
        if not event.erased
    )
    doubled = [one for one, times in ids.items() if times > (2 if one[2] == "MemberChanged" else 1)]
    world.require(not doubled, "commands that were appended twice:", doubled)
    room: Room | None = None
    messages = RoomMessages()
    for event in events:
        what, at = None if event.erased else event.event(), f"event {event.sequence} of {room_id}"
        if event.erased:
            world.require(room is not None or event.type == RoomCreated.TYPE, at, "is before the room is made")
        elif isinstance(what, RoomCreated):
            world.require(room is None, at, "makes the room again")
        else:
            assert room is not None
            world.require(
                not room.archived or isinstance(what, MemberLeft | MemberChanged | EventsErased),
                at,
                "changes an archived room",
            )
            _check_amending(world, messages, room, event, what, at)
        # What somebody did in a room follows also from events of which nothing is left.
        if room is not None and not any(one.erased and not one.actor_id for one in events):
            _check_allowed(world, room, event, what, at)
        room = evolve_recorded(room, event)
        amend_recorded(messages, event)
        world.require(event.number == room.messages, at, "has number", event.number, "of", room.messages)
    assert room is not None
    _check_projections(world, room)
    _check_messages(world, room_id, events, messages)


def _follower(what: Any) -> str:
    """Who follows a thread from an event on: of those a reply makes several."""
    return what.user.id if isinstance(what, ThreadFollowed) else ""


def _check_allowed(world: World, room: Room, event: Any, what: Any, at: str) -> None:
    first = event_id(room.room_id, event.actor_id, event.command_id) == event.event_id
    own = room.restrictions.get(event.actor_id, Restrictions(event.actor_id))
    if isinstance(what, MessageSent | MessageEdited | ReactionAdded):
        muted = own.muted_until is not None and own.muted_until > event.recorded_at
        world.require(not muted or room.members[event.actor_id].role == "owner", at, "by somebody who is muted")
    if isinstance(what, MessageEvent | MemberInvited | ModerationEvent) and not isinstance(what, ThreadFollowed):
        world.require(room.is_in(event.actor_id), at, "by somebody who is no member:", event.actor_id)
        # Who is banned is removed by a second event of the command.
        second = isinstance(what, MemberRemoved)
        world.require(first or second, at, "has another id than follows from its command")
    elif isinstance(what, MemberJoined):
        world.require(not room.is_in(what.user.id), at, "joins a member")
        banned = own.banned_until is not None and own.banned_until > event.recorded_at
        world.require(not banned, at, "joins though banned until", own.banned_until)
        world.require((what.role == "owner") == (room.member_count == 0), at, "joins as", what.role)
    elif isinstance(what, MemberLeft):
        world.require(what.user.id in room.members, at, "takes out somebody who is not there")


def _check_amending(world: World, messages: RoomMessages, room: Room, event: Any, what: Any, at: str) -> None:
    """What was done about a message was possible with what was there before."""
    message = getattr(what, "message", None)
    if message is None:
        return
    target, state = messages.targets.get(message), messages.state_of(message)
    world.require(target is not None and state.deleted_in is None, at, "is about no message that is there:", what)
    standing = messages.reaction(message, event.actor_id, getattr(what, "emoji", "")) is not None
    if isinstance(what, MessageEdited):
        world.require(target is not None and target.author in (event.actor_id, ""), at, "edits what others wrote")
        world.require(what.version == state.version + 1, at, "replaces version", state.version, "by", what.version)
    elif isinstance(what, ReactionAdded | ReactionRemoved):
        world.require(standing == isinstance(what, ReactionRemoved), at, "changes nothing:", what)
    elif isinstance(what, MessagePinned | MessageUnpinned):
        pinned = state.pinned_in is not None
        world.require(pinned == isinstance(what, MessageUnpinned), at, "changes nothing:", what)
        role = room.members[event.actor_id].role if event.actor_id in room.members else ""
        world.require(role in ("owner", "moderator"), at, "by a", role)


def _check_messages(world: World, room_id: int, events: list[Any], messages: RoomMessages) -> None:
    """Of deleted messages no text is left, and all that is stored of messages is what the events say."""
    for event in events:
        what = None if event.erased else event.event()
        of = event.sequence if isinstance(what, MessageSent) else getattr(what, "message", 0)
        if isinstance(what, MessageSent | MessageEdited):
            gone = messages.state_of(of).deleted_in
            world.require(gone is None, "event", event.sequence, "of", room_id, "has a text that", gone, "deleted")
    tables = world.database.tables
    for name, stored, rows, key in (
        ("messages", tables.messages, message_rows(room_id, messages), 2),
        ("reactions", tables.reactions, reaction_rows(room_id, messages), 4),
        ("replies", tables.replies, reply_rows(room_id, messages), 3),
        ("followers", tables.followers, follower_rows(room_id, messages), 3),
    ):
        are = {place: tuple(row.values()) for place, row in stored.items() if place[0] == room_id}
        should = {row[:key]: row for row in rows}
        world.require(are == should, name, "of room", room_id, "are", are, "and not", should)


def _check_projections(world: World, room: Room) -> None:
    tables, of = world.database.tables, f"of room {room.room_id}"
    row = tables.rooms.get(room.room_id)
    if row is None:
        world.require(False, "no row", of)
        return
    for name in ("head", "messages", "changed", "archived", "member_count", "name", "topic", "kind", "created_by",
                 "name_kept_in", "topic_kept_in"):  # fmt: skip
        is_now, should = row[name], getattr(room, name)
        world.require(is_now == should, name, of, "is", is_now, "and not", should)
    members = {user_id: tuple(one.values())[2:5] for user_id, one in tables.members[room.room_id].items()}
    should_be = {user_id: (one.state, one.role, one.sequence) for user_id, one in room.members.items()}
    world.require(members == should_be, "members", of, "are", members, "and not", should_be)
    held = {
        user_id: tuple(row.values())
        for (of_room, user_id), row in tables.restrictions.items()
        if of_room == room.room_id
    }
    should_hold = {user_id: restriction_row(room.room_id, own) for user_id, own in room.restrictions.items()}
    world.require(held == should_hold, "restrictions", of, "are", held, "and not", should_hold)
    owners = [user_id for user_id, one in room.members.items() if one.joined and one.role == "owner"]
    world.require(len(owners) == min(1, room.member_count), "owners", of, owners)


def committed(world: World, room_id: int, actor_id: str, command_id: str, sequence: int) -> bool:
    """Whether the log has, at this moment, what was acked or announced."""
    event = world.database.tables.events[room_id].get(sequence)
    if event is not None and event["version"] == ERASED:
        # Of whom it was, its id alone still tells.
        return event["event_id"] == event_id(room_id, actor_id, command_id)
    return event is not None and (unpack(event["actor_id"]), unpack(event["command_id"])) == (actor_id, command_id)

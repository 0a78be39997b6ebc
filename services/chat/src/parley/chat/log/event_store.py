"""The log and its projections in one transaction: load under the rooms' locks, append, project.

The writer calls `recall` and `append` for the short way, and `lock_rooms`, `load` and `save` for the long one, all on
its own connection. `statements` has the SQL.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from parley.chat.domain.attaching import Attachment
from parley.chat.domain.batch_state import BatchDecision, LoadedState, Remembered, Submission
from parley.chat.domain.draft import Draft, Drafts
from parley.chat.domain.encoding.compact import pack, pack_user, unpack
from parley.chat.domain.encoding.event_codec import CODEC, ERASED, StoredEvent
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import forget_texts, hidden
from parley.chat.domain.projectors import (
    MEMBER_COLUMNS,
    ROOM_COLUMNS,
    invite_row,
    member_row,
    restriction_row,
    room_row,
)
from parley.chat.domain.state import Invite, Member, Restrictions, Room
from parley.chat.log import statements as sql
from parley.chat.log.messages.message_rows import followers_asked, load_messages, save_messages
from parley.chat.log.statements import columns_of, execute_rows

MEMBER_WIDTH = len(MEMBER_COLUMNS) - 1
"""Columns of a member without the room."""


async def read_secret(connection: Any) -> bytes:
    """Return the secret of the log behind a connection."""
    return await connection.fetchval("SELECT room_secret FROM chat.log")


class LockedRooms(NamedTuple):
    """What `lock_rooms` got: the locked rooms as they are now, and the rooms that another process has locked."""

    rooms: dict[int, Room]
    away: set[int]


async def lock_rooms(connection: Any, submissions: list[Submission], *, wait: bool) -> LockedRooms:
    """Lock the rooms of these commands until the transaction ends: with `wait` all of them, else those that are free.

    A room that does not exist for any of the senders is not locked. Raises `asyncpg.LockNotAvailableError` after
    waiting for too long.
    """
    wanted = sorted({one.room_id for one in submissions})
    asks = columns_of([(one.room_id, one.identity.user_id, one.key, one.needs.anyway) for one in submissions])
    rows = await connection.fetch(sql.LOCK_ROOMS if wait else sql.LOCK_FREE_ROOMS, wanted, *asks)
    rooms = {row["room_id"]: _room(row) for row in rows}
    away: set[int] = set()
    # A room is missing because it is locked, or because there is none. Only for the first its commands wait.
    if not wait and len(rooms) < len(wanted):
        others = [room_id for room_id in wanted if room_id not in rooms]
        away = {row["room_id"] for row in await connection.fetch(sql.EXISTING_ROOMS, others, *asks)}
    return LockedRooms(rooms, away)


async def load(connection: Any, submissions: list[Submission], rooms: dict[int, Room]) -> LoadedState:
    """Read what deciding these commands needs besides their rooms, which are locked."""
    if not submissions:
        return LoadedState(datetime.now(UTC), rooms)
    keys = [submission.key for submission in submissions]
    # Erasures are read first: if this sees one as completed, the events of this batch are recorded after its end.
    asks = [
        (one.key, one.room_id, one.identity.user_id, user)
        for one in submissions
        for user in (one.needs.member, *one.needs.others)
    ]
    asking, *columns = columns_of(asks)
    erased = await connection.fetch(sql.ERASING, *columns)
    rows = await connection.fetch(sql.LOAD_EARLIER, [submission.room_id for submission in submissions], keys)
    loaded = LoadedState(rows[0]["now"], rooms, erasing={asking[row["ordinal"] - 1]: row["room"] for row in erased})
    events: defaultdict[UUID, list[Recorded]] = defaultdict(list)
    for row in rows:
        ordinal: int = row["ordinal"]
        key = keys[ordinal - 1]
        if row["sequence"] is not None:
            events[key].append(recorded_row(row))
        elif row["unchanged"] is not None:
            loaded.earlier[key] = Remembered(row["unchanged_by"], row["unchanged"])
    loaded.earlier.update(events)
    # Before the members: who follows the thread that a message is about is known only now.
    loaded.messages = await load_messages(connection, submissions)
    await _load_participants(connection, loaded)
    await _load_members(connection, submissions, loaded)
    await _load_about_people(connection, submissions, loaded)
    if users := sorted({one.identity.user_id for one in submissions if one.needs.rooms}):
        loaded.joined.update({row["user_id"]: row["joined"] for row in await connection.fetch(sql.COUNT_ROOMS, users)})
    if inviting := sorted({(one.room_id, one.identity.user_id) for one in submissions if one.needs.invitations}):
        counts = await connection.fetch(sql.COUNT_INVITATIONS, *columns_of(inviting))
        loaded.invitations.update({(row["room_id"], row["user_id"]): row["waiting"] for row in counts})
    if wanted := sorted({upload for one in submissions for upload in one.needs.uploads}):
        for user_id, *upload in await connection.fetch(sql.LOAD_UPLOADS, wanted):
            loaded.uploads.setdefault(user_id, {})[upload[0]] = Attachment(*upload)
    return loaded


async def _load_members(connection: Any, submissions: list[Submission], loaded: LoadedState) -> None:
    rooms = loaded.rooms
    places = {(one.room_id, one.identity.user_id) for one in submissions}
    places.update((one.room_id, one.needs.member) for one in submissions if one.needs.member is not None)
    places.update(place for one in submissions for place in followers_asked(one, loaded.messages))
    places.update((one.room_id, user) for one in submissions for user in one.needs.others)
    places.update((room.room_id, user) for room in rooms.values() for user in room.participants)
    rows = await connection.fetch(sql.LOAD_MEMBERS, *columns_of(sorted(places)))
    leaving: dict[int, int] = {}
    for one in submissions:
        if one.needs.eldest:
            # One more than may leave in this batch, so that somebody remains to take over whoever of them is the owner.
            leaving[one.room_id] = leaving.get(one.room_id, 1) + 1
    if leaving:
        eldest = await connection.fetch(sql.LOAD_ELDEST, list(leaving), list(leaving.values()))
        rows += eldest
        # A member whose restrictions were not read would be known as one who has none.
        places.update((row["room_id"], row["user_id"]) for row in eldest)
    for room_id, *own in await connection.fetch(sql.LOAD_RESTRICTIONS, *columns_of(sorted(places))):
        if (room := rooms.get(room_id)) is not None:
            room.restrictions[own[0]] = Restrictions(*own)
    for room_id, *member in rows:
        if (room := rooms.get(room_id)) is not None:
            room.members[member[0]] = Member(*member)
    if invited := [(one.room_id, one.needs.member) for one in submissions if one.needs.invitations]:
        for room_id, user_id, at in await connection.fetch(sql.LOAD_DECLINED, *columns_of(invited)):
            if (room := rooms.get(room_id)) is not None:
                room.declined[user_id] = at


async def _load_participants(connection: Any, loaded: LoadedState) -> None:
    direct = [room.room_id for room in loaded.rooms.values() if room.kind == "direct"]
    if not direct:
        return
    rows = await connection.fetch(sql.LOAD_PARTICIPANTS, direct)
    for room_id, user_id in rows:
        loaded.rooms[room_id].participants.add(user_id)
    absent = await connection.fetch(sql.ABSENT, sorted({row["user_id"] for row in rows}))
    loaded.absent.update(row["user_id"] for row in absent)


async def _load_about_people(connection: Any, submissions: list[Submission], loaded: LoadedState) -> None:
    """Read what few commands need: rooms' links, counts of restrictions, blocks, and when senders last wrote."""
    rooms = loaded.rooms
    if linked := sorted({one.room_id for one in submissions if one.needs.invites and one.room_id in rooms}):
        for room_id, *invite in await connection.fetch(sql.LOAD_INVITES, linked):
            rooms[room_id].invites[invite[0]] = Invite(*invite)
    if counted := sorted({one.room_id for one in submissions if one.needs.restricted}):
        rows = await connection.fetch(sql.COUNT_RESTRICTED, counted)
        loaded.restricted.update({row["room_id"]: row["restricted"] for row in rows})
    pairs: set[tuple[str, str]] = set()
    for one in submissions:
        # Who may write to whom in a room between two, and who of those that are named.
        room = rooms.get(one.room_id)
        others = room.participants if room is not None and one.needs.between and len(room.participants) == 2 else ()
        for other in (*others, *one.needs.blocks):
            pairs |= {(other, one.identity.user_id), (one.identity.user_id, other)}
    if pairs:
        rows = await connection.fetch(sql.LOAD_BLOCKS, *columns_of(sorted(pairs)))
        loaded.blocks.update((row["user_id"], row["blocked_id"]) for row in rows)
    slow = {
        (room.room_id, one.identity.user_id, pack_user(one.identity.user_id), room.head, room.slow_seconds)
        for one in submissions
        if one.needs.posted and (room := rooms.get(one.room_id)) is not None and room.slow_seconds
    }
    if slow:
        rows = await connection.fetch(sql.LAST_POSTED, *columns_of(sorted(slow)))
        loaded.posted.update({(row["room_id"], row["user_id"]): row["recorded_at"] for row in rows})


async def recall(connection: Any, places: list[tuple[int, str]]) -> list[Room]:
    """Return these rooms as they are now, each with one user's membership.

    Rooms in which the user has none are left out.
    """
    rooms: list[Room] = []
    for row in await connection.fetch(sql.RECALL, *columns_of(places)):
        values = list(row.values())
        columns, others = values[: len(ROOM_COLUMNS)], values[len(ROOM_COLUMNS) :]
        member, own = Member(*others[:MEMBER_WIDTH]), others[MEMBER_WIDTH:-1]
        room = Room(*columns, members={member.user_id: member}, participants=set(others[-1] or ()))
        if own[0] is not None:
            room.restrictions[member.user_id] = Restrictions(*own)
        rooms.append(room)
    return rooms


class AppendResult(NamedTuple):
    """What `append` did. `heads` has by room the head and the number of messages behind which its events were appended.

    `resent` has the keys of commands that had been appended before. If there are any, nothing was appended.
    """

    heads: dict[int, tuple[int, int]]
    now: datetime
    resent: set[UUID]


async def append(connection: Any, drafts: Drafts, *, wait: bool) -> AppendResult:
    """Append drafts and commit: to every room that is as it was known to be, or to none if a command is a resend.

    With `wait`, rooms that another process has locked are waited for, else they are left out. Raises
    `asyncpg.LockNotAvailableError` after waiting for too long, and `asyncpg.UniqueViolationError` if another process
    appends one of these commands at this moment.
    """
    # Every writer locks rooms in the order of their keys, so that two of them cannot wait for each other.
    ids = sorted(drafts.rooms)
    known = [drafts.rooms[room_id] for room_id in ids]
    events = [
        (one.submission.room_id, one.ordinal, one.number, one.event_id, one.stored.number, one.stored.version,
         pack_user(one.submission.identity.user_id), one.submission.identity.name, pack(one.submission.command.id),
         one.submission.fingerprint, one.stored.data.decode())
        for _, waiting in known for one in waiting
    ]  # fmt: skip
    changed = [room.changed for room, _ in known]
    added = [len(waiting) for _, waiting in known]
    # The number of the last draft is how many messages the room has once all are appended.
    messages = [waiting[-1].number for _, waiting in known]
    statement = sql.APPEND_KNOWN if wait else sql.APPEND_FREE
    pairs = columns_of(_pairs(known)) or [[], [], []]
    (row,) = await connection.fetch(statement, ids, changed, added, messages, events, *pairs)
    rooms, heads, numbers, now, resent = row
    placed = zip(heads or (), numbers or (), strict=True)
    return AppendResult(dict(zip(rooms or (), placed, strict=True)), now, {events[place - 1][3] for place in resent})


def _pairs(known: list[tuple[Room, list[Draft]]]) -> list[tuple[int, str, str]]:
    """Return by room which users may not have blocked which: the sender and the other one of a room between two."""
    return [
        (room.room_id, *pair)
        for room, waiting in known
        if len(room.participants) == 2
        for user_id in {one.submission.identity.user_id for one in waiting}
        for other in room.participants - {user_id}
        for pair in ((other, user_id), (user_id, other))
    ]


async def save(connection: Any, decision: BatchDecision, rooms: dict[int, Room]) -> None:
    """Append the decided events, bring the projections up to them, and remember commands that appended nothing.

    Texts that rooms had from erased events and do not have any more are removed from these events.
    """
    if created := sorted(decision.created.values(), key=lambda room: room.room_id):
        await connection.execute(sql.CREATE_ROOMS, *columns_of([room_row(room) for room in created]))
    if decision.appended:
        changed = sorted(
            tuple(getattr(room, column) for column in sql.CHANGING) for room in decision.changed_rooms.values()
        )
        events = [event_row(event) for event in decision.appended]
        await connection.execute(sql.APPEND, *columns_of(events), *(columns_of(changed) or [[]] * len(sql.CHANGING)))
    # A membership that changed several times in the batch is written once, as the room's state has it in the end.
    present: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    declined: list[tuple[Any, ...]] = []
    for room_id, user_id in decision.members:
        if m := rooms[room_id].members.get(user_id):
            present.append(member_row(room_id, m))
        else:
            gone.append((room_id, user_id))
            if at := rooms[room_id].declined.get(user_id):
                declined.append((room_id, user_id, at))
    await execute_rows(connection, sql.PUT_MEMBERS, present)
    await execute_rows(connection, sql.REMOVE_MEMBERS, gone)
    await execute_rows(connection, sql.PUT_DECLINED, declined)
    await save_messages(connection, decision.messages)
    await _save_people(connection, decision, rooms)
    # Sorted like all that is written here, so that two transactions meet on rows in the same order.
    for (room_id, sequence), texts in sorted(decision.forgotten.items()):
        row = await connection.fetchrow(sql.KEPT_TEXTS, room_id, sequence)
        if row is not None:
            kind, data = CODEC.upcast(StoredEvent(row["type"], ERASED, row["data"].encode()))
            await connection.execute(sql.FORGET_TEXTS, room_id, sequence, forget_texts(kind, data, texts).decode())
    places = [(upload, *place) for upload, place in sorted(decision.attached.items())]
    await execute_rows(connection, sql.ATTACH, places)
    rows = [(room_id, key, one.fingerprint, one.sequence) for key, (room_id, one) in decision.remembered.items()]
    await execute_rows(connection, sql.REMEMBER, rows)


async def _save_people(connection: Any, decision: BatchDecision, rooms: dict[int, Room]) -> None:
    held = [(key, rooms[key[0]].restrictions.get(key[1])) for key in decision.restrictions]
    there = [restriction_row(room_id, own) for (room_id, _), own in held if own is not None]
    await execute_rows(connection, sql.PUT_RESTRICTIONS, there)
    await execute_rows(connection, sql.REMOVE_RESTRICTIONS, [key for key, own in held if own is None])
    await execute_rows(connection, sql.PUT_PARTICIPANTS, list(decision.participants))
    links = [(key, rooms[key[0]].invites.get(key[1])) for key in decision.invites]
    good = [invite_row(room_id, invite) for (room_id, _), invite in links if invite is not None]
    await execute_rows(connection, sql.PUT_INVITES, good)
    await execute_rows(connection, sql.REMOVE_INVITES, [key for key, invite in links if invite is None])


def recorded_row(row: Any) -> Recorded:
    """Return the event of a row of `EVENT_COLUMNS` as everybody may read it, with its data in the current version."""
    recorded = stored_row(row)
    # Of a deleted message it is still known who wrote it.
    return hidden(recorded) if row["hidden"] and (not recorded.erased or recorded.actor_id) else recorded


def stored_row(row: Any) -> Recorded:
    """Return the event of a row as the log has it, hidden or not. Only projections are made from it."""
    name, data = CODEC.upcast(StoredEvent(row["type"], row["version"], row["data"].encode()))
    return Recorded(
        row["room_id"], row["sequence"], row["number"], row["event_id"], name, unpack(row["actor_id"]),
        row["actor_name"], unpack(row["command_id"]), row["fingerprint"], data, row["recorded_at"],
        row["version"] == ERASED,
    )  # fmt: skip


def event_row(event: Recorded) -> tuple[Any, ...]:
    """Return an event's row in `chat.events`, in the order of the statement that appends it."""
    number, version = CODEC.stored_as(event.type)
    version = ERASED if event.erased else version
    return (
        event.room_id, event.sequence, event.number, event.event_id, number, version, pack_user(event.actor_id),
        event.actor_name, pack(event.command_id), event.fingerprint, event.data.decode(), event.recorded_at,
    )  # fmt: skip


def _room(row: Any) -> Room:
    return Room(*row.values())

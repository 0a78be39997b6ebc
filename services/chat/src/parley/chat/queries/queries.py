"""Reading the log and its projections: history, sync, rooms, members. What a user may not see does not exist."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any

import msgspec

from parley.chat.domain.events import ClientEvent, Instant
from parley.chat.domain.fields import Kind, RoomId
from parley.chat.domain.identifiers import public_room_id, room_key
from parley.chat.domain.recorded import Recorded
from parley.chat.domain.state import Member, Room
from parley.chat.log.database import Pool
from parley.chat.log.event_store import EVENT_COLUMNS, recorded_row
from parley.common.errors import Code, Reject
from parley.common.wire.admin import ListRooms, RoomInfo, RoomList
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import MAX_BEHIND, Membership, RoomHead

MAX_PAGE = 200
MAX_SYNC_ROOMS = 1000
MAX_SYNC_EVENTS = 1000
MAX_PAGE_BYTES = 384 * 1024
"""Pages end early here, to fit one message of the broker whatever the texts' sizes."""


class History(msgspec.Struct, frozen=True):
    """`history`: a page of events before or after a sequence, or the newest."""

    room: RoomId
    before: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50


class Page(msgspec.Struct, frozen=True):
    """Events, oldest first, and whether there are more in the direction asked for."""

    events: list[ClientEvent[msgspec.Raw]]
    more: bool


class Sync(msgspec.Struct, frozen=True):
    """`sync`: the last sequence the client has, per room."""

    cursors: Annotated[
        dict[RoomId, Annotated[int, msgspec.Meta(ge=0, lt=2**53)]], msgspec.Meta(max_length=MAX_SYNC_ROOMS)
    ]


class RoomSync(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one room's cursor missed; `reset` says to load the room anew, `error` that there is no such room for you."""

    events: list[ClientEvent[msgspec.Raw]] = []
    head: int = 0
    more: bool = False
    reset: bool = False
    error: dict[str, Any] | None = None


class RoomView(msgspec.Struct, frozen=True):
    """A room as a user sees it."""

    id: str
    name: str
    kind: Kind
    archived: bool
    head: int
    members: int
    created_by: str
    created_at: Instant
    joined: bool
    invited: bool


def room_view(room: Room, user_id: str) -> RoomView:
    """The view of a decided room for one user."""
    member = room.members.get(user_id)
    return RoomView(
        room.id, room.name, room.kind, room.archived, room.head, room.member_count, room.created_by, room.created_at,
        bool(member and member.joined), bool(member and not member.joined),
    )  # fmt: skip


class Queries:
    """Reads of the chat schema."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def room(self, room_id: str, identity: Identity) -> RoomView:
        """A visible room. Raises `Reject(not_found)` for one that is not there or not to be seen."""
        row = await self._pool.fetchrow(
            """SELECT r.*, m.state FROM chat.rooms r
               LEFT JOIN chat.members m ON m.room_id = r.room_id AND m.user_id = $2 WHERE r.room_id = $1""",
            room_key(room_id), identity.user_id,
        )  # fmt: skip
        if row is None or (row["kind"] == "private" and row["state"] is None):
            raise Reject(Code.NOT_FOUND, "There is no such room.")
        return _view(row)

    async def rooms(self, identity: Identity, search: str, before: str, limit: int) -> tuple[list[RoomView], bool]:
        """Rooms the user may see, newest first, after the room with id `before`; and whether there are more."""
        rows = await self._pool.fetch(
            """SELECT r.*, m.state FROM chat.rooms r
               LEFT JOIN chat.members m ON m.room_id = r.room_id AND m.user_id = $1
               WHERE (r.kind = 'public' OR m.user_id IS NOT NULL)
                 AND ($2 = '' OR strpos(lower(r.name), lower($2)) > 0)
                 AND ($3 OR (r.created_at, r.room_id)
                            < (SELECT created_at, room_id FROM chat.rooms WHERE room_id = $4))
               ORDER BY r.created_at DESC, r.room_id DESC LIMIT $5""",
            identity.user_id, search, not before, room_key(before), limit + 1,
        )  # fmt: skip
        return [_view(row) for row in rows[:limit]], len(rows) > limit

    async def all_rooms(self, request: ListRooms) -> RoomList:
        """Every room, for administrators, newest first."""
        limit = max(1, min(request.limit, 500))
        rows = await self._pool.fetch(
            """SELECT room_id, name, kind, archived, head, member_count, created_by, created_at FROM chat.rooms
               WHERE ($1 = '' OR room_id = $2 OR strpos(lower(name), lower($1)) > 0)
                 AND ($3 OR (created_at, room_id) < (SELECT created_at, room_id FROM chat.rooms WHERE room_id = $4))
               ORDER BY created_at DESC, room_id DESC LIMIT $5""",
            request.search, room_key(request.search), not request.before, room_key(request.before), limit + 1,
        )  # fmt: skip
        found = [RoomInfo(public_room_id(room_id), *rest) for room_id, *rest in rows[:limit]]
        return RoomList(found, len(rows) > limit)

    async def members(self, room_id: str, identity: Identity, after: str, limit: int) -> tuple[list[Member], bool]:
        """Members of a visible room by user id, after `after`; and whether there are more."""
        await self.room(room_id, identity)
        rows = await self._pool.fetch(
            """SELECT user_id, name, state, role, sequence FROM chat.members
               WHERE room_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3""",
            room_key(room_id), after, limit + 1,
        )  # fmt: skip
        return [Member(**row) for row in rows[:limit]], len(rows) > limit

    async def history(self, query: History, identity: Identity) -> Page:
        """A page of a visible room's log."""
        if query.before is not None and query.after is not None:
            raise Reject(Code.INVALID_PAYLOAD, "history takes before or after, not both.")
        await self.room(query.room, identity)
        if query.after is not None:
            found = await self.read(query.room, query.after, query.limit + 1)
            events = _fit(found[: query.limit])
        else:
            rows = await self._pool.fetch(
                f"""SELECT {EVENT_COLUMNS} FROM chat.events e
                    WHERE e.room_id = $1 AND e.sequence < $2 ORDER BY e.sequence DESC LIMIT $3""",
                room_key(query.room), query.before or 2**63 - 1, query.limit + 1,
            )  # fmt: skip
            found = [recorded_row(row) for row in rows]
            events = _fit(found[: query.limit])[::-1]
        return Page([event.client_event() for event in events], len(found) > len(events))

    async def read(self, room_id: str, after: int, limit: int) -> list[Recorded]:
        """A room's events after a sequence, oldest first, whoever asks."""
        rows = await self._pool.fetch(
            f"""SELECT {EVENT_COLUMNS} FROM chat.events e
                WHERE e.room_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3""",
            room_key(room_id), after, limit,
        )  # fmt: skip
        return [recorded_row(row) for row in rows]

    async def sync(self, query: Sync, identity: Identity) -> dict[str, RoomSync]:
        """Per room exactly what its cursor missed, or a reset, or not_found. `more` asks to sync again from there."""
        heads = await self._visible_heads(list(query.cursors), identity)
        found = {room: RoomSync(error=Reject(Code.NOT_FOUND).as_dict()) for room in query.cursors if room not in heads}
        events_left, bytes_left = MAX_SYNC_EVENTS, MAX_PAGE_BYTES
        for room, head in heads.items():
            cursor = query.cursors[room]
            if cursor > head or head - cursor > MAX_BEHIND:
                found[room] = RoomSync(head=head, reset=True)
            elif cursor == head:
                found[room] = RoomSync(head=head)
            elif events_left <= 0 or bytes_left <= 0:
                found[room] = RoomSync(head=head, more=True)
            else:
                events = _fit(await self.read(room, cursor, events_left), bytes_left)
                events_left -= len(events)
                bytes_left -= sum(len(event.data) for event in events)
                last = events[-1].sequence if events else cursor
                found[room] = RoomSync([event.client_event() for event in events], max(head, last), more=last < head)
        return found

    async def _visible_heads(self, rooms: list[str], identity: Identity) -> dict[str, int]:
        rows = await self._pool.fetch(
            """SELECT r.room_id, r.head FROM chat.rooms r
               LEFT JOIN chat.members m ON m.room_id = r.room_id AND m.user_id = $2
               WHERE r.room_id = ANY($1::bigint[]) AND (r.kind = 'public' OR m.user_id IS NOT NULL)""",
            [room_key(room) for room in rooms], identity.user_id,
        )  # fmt: skip
        return {public_room_id(row["room_id"]): row["head"] for row in rows}

    async def rooms_of(self, user_ids: list[str]) -> dict[str, list[Membership]]:
        """The rooms of which these users are members, by user; without those who are in none."""
        rows = await self._pool.fetch(
            """SELECT m.user_id, m.room_id, r.head, m.sequence FROM chat.members m JOIN chat.rooms r USING (room_id)
               WHERE m.user_id = ANY($1::text[]) AND m.state = 'joined'""",
            user_ids,
        )  # fmt: skip
        found: defaultdict[str, list[Membership]] = defaultdict(list)
        for user_id, room, head, joined in rows:
            found[user_id].append(Membership(public_room_id(room), head, joined))
        return found

    async def heads(self, rooms: list[str]) -> list[RoomHead]:
        """The heads of these rooms."""
        rows = await self._pool.fetch(
            "SELECT room_id, head FROM chat.rooms WHERE room_id = ANY($1::bigint[])", [room_key(room) for room in rooms]
        )
        return [RoomHead(public_room_id(row["room_id"]), row["head"]) for row in rows]

    async def heads_moved_since(self, seconds: float, limit: int) -> list[RoomHead]:
        """The heads of the rooms that changed in the last seconds, latest first."""
        rows = await self._pool.fetch(
            """SELECT room_id, max(sequence) AS head FROM chat.events
               WHERE recorded_at > statement_timestamp() - make_interval(secs => $1)
               GROUP BY room_id ORDER BY max(recorded_at) DESC LIMIT $2""",
            seconds, limit,
        )  # fmt: skip
        return [RoomHead(public_room_id(row["room_id"]), row["head"]) for row in rows]


def _fit(events: list[Recorded], max_bytes: int = MAX_PAGE_BYTES) -> list[Recorded]:
    size = 0
    for index, event in enumerate(events):
        size += len(event.data)
        if index and size > max_bytes:
            return events[:index]
    return events


def _view(row: Any) -> RoomView:
    return RoomView(
        public_room_id(row["room_id"]), row["name"], row["kind"], row["archived"], row["head"], row["member_count"],
        row["created_by"], row["created_at"], row["state"] == "joined", row["state"] == "invited",
    )  # fmt: skip

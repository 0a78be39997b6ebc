"""A user's own room: what they were told, as it is read, listed and replayed.

Its events are `notification`, with sequences of their own without gaps, so that gateways repair and resume it like any
room. A row only names an event. What was written there is looked up when it is read, by those who may still see it, so
no copy outlives an erasure. In the place of what was deleted, because it was too old or erased, stands an erased event.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, cast
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import ClientEvent, NamedUser
from parley.chat.log.database import Pool, reachable
from parley.chat.log.erasure.erasures import HIDDEN
from parley.chat.notifications import inbox_store
from parley.chat.notifications.inbox_store import InboxEntry
from parley.chat.queries.current import EDIT, PRESENT_BODY
from parley.chat.queries.visibility import VISIBLE
from parley.chat.reading.preferences import Cause
from parley.common.wire import subjects
from parley.common.wire.rooms import Replay, Replayed, RoomEvent, RoomHead
from parley.framework import Identity
from parley.framework.remote.room_publisher import split_events

NOTIFICATION = "notification"
MAX_LISTED = 100
MAX_REPLAY = 500
MAX_REPLAY_BYTES = 384 * 1024
PREVIEW = 100
"""Characters of a message."""

_VIEW = f"""
n.user_id, n.sequence, n.event_id, n.cause, n.type, n.room_id, n.event_sequence, n.message, n.actor_id, n.actor_name,
n.at, n.read_at IS NOT NULL AS read, r.name, e.text
FROM chat.notifications n LEFT JOIN LATERAL (
  SELECT r.name FROM chat.rooms r WHERE r.room_id = n.room_id AND {VISIBLE.replace("$1", "n.user_id")} LIMIT 1
) r ON true LEFT JOIN LATERAL (
  SELECT left(coalesce({PRESENT_BODY}, e.data ->> 'emoji'), {PREVIEW}) AS text FROM chat.events e {EDIT}
  WHERE r.name IS NOT NULL AND e.room_id = n.room_id AND e.sequence = n.event_sequence AND e.version <> 0
    AND NOT {HIDDEN} LIMIT 1
) e ON true
"""
_PAGE = f"""
SELECT {_VIEW} WHERE n.user_id = $1 AND n.sequence < $2 ORDER BY n.sequence DESC LIMIT $3
"""
_SOME = f"""
SELECT v.* FROM unnest($1::text[], $2::bigint[]) AS q(user_id, sequence) CROSS JOIN LATERAL (
  SELECT {_VIEW} WHERE n.user_id = q.user_id AND n.sequence = q.sequence LIMIT 1
) v
"""
_AFTER = f"""
SELECT v.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS q(user_id, after, up_to) CROSS JOIN LATERAL (
  SELECT {_VIEW} WHERE n.user_id = q.user_id AND n.sequence > q.after AND n.sequence <= q.up_to
) v
"""
# As a push is about to be sent: not read, and of what may still be seen and is there.
_NEWS = f"""
SELECT v.*, count(*) OVER () AS new FROM (
  SELECT {_VIEW} WHERE n.user_id = $1 AND n.sequence > $2 AND n.read_at IS NULL
) v WHERE v.cause = 'moderation' OR (v.name IS NOT NULL AND (v.cause = 'invitation' OR v.text IS NOT NULL))
ORDER BY v.sequence DESC LIMIT 1
"""
_HEADS = """
SELECT q.user_id, i.head FROM unnest($1::text[]) AS q(user_id)
CROSS JOIN LATERAL (SELECT head FROM chat.inboxes WHERE user_id = q.user_id LIMIT 1) i
"""
_PREFIX = subjects.user_room("")
_LAST = 2**63 - 1
_NOBODY = UUID(int=0)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class ListNotifications(msgspec.Struct, frozen=True):
    """`notifications`: a page of what the user was told, the newest first, before the one with the sequence `after`."""

    after: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 50


class ReadNotifications(msgspec.Struct, frozen=True):
    """`notification.read`: the user has read these notifications, or all up to one. One of the two is said."""

    sequences: Annotated[list[Annotated[int, msgspec.Meta(ge=1, lt=2**53)]], msgspec.Meta(max_length=1000)] | None = (
        None
    )
    up_to: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None


class NotificationData(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a user is notified, and of which event of which room.

    `message` is the sequence of the message that was answered or reacted to. `name` and `text` are left out of rooms
    that the user may not see any more.
    """

    cause: Cause
    type: str
    room: str
    event: int
    message: int | None = None
    name: str = ""
    text: str = ""
    read: bool = False


class NotificationPage(msgspec.Struct, frozen=True):
    """Notifications, the newest first, and how many of all are not read."""

    notifications: list[ClientEvent[NotificationData]]
    more: bool
    unread: int


class NotificationsRead(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notifications were read on some device: these, or all up to one. `unread` is how many are not read."""

    unread: int
    sequences: list[int] = []
    up_to: int | None = None


class News(NamedTuple):
    """What a user has not read since a notification: the newest, how many there are, and how many are unread at all."""

    newest: ClientEvent[NotificationData] | None
    new: int
    unread: int


async def news(pool: Pool, user_id: str, after: int) -> News:
    """Return what is worth telling a user who looks at nothing at the moment."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_NEWS, user_id, after)
        unread = (await inbox_store.unread(connection, [user_id]))[user_id]
    return News(None, 0, unread) if row is None else News(_event(row), row["new"], unread)


async def page(pool: Pool, identity: Identity, asked: ListNotifications) -> NotificationPage:
    """Return a page of what a user was told."""
    with reachable():
        async with pool.acquire() as connection:
            rows = await connection.fetch(_PAGE, identity.user_id, asked.after or _LAST, asked.limit + 1)
            unread = (await inbox_store.unread(connection, [identity.user_id]))[identity.user_id]
    shown = [_event(row) for row in rows[: asked.limit]]
    return NotificationPage(shown, len(rows) > asked.limit, unread)


async def room_events(pool: Pool, told: list[InboxEntry]) -> dict[str, list[RoomEvent]]:
    """Return notifications as gateways receive them, by user."""
    rows = await pool.fetch(_SOME, [one.user_id for one in told], [one.sequence for one in told])
    found: dict[str, list[RoomEvent]] = {}
    for row in sorted(rows, key=lambda row: row["sequence"]):
        found.setdefault(row["user_id"], []).append(_item(_event(row)))
    return found


async def heads(pool: Pool, users: list[str]) -> dict[str, int]:
    """Return how many notifications users ever had; those who never had any are left out."""
    return {row["user_id"]: row["head"] for row in await pool.fetch(_HEADS, users)}


def owner(room: str) -> str | None:
    """Return whose own room this is; None for any other room."""
    return room.removeprefix(_PREFIX) if room.startswith(_PREFIX) else None


async def room_heads(pool: Pool, rooms: list[str]) -> list[RoomHead]:
    """Return the heads of users' own rooms. One in which nothing happened has the head 0."""
    found = await heads(pool, [owner(room) or "" for room in rooms])
    return [RoomHead(room, found.get(owner(room) or "", 0)) for room in rooms]


async def replay(pool: Pool, asked: list[Replay]) -> Mapping[Replay, Replayed]:
    """Return for each request a user's notifications after a sequence, as many as fit one message, and their head."""
    known = await heads(pool, [owner(one.room) or "" for one in asked])
    ends = {one: min(known.get(owner(one.room) or "", 0), one.after + min(one.limit, MAX_REPLAY)) for one in asked}
    rows = await pool.fetch(_AFTER, [owner(one.room) for one in asked], [one.after for one in asked], [*ends.values()])
    events: dict[tuple[str, int], ClientEvent[NotificationData]] = {
        (row["user_id"], row["sequence"]): _event(row) for row in rows
    }
    answers: dict[Replay, Replayed] = {}
    for one, end in ends.items():
        user_id = owner(one.room) or ""
        sequences = range(one.after + 1, end + 1)
        found = [_item(events.get((user_id, number)) or _gone(user_id, number)) for number in sequences]
        answers[one] = Replayed(
            next(split_events(found, MAX_REPLAY_BYTES)) if found else [], known.get(user_id, 0)
        )  # fmt: skip
    return answers


def _event(row: Any) -> ClientEvent[NotificationData]:
    data = NotificationData(
        cast("Cause", row["cause"]), row["type"], public_room_id(row["room_id"]), row["event_sequence"], row["message"],
        row["name"] or "", row["text"] or "", row["read"],
    )  # fmt: skip
    room = subjects.user_room(row["user_id"])
    actor = NamedUser(row["actor_id"], row["actor_name"] or None)
    return ClientEvent(NOTIFICATION, room, row["sequence"], row["event_id"], row["at"], actor, data, "")


def _gone(user_id: str, sequence: int) -> ClientEvent[Any]:
    """Stand in for a notification that was deleted."""
    room = subjects.user_room(user_id)
    return ClientEvent(NOTIFICATION, room, sequence, _NOBODY, _NEVER, NamedUser(""), {}, "", erased=True)


def _item(event: ClientEvent[Any]) -> RoomEvent:
    return RoomEvent(NOTIFICATION, msgspec.json.encode(event), event.sequence)

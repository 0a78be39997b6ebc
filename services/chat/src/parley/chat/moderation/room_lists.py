"""What moderators see of a room: for whom something holds there, and the links that lead into it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from parley.chat.domain.events import Instant
from parley.chat.domain.fields import RoomId
from parley.chat.domain.permissions import Permission, may, permissions_in
from parley.chat.domain.state import FOREVER, Room
from parley.chat.log import event_store
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import unless_erasing
from parley.chat.log.statements import RESTRICTION
from parley.chat.queries.visibility import key_of, no_such_room
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.rights import Right

MAX_PAGE = 200

_RESTRICTIONS = f"""
SELECT {RESTRICTION} FROM chat.restrictions
WHERE room_id = $1 AND user_id > $2 AND {unless_erasing("user_id")} <> ''
  AND (allow <> '' OR deny <> '' OR banned_until > now() OR muted_until > now())
ORDER BY user_id LIMIT $3
"""
_INVITES = f"""
SELECT invite, {unless_erasing("created_by")} AS created_by, created_at, expires_at, uses_left FROM chat.invites
WHERE room_id = $1 AND (expires_at IS NULL OR expires_at > now()) AND ($2::text IS NULL OR created_by = $2)
ORDER BY invite LIMIT 1000
"""


class ListRestrictions(msgspec.Struct, frozen=True):
    """`restrictions`: the users of a room who are banned or muted, or have a rule of their own, by id."""

    room: RoomId
    after: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 100


class RestrictedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for a user. What has no end says `banned` or `muted` without a moment."""

    id: str
    sequence: int
    """Of the event that was the last about any of it, which has its reason."""
    banned: bool = False
    banned_until: Instant | None = None
    muted: bool = False
    muted_until: Instant | None = None
    allow: tuple[Permission, ...] = ()
    deny: tuple[Permission, ...] = ()


class RestrictionList(msgspec.Struct, frozen=True):
    """A page of them; `more` says whether another one follows."""

    users: list[RestrictedUser]
    more: bool


class ListInvites(msgspec.Struct, frozen=True):
    """`invites`: the links into a room that are good: all of them for moderators, one's own for other members."""

    room: RoomId


class InviteView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link into a room, named by the sequence of its `invite.created`. Only its maker was told the code."""

    invite: int
    created_by: str
    created_at: Instant
    expires_at: Instant | None = None
    uses_left: int | None = None


class InviteList(msgspec.Struct, frozen=True):
    """The links into a room."""

    invites: list[InviteView]


async def restrictions(pool: Pool, identity: Identity, asked: ListRestrictions) -> RestrictionList:
    """Return for whom something holds in a room, to who may moderate it. Raises `Reject`."""
    await require_moderator(pool, identity, asked.room)
    rows = await pool.fetch(_RESTRICTIONS, key_of(asked.room), asked.after.replace("\x00", ""), asked.limit + 1)
    # The database's time, by which they were imposed: this host's may be minutes off.
    now = await pool.fetchval("SELECT now()")
    found: list[RestrictedUser] = []
    for user_id, banned_until, muted_until, allow, deny, sequence in rows:
        banned, muted = _lasting(banned_until, now), _lasting(muted_until, now)
        allowed, denied = permissions_in(allow), permissions_in(deny)
        found.append(RestrictedUser(user_id, sequence, *banned, *muted, allowed, denied))
    return RestrictionList(found[: asked.limit], len(found) > asked.limit)


def _lasting(until: datetime | None, now: datetime) -> tuple[bool, datetime | None]:
    """Return whether something lasts until then, and the moment if there is one."""
    if until is None or until <= now:
        return False, None
    return True, until if until < FOREVER else None


async def invites(pool: Pool, identity: Identity, asked: ListInvites) -> InviteList:
    """Return the links into a room that the member may see. Raises `Reject`."""
    room = await member_room(pool, identity, asked.room)
    own = None if may(room, room.members[identity.user_id], Permission.MODERATE) else identity.user_id
    rows = await pool.fetch(_INVITES, room.room_id, own)
    return InviteList([InviteView(*row.values()) for row in rows])


async def member_room(pool: Pool, identity: Identity, room: str) -> Room:
    """Return a room with its member who asks, as a decision would see them. Raises `Reject`."""
    key = key_of(room)
    async with pool.acquire() as connection:
        found = await event_store.recall(connection, [(key, identity.user_id)])
    if not found or not found[0].is_in(identity.user_id):
        raise no_such_room() if not found else Reject(Code.NOT_A_MEMBER)
    return found[0]


async def require_moderator(pool: Pool, identity: Identity, room: str) -> None:
    """Refuse who may not moderate the room, neither as its member nor as an administrator. Raises `Reject`."""
    if identity.may(Right.MODERATE):
        return
    found = await member_room(pool, identity, room)
    if not may(found, found.members[identity.user_id], Permission.MODERATE):
        raise Reject(Code.FORBIDDEN, f"You lack the permission {Permission.MODERATE} in this room.")

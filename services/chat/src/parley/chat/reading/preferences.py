"""What users want others to see of them, and what they want to be notified of, as they set it themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from parley.chat.domain.fields import RoomId
from parley.chat.log.database import Pool, reachable
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.framework import Identity

Cause = Literal["mention", "reply", "direct", "invitation", "reaction", "moderation"]
"""Why a user is notified."""
Level = Literal["all", "mentions", "none"]
"""Of what in a room a user is notified: of everything that concerns them, of mentions and replies alone, of nothing."""

_GET = "SELECT private_receipts, silenced FROM chat.preferences WHERE user_id = $1"
_SET = """
INSERT INTO chat.preferences AS known (user_id, private_receipts, silenced)
VALUES ($1, coalesce($2, false), coalesce($3, '{}'::text[]))
ON CONFLICT (user_id) DO UPDATE SET private_receipts = coalesce($2, known.private_receipts),
  silenced = coalesce($3, known.silenced)
RETURNING private_receipts, silenced
"""
_LEVEL = f"""
INSERT INTO chat.levels (room_id, user_id, level)
SELECT r.room_id, $1, $3 FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}
ON CONFLICT (room_id, user_id) DO UPDATE SET level = excluded.level RETURNING true
"""
# The default is no row, so that another default later holds for everybody who has set nothing.
_DEFAULT = f"""
WITH room AS (SELECT r.room_id FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}),
gone AS (DELETE FROM chat.levels WHERE room_id = $2 AND user_id = $1)
SELECT true FROM room
"""


class GetPreferences(msgspec.Struct, frozen=True):
    """`preferences`: what the user has set."""


class SetPreferences(msgspec.Struct, frozen=True):
    """`preferences.update`: a field that is left out stays as it is.

    With `private_receipts` others are not told how far the user has read. Of causes in `silenced` the user is not
    notified.
    """

    private_receipts: bool | None = None
    silenced: Annotated[list[Cause], msgspec.Meta(max_length=16)] | None = None


class Preferences(msgspec.Struct, frozen=True):
    """What a user has set."""

    private_receipts: bool = False
    silenced: list[Cause] = []


class SetLevel(msgspec.Struct, frozen=True):
    """`notification.level`: of what in a room the user is notified; without `level` as by default.

    That is everything that concerns them.
    """

    room: RoomId
    level: Level | None = None


async def get(pool: Pool, identity: Identity, _asked: GetPreferences) -> Preferences:
    """Return what a user has set."""
    with reachable():
        return _preferences(await pool.fetchrow(_GET, identity.user_id))


async def update(pool: Pool, identity: Identity, said: SetPreferences) -> Preferences:
    """Change what a user has set. Returns all of it."""
    silenced = None if said.silenced is None else sorted(set(said.silenced))
    with reachable():
        return _preferences(await pool.fetchrow(_SET, identity.user_id, said.private_receipts, silenced))


async def set_level(pool: Pool, identity: Identity, said: SetLevel) -> None:
    """Set of what in a room a user is notified. Raises `Reject(not_found)` for a room that they may not see."""
    key = key_of(said.room)
    with reachable():
        if said.level is None:
            found = await pool.fetchval(_DEFAULT, identity.user_id, key)
        else:
            found = await pool.fetchval(_LEVEL, identity.user_id, key, said.level)
    if not found:
        raise no_such_room()


def _preferences(row: Any) -> Preferences:
    return Preferences() if row is None else Preferences(row["private_receipts"], row["silenced"])

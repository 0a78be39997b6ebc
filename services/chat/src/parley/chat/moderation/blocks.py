"""Blocks between two users: each user's own list, of which nobody else is told.

They are no room's events. A block that was acked is in force for whatever is decided afterwards: direct rooms, messages
in those between two, and invitations.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parley.chat.domain.events import Instant
from parley.chat.domain.fields import UserId
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import ANY_OPEN, GATE
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.text import check_line

MAX_BLOCKS = 1000
MAX_PAGE = 200

_BLOCK = f"""
WITH allowed AS MATERIALIZED (
  SELECT NOT (CASE WHEN {ANY_OPEN} THEN EXISTS (
    SELECT FROM chat.erasures WHERE completed_at IS NULL AND user_id IN ($1, $2)
  ) ELSE false END) AS may, (SELECT count(*) FROM chat.blocks WHERE user_id = $1) AS count
), added AS (
  INSERT INTO chat.blocks (user_id, blocked_id)
  SELECT $1, $2 FROM allowed WHERE may AND count < {MAX_BLOCKS} ON CONFLICT DO NOTHING
)
SELECT may, count, EXISTS (SELECT FROM chat.blocks WHERE user_id = $1 AND blocked_id = $2) AS already FROM allowed
"""
_UNBLOCK = "DELETE FROM chat.blocks WHERE user_id = $1 AND blocked_id = $2"
_PAGE = """
SELECT blocked_id, blocked_at FROM chat.blocks WHERE user_id = $1 AND blocked_id > $2 ORDER BY blocked_id LIMIT $3
"""


class BlockUser(msgspec.Struct, frozen=True):
    """`user.block`: have nothing to do with a user in direct rooms, and get no invitations from them."""

    user: UserId


class UnblockUser(msgspec.Struct, frozen=True):
    """`user.unblock`: take that back."""

    user: UserId


class ListBlocks(msgspec.Struct, frozen=True):
    """`blocks`: whom one has blocked, by id."""

    after: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 100


class BlockedUser(msgspec.Struct, frozen=True):
    """A user whom one has blocked, and since when."""

    id: str
    at: Instant


class BlockList(msgspec.Struct, frozen=True):
    """A page of one's list; `more` says whether another one follows."""

    users: list[BlockedUser]
    more: bool


async def block(pool: Pool, identity: Identity, said: BlockUser) -> None:
    """Block a user; it is no error if they are blocked already. Raises `Reject`."""
    check_line(said.user)
    if said.user == identity.user_id:
        raise Reject(Code.INVALID_PAYLOAD, "Nobody can block themselves.")
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        # So that whoever is about to be erased is known here, or their erasure finds this block.
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)
        row = await connection.fetchrow(_BLOCK, identity.user_id, said.user)
    if not row["may"]:
        raise Reject(Code.FORBIDDEN, "What this user wrote is being erased.")
    if row["count"] >= MAX_BLOCKS and not row["already"]:
        raise Reject(Code.LIMIT_EXCEEDED, f"You may block at most {MAX_BLOCKS} users.")


async def unblock(pool: Pool, identity: Identity, said: UnblockUser) -> None:
    """Take a block back; it is no error if there is none. Raises `Reject`."""
    check_line(said.user)
    await pool.fetch(_UNBLOCK, identity.user_id, said.user)


async def page(pool: Pool, identity: Identity, asked: ListBlocks) -> BlockList:
    """Return whom the user has blocked. Raises `Reject`."""
    check_line(asked.after)
    rows = await pool.fetch(_PAGE, identity.user_id, asked.after, asked.limit + 1)
    found = [BlockedUser(row["blocked_id"], row["blocked_at"]) for row in rows]
    return BlockList(found[: asked.limit], len(found) > asked.limit)

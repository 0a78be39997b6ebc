"""Everybody who reacted to a message, by emoji and then by when, page by page."""

from __future__ import annotations

from typing import Annotated

import msgspec

from parley.chat.domain.events import NamedUser
from parley.chat.domain.fields import MessageSequence, RoomId
from parley.chat.domain.messages.reactions import MAX_EMOJI, normalized_emoji
from parley.chat.domain.messages.sending import MessageSent
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasures import HIDDEN, unless_erasing
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

MAX_REACTORS = 200


def _page(where: str) -> str:
    # The room, the message and its reactions are of one snapshot. Nothing is shown of a message that is not.
    return f"""
    SELECT message.sequence AS message, page.* FROM (
      SELECT r.room_id FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE} LIMIT 1
    ) found LEFT JOIN LATERAL (
      SELECT e.sequence, e.version = 0 OR {HIDDEN} AS gone FROM chat.events e
      WHERE e.room_id = found.room_id AND e.sequence = $3 AND e.type = {MessageSent.NUMBER} LIMIT 1
    ) message ON true LEFT JOIN LATERAL (
      SELECT emoji, user_id, name, added_in FROM chat.reactions given
      WHERE room_id = found.room_id AND message = message.sequence AND NOT message.gone AND {where}
        AND {unless_erasing("given.user_id")} <> ''
      ORDER BY emoji, added_in LIMIT $4
    ) page ON true"""


_OF_ONE = _page("emoji = $5 AND added_in > $6")
_OF_ALL = _page("(emoji, added_in) > ($5, $6)")


class Reactions(msgspec.Struct, frozen=True):
    """`reactions`: who reacted to a message, after the page that said `next`; with `emoji` only who did so with it."""

    room: RoomId
    message: MessageSequence
    emoji: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EMOJI)] | None = None
    after: Annotated[str, msgspec.Meta(max_length=96)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REACTORS)] = 50


class StandingReaction(msgspec.Struct, frozen=True):
    """Who reacted how, and the sequence of the event by which they did."""

    emoji: str
    user: NamedUser
    sequence: int


class ReactionPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reactions sorted by emoji, of each the first one first. If there are more, `next` asks for the next page."""

    reactions: list[StandingReaction]
    more: bool
    next: str = ""


async def page(pool: Pool, query: Reactions, identity: Identity) -> ReactionPage:
    """Return a page of the reactions to a message in a room that the user may see. Raises `Reject`."""
    emoji = None if query.emoji is None else normalized_emoji(query.emoji)
    added_in, last = _place(query.after) if query.after else (0, "")
    if emoji is not None and query.after and last != emoji:
        raise Reject(Code.INVALID_PAYLOAD, "after is of the reactions with another emoji.")
    statement = _OF_ALL if emoji is None else _OF_ONE
    rows = await pool.fetch(
        statement, identity.user_id, key_of(query.room), query.message, query.limit + 1, emoji or last, added_in
    )
    if not rows:
        raise no_such_room()
    if rows[0]["message"] is None:
        raise Reject(Code.NOT_FOUND, "There is no such message in this room.")
    found = [
        StandingReaction(row["emoji"], NamedUser(row["user_id"], row["name"]), row["added_in"])
        for row in rows
        if row["emoji"] is not None
    ]
    shown = found[: query.limit]
    more = len(found) > len(shown)
    return ReactionPage(shown, more, f"{shown[-1].sequence}.{shown[-1].emoji}" if more else "")


def _place(after: str) -> tuple[int, str]:
    added_in, _, emoji = after.partition(".")
    if not emoji or "\x00" in emoji or not added_in.isdecimal() or not added_in.isascii() or len(added_in) > 16:
        raise Reject(Code.INVALID_PAYLOAD, "after is what the page before said as next.")
    return int(added_in), emoji

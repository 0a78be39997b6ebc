"""The pinned messages of a room, as they are now."""

from __future__ import annotations

import msgspec

from parley.chat.domain.events import ClientEvent
from parley.chat.domain.fields import RoomId
from parley.chat.domain.messages.pins import MAX_PINS
from parley.chat.log.database import Pool
from parley.chat.queries.current import current_event, current_events, pinned_messages
from parley.chat.queries.pages import PageBytes
from parley.chat.queries.visibility import key_of, no_such_room
from parley.common.wire.identity import Identity

_PINNED = current_events(pinned_messages(MAX_PINS))


class Pins(msgspec.Struct, frozen=True):
    """`pins`: the pinned messages of a room."""

    room: RoomId


class PinnedPage(msgspec.Struct, frozen=True):
    """Pinned messages in the order of their sequences, as of `head`. `more` says that some do not fit the answer."""

    events: list[ClientEvent[msgspec.Raw]]
    more: bool
    incarnation: str = msgspec.field(name="log")
    head: int


async def page(pool: Pool, query: Pins, identity: Identity) -> PinnedPage:
    """Return the pinned messages of a room that the user may see. Raises `Reject(not_found)`."""
    rows = await pool.fetch(_PINNED, identity.user_id, key_of(query.room))
    if not rows:
        raise no_such_room()
    found = [row for row in rows if row["sequence"] is not None]
    events = PageBytes().take_shown(map(current_event, found), at_least_one=True)
    more = len(events) < len(found) or any(row["cut"] for row in found[-1:])
    return PinnedPage(events, more, rows[0]["incarnation"], rows[0]["head"])

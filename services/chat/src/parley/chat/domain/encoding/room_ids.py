"""Ids that follow from others, pure: rooms' public ids, events' ids, and what tells one command from another.

A room's key is a signed 64-bit number. Its public id is an `r` and that number in base32, so each follows from the
other without a look into a table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from functools import lru_cache
from uuid import UUID

import msgspec

from parley.chat.domain.fields import ClientCommand

_encoder = msgspec.json.Encoder(order="sorted")


FIRST_ROOM, LAST_ROOM = -(2**63), 2**63 - 1
"""The least and the greatest key that a room may have."""


def share_before(room_id: int) -> float:
    """Which share of all rooms, from 0 to 1, has lesser keys than this one: keys are spread evenly."""
    return (room_id - FIRST_ROOM) / 2**64


@lru_cache(maxsize=65_536)
def public_room_id(room_id: int) -> str:
    """The id by which clients know a room: `r` and 13 characters."""
    return "r" + base64.b32encode(room_id.to_bytes(8, "big", signed=True)).decode().rstrip("=").lower()


def room_key(public: str) -> int | None:
    """The key of the room with this public id, or None for a text that is no room's id."""
    # Anybody may ask for any text, and nothing but what has the length of an id is kept.
    return _room_key(public) if len(public) == 14 else None


@lru_cache(maxsize=65_536)
def _room_key(public: str) -> int | None:
    try:
        room_id = int.from_bytes(base64.b32decode(public[1:].upper() + "==="), "big", signed=True)
    except (binascii.Error, ValueError, OverflowError):
        return None
    # Other spellings of the same bits are nobody's id.
    return room_id if public_room_id(room_id) == public else None


def event_id(room_id: int, actor_id: str, command_id: str, index: int = 0) -> UUID:
    """The id of a command's event: a UUID (version 8) that follows from the command and the event's place in it.

    That of the first recognises the command for ever.
    """
    # No command id holds a NUL, so no two of these are one text.
    text = f"{room_id}\0{command_id}\0{index}\0{actor_id}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


class LogSecret:
    """What only the log knows, so that nobody guesses the ids of rooms, or a short text by its fingerprint."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new_room(self, actor_id: str, command_id: str) -> int:
        """The key of the room that this command makes, and makes again when it is sent again."""
        digest = hmac.digest(self._secret, f"{command_id}\0{actor_id}".encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(digest[:8], "big", signed=True)

    def fingerprint(self, command: ClientCommand) -> int:
        """Four bytes that tell a resent command from another one under the same id.

        Fields that have their defaults count for nothing, so that a later version's new ones change no fingerprint.
        """
        body = b"%b\0%b" % (command.NAME.encode(), _encoder.encode(command))
        return int.from_bytes(hashlib.blake2b(body, key=self._secret, digest_size=4).digest(), "big", signed=True)

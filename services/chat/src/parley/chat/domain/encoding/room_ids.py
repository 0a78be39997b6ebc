"""Ids that are derived from other values, pure: rooms' keys and public ids, events' ids, and commands' fingerprints.

A room's key is a signed 64-bit number. Its public id is an `r` and that number in base32, so each follows from the
other without a look into a table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar
from uuid import UUID

import msgspec

from parley.chat.domain.fields import ClientCommand

_encoder = msgspec.json.Encoder(order="sorted")


FIRST_ROOM, LAST_ROOM = -(2**63), 2**63 - 1
"""The smallest and the largest key that a room can have."""


def share_before(room_id: int) -> float:
    """Return which share of all rooms, from 0 to 1, has smaller keys than this one. Keys are spread evenly."""
    return (room_id - FIRST_ROOM) / 2**64


@lru_cache(maxsize=65_536)
def public_room_id(room_id: int) -> str:
    """Return the id under which clients know the room: `r` and 13 characters."""
    return "r" + base64.b32encode(room_id.to_bytes(8, "big", signed=True)).decode().rstrip("=").lower()


def room_key(public: str) -> int | None:
    """Return the key of the room with this public id, or None for a text that cannot be a room's id."""
    # Anybody may ask for any text. The cache would keep it, so it only gets texts as long as an id.
    return _room_key(public) if len(public) == 14 else None


@lru_cache(maxsize=65_536)
def _room_key(public: str) -> int | None:
    try:
        room_id = int.from_bytes(base64.b32decode(public[1:].upper() + "==="), "big", signed=True)
    except (binascii.Error, ValueError, OverflowError):
        return None
    # Base32 has several spellings of the same bits. Only the one that `public_room_id` writes is an id.
    return room_id if public_room_id(room_id) == public else None


def event_id(room_id: int, actor_id: str, command_id: str, index: int = 0) -> UUID:
    """Return the id of a command's event: a UUID of version 8, derived from the command and the event's index.

    The id of the first event recognises the command for ever.
    """
    # NUL separates the parts: no command id contains one, so two different commands never give the same text.
    text = f"{room_id}\0{command_id}\0{index}\0{actor_id}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
    # RFC 9562 §5.8: version 8 is for ids that are made in a way of one's own. The masks set version and variant.
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


class LogSecret:
    """The log's secret, without which nobody can guess the id of a room, or a short text by its fingerprint."""

    SIGNATURE: ClassVar[int] = 12
    """Bytes of a signature."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new_room(self, actor_id: str, command_id: str) -> int:
        """Return the key of the room that this command creates. The same command always gives the same key."""
        digest = hmac.digest(self._secret, f"{command_id}\0{actor_id}".encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(digest[:8], "big", signed=True)

    def direct_room(self, participants: Iterable[str]) -> int:
        """Return the key of the room between these users, which is the same whoever asks for it."""
        # No command id begins with NUL, so that no room of a command has this key.
        text = "\0direct\0" + "\0".join(sorted(set(participants)))
        digest = hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(digest[:8], "big", signed=True)

    def signature(self, data: bytes) -> bytes:
        """Return what proves that these bytes came from this log."""
        return hashlib.blake2b(data, key=self._secret, digest_size=self.SIGNATURE).digest()

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether the signature is that of these bytes."""
        return hmac.compare_digest(self.signature(data), signature)

    def fingerprint(self, command: ClientCommand) -> int:
        """Return a number of four bytes that tells a resent command from another one with the same id.

        Fields with their default values do not count, so a field that a later version adds changes no fingerprint.
        """
        body = b"%b\0%b" % (command.NAME.encode(), _encoder.encode(command))
        return int.from_bytes(hashlib.blake2b(body, key=self._secret, digest_size=4).digest(), "big", signed=True)

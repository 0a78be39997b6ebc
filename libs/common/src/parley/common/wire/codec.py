"""The encoding of wire types on NATS: positional msgpack.

A field may be appended with a default value, and never be moved or removed, since processes of two versions work
together while Parley is updated. Names of types and fields do not travel.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


# Made once, as msgspec recommends: its functions make an encoder at each call.
_encoder = msgspec.msgpack.Encoder()


class Wire(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A message between Parley's processes, or a part of one."""

    def encode(self) -> bytes:
        """Return the msgpack bytes of this message."""
        return _encoder.encode(self)


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode a message of a known type. Raises `msgspec.DecodeError` for other bytes, `ValidationError` included."""
    return msgspec.msgpack.decode(data, type=kind)

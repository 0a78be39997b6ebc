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
    """An envelope: what Parley's processes send each other over NATS, or a part of it."""

    def encode(self) -> bytes:
        """Return it as msgpack."""
        return _encoder.encode(self)


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode an envelope of a known type. Raises `msgspec.DecodeError` for other bytes, `ValidationError` included."""
    # Too few fields of an older sender have defaults, and too many of a newer one are passed over.
    return msgspec.msgpack.decode(data, type=kind)

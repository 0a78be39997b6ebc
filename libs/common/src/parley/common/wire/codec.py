"""How wire types travel on NATS: positional msgpack, so a field may be appended with a default and never be moved."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


_encoder = msgspec.msgpack.Encoder()


class Wire(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A message between Parley's processes."""

    def encode(self) -> bytes:
        """The msgpack bytes of this message."""
        return _encoder.encode(self)


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode a message of a known type.

    Raises `msgspec.ValidationError` or `msgspec.DecodeError` when the bytes are not one.
    """
    return msgspec.msgpack.decode(data, type=kind)

"""`context.data`: a small map that a service keeps with a connection (Socket.IO's `socket.data`).

The connection's gateway keeps the encoded map until the connection ends, and sends it along with every batch of the
client's commands, so that every replica of the service sees it. Back travel only the keys that changed (`DataChanges`):
two commands of a connection may be under way at once, and the changes of one must not undo those of the other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.codec import decode
from parley.common.wire.commands import DataChanges

MAX_BYTES = 4096
"""The encoded map is this long at most, since it is sent along with every batch of commands."""

_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_encoder = msgspec.msgpack.Encoder()
_by_key = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class ConnectionData:
    """A connection's data. It is decoded when it is first read: most events do not look at it."""

    __slots__ = ("_encoded", "_values")

    def __init__(self, encoded: bytes = b"") -> None:
        self._encoded = encoded
        self._values: dict[str, Any] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The map itself. A controller changes it in place."""
        if self._values is None:
            self._values = _decoder.decode(self._encoded) if self._encoded else {}
        return self._values

    def check(self) -> None:
        """Raise what `changed` would raise; then the change is dropped."""
        if self._values is not None:
            self._encode()

    def changed(self) -> bytes | None:
        """Return the encoded map if it has changed since the last call, else None.

        Raises `Reject(payload_too_large)` beyond `MAX_BYTES`, and what msgspec raises for values that it cannot encode;
        then the change is dropped.
        """
        if self._values is None:
            return None
        encoded = self._encode()
        if encoded == self._encoded:
            return None
        self._encoded = encoded
        return encoded

    def _encode(self) -> bytes:
        # The decoded map is put back only when all went well, so that a failure drops the change.
        values, self._values = self._values, None
        encoded = _encoder.encode(values) if values else b""
        if len(encoded) > MAX_BYTES:
            message = f"A connection's data are at most {MAX_BYTES} bytes, not {len(encoded)}; the change is not kept."
            raise Reject(Code.PAYLOAD_TOO_LARGE, message)
        self._values = values
        return encoded

    def changes(self) -> bytes | None:
        """Return the encoded `DataChanges` since the last call, or None. Raises as `changed` does."""
        before = self._encoded
        if (after := self.changed()) is None:
            return None
        # Values are compared in their encoding, and travel in it.
        old, new = _split(before), _split(after)
        values = {key: bytes(value) for key, value in new.items() if old.get(key) != value}
        return DataChanges(values, [key for key in old if key not in new]).encode()

    def renew(self, encoded: bytes) -> None:
        """Replace the map by another encoded one."""
        self._encoded, self._values = encoded, None


def apply_changes(encoded: bytes, changes: bytes) -> bytes:
    """Return an encoded map with encoded `DataChanges` applied, which may have been made to an earlier map.

    The connection's gateway calls it for each ack that brings changes. Raises `ValueError` beyond `MAX_BYTES`.
    """
    # Values stay encoded: a gateway has no use for them.
    changed = decode(changes, DataChanges)
    kept = _split(encoded)
    # Taken out before the others are put in: a key is in one of the two lists.
    for key in changed.removed:
        kept.pop(key, None)
    kept |= {key: msgspec.Raw(value) for key, value in changed.values.items()}
    whole = _encoder.encode(kept) if kept else b""
    if len(whole) > MAX_BYTES:
        raise ValueError(f"a connection's data are at most {MAX_BYTES} bytes, not {len(whole)}; the change is not kept")
    return whole


def _split(encoded: bytes) -> dict[str, msgspec.Raw]:
    """Decode the keys of an encoded map and leave its values encoded."""
    return _by_key.decode(encoded) if encoded else {}

"""`context.data`: a small map that a service keeps with a connection (Socket.IO's `socket.data`).

It lives in the connection's gateway and travels with what the client sends, so any replica of the service sees it. It
ends with the connection.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.codec import decode
from parley.common.wire.commands import DataChanges

MAX_BYTES = 4096
"""It is sent along with every batch of commands, so it is for what is needed all the time, and no more."""

_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_encoder = msgspec.msgpack.Encoder()
_by_key = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class ConnectionData:
    """A connection's data, decoded when it is first looked at."""

    __slots__ = ("_encoded", "_values")

    def __init__(self, encoded: bytes = b"") -> None:
        self._encoded = encoded
        self._values: dict[str, Any] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The map itself; what is changed in it is kept."""
        if self._values is None:
            self._values = _decoder.decode(self._encoded) if self._encoded else {}
        return self._values

    def check(self) -> None:
        """Raise what `changed` would raise, and forget the change then."""
        if self._values is not None:
            self._encode()

    def changed(self) -> bytes | None:
        """Return the encoded map if it is another than at the last call.

        Raises `Reject(payload_too_large)` beyond `MAX_BYTES`, and what encoding raises; then the change is not kept.
        """
        if self._values is None:
            return None
        encoded = self._encode()
        if encoded == self._encoded:
            return None
        self._encoded = encoded
        return encoded

    def _encode(self) -> bytes:
        values, self._values = self._values, None
        encoded = _encoder.encode(values) if values else b""
        if len(encoded) > MAX_BYTES:
            message = f"A connection's data are at most {MAX_BYTES} bytes, not {len(encoded)}; the change is not kept."
            raise Reject(Code.PAYLOAD_TOO_LARGE, message)
        self._values = values
        return encoded

    def changes(self) -> bytes | None:
        """Return the `DataChanges` since the last call, encoded, if there are any. Raises as `changed` does."""
        if self._values is None:
            return None
        before = self._encoded
        if (after := self.changed()) is None:
            return None
        old, new = _split(before), _split(after)
        values = {key: bytes(value) for key, value in new.items() if old.get(key) != value}
        return DataChanges(values, [key for key in old if key not in new]).encode()

    def renew(self, encoded: bytes) -> None:
        """Look at another map from now on."""
        self._encoded, self._values = encoded, None


def apply_changes(encoded: bytes, changes: bytes) -> bytes:
    """An encoded map after some `DataChanges`, which may have been made to an earlier one.

    Raises `ValueError` beyond `MAX_BYTES`.
    """
    changed = decode(changes, DataChanges)
    kept = _split(encoded)
    for key in changed.removed:
        kept.pop(key, None)
    kept |= {key: msgspec.Raw(value) for key, value in changed.values.items()}
    whole = _encoder.encode(kept) if kept else b""
    if len(whole) > MAX_BYTES:
        raise ValueError(f"a connection's data are at most {MAX_BYTES} bytes, not {len(whole)}; the change is not kept")
    return whole


def _split(encoded: bytes) -> dict[str, msgspec.Raw]:
    return _by_key.decode(encoded) if encoded else {}

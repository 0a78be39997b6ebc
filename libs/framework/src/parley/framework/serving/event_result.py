"""The outcome of an event in the form in which it becomes the client's ack: accepted or refused. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.common.errors import Reject
from parley.common.wire.binary import extract
from parley.common.wire.commands import error_payload, ok_payload


class EventResult(msgspec.Struct, frozen=True, gc=False):
    """The ack of an event: its arguments as JSON, their binary data, and whether the event was accepted."""

    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()

    @classmethod
    def accepted(cls, result: Any, *, binary: bool) -> EventResult:
        """Make the outcome of an event that was accepted: the ack is `{ok: true, ...result}`.

        With `binary`, the result is searched for binary data, which becomes attachments. Without it, `bytes` would
        become base64 text, so it is for results whose type holds none. Raises `Unsendable`, `TypeError` for a result
        that is not an object, and what msgspec raises for values that it cannot encode.
        """
        if not binary or result is None:
            return cls(ok_payload(result), True)
        args, attachments = extract((result,))
        if args[1:2] != b"{" or isinstance(result, bytes | bytearray | memoryview):
            return cls(ok_payload(result), True)  # it raises TypeError, in words for the log
        return cls(ok_payload(msgspec.Raw(args[1:-1])), True, attachments)

    @classmethod
    def refused(cls, rejection: Reject) -> EventResult:
        """Make the outcome of an event that was refused."""
        return cls(error_payload(rejection.as_dict()), False)

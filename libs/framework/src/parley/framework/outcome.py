"""What becomes of an event, pure."""

from __future__ import annotations

import msgspec

from parley.common.errors import Reject
from parley.common.wire.commands import error_payload


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What becomes of an event: the JSON of its ack's arguments, and binary data. `ok` is whether it was accepted."""

    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()

    @classmethod
    def refused(cls, rejection: Reject) -> Outcome:
        """The outcome of an event that was refused."""
        return cls(error_payload(rejection.as_dict()), False)

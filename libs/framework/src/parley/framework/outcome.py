"""What becomes of an event, pure."""

from __future__ import annotations

import msgspec

from parley.common.envelope import error_payload
from parley.common.errors import Reject


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What becomes of an event: the JSON of its ack's arguments, and binary data. `ok` is whether it was accepted."""

    payload: bytes
    ok: bool
    attachments: tuple[bytes, ...] = ()

    @classmethod
    def refused(cls, rejection: Reject) -> Outcome:
        """The outcome of an event that was refused."""
        return cls(error_payload(rejection.as_dict()), False)

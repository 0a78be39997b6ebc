"""Files of messages: what a message says of them, and which may be attached. Pure.

A file is uploaded first (`chat.attachments`), and then attached by the message that names it, in the transaction that
appends the message. From then on it belongs to that message, and to no other one ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import msgspec

from parley.common.errors import Code, Reject

MAX_ATTACHMENTS = 10
UploadIds = Annotated[tuple[UUID, ...], msgspec.Meta(max_length=MAX_ATTACHMENTS)]
"""The ids of uploads that a message attaches."""


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file as its message has it. `width` and `height` are of an image, as it is to be seen; `size` is in bytes."""

    id: UUID
    name: str
    type: str
    size: int
    width: int | None = None
    height: int | None = None
    thumbnail: bool = False


def attached(asked: UploadIds, ready: Mapping[UUID, Attachment]) -> tuple[Attachment, ...]:
    """Return the files that a message attaches, in its order.

    `ready` has the sender's complete uploads that no message has. Of all others nobody learns whether they exist.
    Raises `Reject`.
    """
    if len(set(asked)) < len(asked):
        raise Reject(Code.INVALID_PAYLOAD, "A message attaches an upload once.")
    # One answer for an upload of somebody else, one that is used, and none: ids must tell nothing.
    if any(one not in ready for one in asked):
        raise Reject(Code.NOT_FOUND, "There is no such upload of yours that is complete and in no message.")
    return tuple(ready[one] for one in asked)

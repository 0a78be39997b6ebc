"""The events that gateways themselves send to clients, in each namespace. They stand here only to be documented."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from parley.common.errors import MEANINGS, Code
from parley.framework.routing.router import Router


class ErrorBody(msgspec.Struct):
    """Why something was refused. `retryable` says whether sending the same again may succeed."""

    code: Annotated[Code, msgspec.Meta(examples=["forbidden"])]
    message: Annotated[str, msgspec.Meta(examples=[MEANINGS[Code.FORBIDDEN].message])]
    retryable: Annotated[bool, msgspec.Meta(examples=[False])]
    data: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Kicked(msgspec.Struct):
    """An administrator ends this connection; it closes next."""

    code: Annotated[Code, msgspec.Meta(examples=["kicked"])]
    reason: Annotated[str, msgspec.Meta(examples=["Spam."])]


class Reset(msgspec.Struct):
    """A cursor cannot be resumed from: load the room anew. Live events follow `sequence`."""

    room: str
    sequence: int


def sent_events(router: Router[Any]) -> dict[str, Any]:
    """Return the events that clients of a namespace are sent, by the service and by the gateway."""
    own = {"error": ErrorBody, "kicked": Kicked} | ({"reset": Reset} if router.room_log is not None else {})
    return router.sent | {event: kind for event, kind in own.items() if event not in router.sent}

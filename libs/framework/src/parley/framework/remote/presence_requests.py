"""Who is in a room: asks the gateway of a connection to show it, and sets what a user is shown as.

Gateways compute it, and only for rooms that somebody looks at. Contexts offer it as `presence` and `set_presence`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast, get_args

from parley.common.errors import Code, Reject, known_code
from parley.common.wire import subjects
from parley.common.wire.operations import (
    Look,
    LookResult,
    Operation,
    OperationReport,
    Selection,
    SetPresence,
    StopLooking,
)
from parley.common.wire.presence import Presence, PresenceChoice, ShownState, UserPresence
from parley.framework.remote.gateway_requests import GatewayRequests

ANSWER_SECONDS = 4.0
"""Seconds in which gateways have to answer: less than a client's event may take."""
_CHOICES = get_args(PresenceChoice)


async def look(requests: GatewayRequests, selection: Selection, gateway: str, room: str) -> Presence:
    """Begin to show one connection who is in a room that it is in, and return who is there now.

    Raises `Reject`: `not_a_member` when the connection is not in the room, `limit_exceeded` and `rate_limited` for who
    looks at too much, `overloaded`, `timeout`, and `not_found` when the connection is gone.
    """
    replies = await requests.request(
        lambda inbox: Look(selection, inbox, room), gateway, LookResult, ANSWER_SECONDS, most=1
    )
    for result in replies.received:
        if result.code:
            raise Reject(known_code(result.code, Code.INTERNAL))
        if result.matched:
            users = [UserPresence(user_id, cast("ShownState", state)) for user_id, state in result.users]
            return Presence(users, result.count)
    raise Reject(Code.NOT_FOUND if replies.complete else Code.TIMEOUT, "The connection is gone.")


async def stop_looking(requests: GatewayRequests, selection: Selection, gateway: str, room: str) -> None:
    """Show connections no more of a room. Raises `Reject(timeout)`."""
    await _ask(requests, gateway, lambda inbox: StopLooking(selection, inbox, room), 1)


async def choose(requests: GatewayRequests, namespace: str, user_id: str, choice: str) -> None:
    """Set what a user is shown as, by hand, on all of the user's connections.

    Raises `Reject`: `invalid_payload` for another choice, `timeout` when a living gateway did not answer.
    """
    if choice not in _CHOICES:
        raise Reject(Code.INVALID_PAYLOAD, f"presence is one of {', '.join(_CHOICES)}")
    # With the moment: gateways hear of two choices in any order, and the later one counts.
    selection, since = Selection(namespace, (subjects.user_room(user_id),)), round(time.time() * 1000)
    await _ask(requests, "", lambda inbox: SetPresence(selection, inbox, choice, since), None)


async def set_idle(requests: GatewayRequests, selection: Selection, gateway: str, *, idle: bool) -> None:
    """Set whether somebody is using a connection. Raises `Reject(timeout)`."""
    await _ask(requests, gateway, lambda inbox: SetPresence(selection, inbox, idle=idle), 1)


async def _ask(
    requests: GatewayRequests, gateway: str, operation: Callable[[str], Operation], most: int | None
) -> None:
    replies = await requests.request(operation, gateway, OperationReport, ANSWER_SECONDS, most)
    if not replies.complete:
        raise Reject(Code.TIMEOUT, "Not every gateway answered in time.")

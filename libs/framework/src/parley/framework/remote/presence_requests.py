"""Who is in a room: has the gateway of a connection show it, or asks all gateways once; and what a user is shown as.

Gateways compute it, and only for rooms that somebody looks at or asks of. Contexts offer it as `presence` and
`set_presence`, emitters as `present` and `set_presence`.

What all gateways said once is put together here. It is `partial` when a gateway did not answer in time that may have
users in the room: one that lives, or that fell silent so lately that what it said before would still count.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import cast, get_args

from parley.common.errors import Code, Reject, known_code
from parley.common.wire import subjects
from parley.common.wire.operations import (
    AskPresent,
    Look,
    LookResult,
    Operation,
    OperationReport,
    PresentReport,
    Selection,
    SetPresence,
    StopLooking,
)
from parley.common.wire.presence import (
    Presence,
    PresenceChoice,
    PresencePart,
    PresentUser,
    ShownState,
    UserPresence,
    counting_entry,
    shown_state,
)
from parley.framework.remote.gateway_requests import GatewayRequests

ANSWER_SECONDS = 4.0
"""Seconds in which gateways have to answer: less than a client's event may take."""
PRESENT_SECONDS = 1.0
"""Seconds in which gateways have to say whom they have, as when a connection begins to look."""
COUNTS_SECONDS = 18.0
"""Seconds of silence after which nothing of a gateway counts anywhere: the longest lease that it may be given."""
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
            return Presence(users, result.count, result.partial)
    raise Reject(Code.NOT_FOUND if replies.complete else Code.TIMEOUT, "The connection is gone.")


@dataclass(frozen=True, slots=True)
class PresentUsers:
    """Who is in a room: the entry that counts of each user, by id. Among them are those who do not want to be seen."""

    entries: dict[str, PresentUser]
    partial: bool

    def shown(self) -> dict[str, ShownState]:
        """Return what others are shown: a state of each user, without those who do not want to be seen."""
        states: dict[str, ShownState] = {}
        for user_id, entry in self.entries.items():
            if (state := shown_state((entry,))) != "offline":
                states[user_id] = state
        return states


def merged(rooms: Collection[str], parts: Iterable[PresencePart], *, partial: bool) -> dict[str, PresentUsers]:
    """Put together what gateways said of rooms. Pure."""
    by_room: dict[str, defaultdict[str, list[PresentUser]]] = {room: defaultdict(list) for room in rooms}
    for part in parts:
        if (entries := by_room.get(part.room)) is not None:
            for user in part.users:
                entries[user.user_id].append(user)
    return {
        room: PresentUsers(
            {user_id: counts for user_id, of_user in users.items() if (counts := counting_entry(of_user)) is not None},
            partial,
        )
        for room, users in by_room.items()
    }


async def present(requests: GatewayRequests, namespace: str, rooms: Collection[str]) -> dict[str, PresentUsers]:
    """Ask all gateways once who is in these rooms. Raises `Reject(unavailable)` without a connection to NATS."""
    replies = await requests.request(
        lambda inbox: AskPresent(Selection(namespace), inbox, tuple(rooms)), "", PresentReport, PRESENT_SECONDS
    )
    partial = not replies.complete
    if replies.silent:
        silent = requests.registry.silent()
        partial |= any(silent.get(address, COUNTS_SECONDS) < COUNTS_SECONDS for address in replies.silent)
    return merged(rooms, (part for report in replies.received for part in report.parts), partial=partial)


async def stop_looking(requests: GatewayRequests, selection: Selection, gateway: str, room: str) -> None:
    """Show connections no more of a room. Raises `Reject(timeout)`."""
    await _ask(requests, gateway, lambda inbox: StopLooking(selection, inbox, room), 1)


async def choose(requests: GatewayRequests, namespace: str, user_id: str, choice: str) -> int:
    """Set what a user is shown as, by hand, on all of the user's connections. Return how many there are.

    Raises `Reject`: `invalid_payload` for another choice, `timeout` when a living gateway did not answer.
    """
    if choice not in _CHOICES:
        raise Reject(Code.INVALID_PAYLOAD, f"presence is one of {', '.join(_CHOICES)}")
    # With the moment: gateways hear of two choices in any order, and the later one counts.
    selection, since = Selection(namespace, (subjects.user_room(user_id),)), round(time.time() * 1000)
    return await _ask(requests, "", lambda inbox: SetPresence(selection, inbox, choice, since), None)


async def set_idle(requests: GatewayRequests, selection: Selection, gateway: str, *, idle: bool) -> None:
    """Set whether somebody is using a connection. Raises `Reject(timeout)`."""
    await _ask(requests, gateway, lambda inbox: SetPresence(selection, inbox, idle=idle), 1)


async def _ask(requests: GatewayRequests, gateway: str, operation: Callable[[str], Operation], most: int | None) -> int:
    replies = await requests.request(operation, gateway, OperationReport, ANSWER_SECONDS, most)
    if not replies.complete:
        raise Reject(Code.TIMEOUT, "Not every gateway answered in time.")
    return replies.matched

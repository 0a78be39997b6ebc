"""Asks auth whether everybody is still welcome, and who they are: a ban, a kick or new roles may have been missed.

These are published once. So after every reconnect to NATS and after every stall of the event loop, auth is asked about
everybody that this gateway has: admitted, being admitted, or parked. Until these questions are answered the gateway is
not ready. Besides, each user is asked about every few minutes, for ever.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from prometheus_client import Counter

from parley.common.errors import Code, known_code
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.identity import MAX_CHANGED, MAX_CHECKED, ChangedUser, CheckWelcome, HeldUser, UnwelcomeUsers
from parley.gateway.admission.reconciliation import Reconciliation, in_rounds
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.process.boot_clock import boot_time

log = get_logger(__name__)

FOUND_UNWELCOME = Counter("parley_gateway_found_unwelcome_total", "Connections ended by a check of who is welcome")

ROUND = 150.0
"""Seconds in which everybody is asked about. A connection that comes just after a round began waits for two of them at
most."""
AT_ONCE = 4
"""Requests under way."""
TIMEOUT = 10.0
"""Seconds that auth has to answer a request, which may have a thousand users."""
AUTHENTICATED_AFTER = 2.0
"""Seconds after which users are asked about who were just being admitted."""
MARGIN = 0.05
"""Seconds after the end of a suspension at which auth is asked about it."""
ASKING = "asking who is still welcome"


class _Held(NamedTuple):
    """What auth is asked about a connection. Connections of one user may differ in it."""

    user_id: str
    issued_at: float
    login: str
    suspended: bool
    digest: int
    kicks: int
    registered_at: float


class StandingCheck:
    """Ends connections whose users are not welcome any more, and keeps the others as who they are now."""

    def __init__(
        self,
        bus: Bus,
        connections: ConnectionRegistry,
        parked: Callable[[], Sequence[Connection]],
        end_user: Callable[[str, Code, str], int],
        end: Callable[[Connection, Code, str], object],
        *,
        round_seconds: float = ROUND,
    ) -> None:
        """Take the functions that this check needs: `parked` returns the parked connections.

        `end_user` ends all connections of a user. `end` ends a single one, if others of its user may stay: those with a
        newer token, of another login, or that began after a kick.
        """
        self._bus = bus
        self._connections = connections
        self._parked = parked
        self._end_user = end_user
        self._end = end
        self._round_seconds = round_seconds
        self._questions = Reconciliation("who is still welcome", self._ask, batch=MAX_CHECKED, at_once=AT_ONCE)
        self._urgent = False
        self._tasks = Tasks()

    def start(self) -> None:
        """Ask about everybody again and again, for ever."""
        rounds = in_rounds(self._sids, lambda sids: self._questions.add(self._keys(sids)), self._round_seconds)
        self._tasks.forever(rounds, name="who is welcome")
        # Parked ones too: a guest who is recovered is not authenticated again.
        gone = in_rounds(lambda: list(_keys(self._parked())), self._questions.add, self._round_seconds)
        self._tasks.forever(gone, name="who may come back")

    async def close(self) -> None:
        """Stop asking."""
        await self._tasks.close()
        await self._questions.close()

    def check_soon(self, connection: Connection) -> None:
        """Ask about a recovered connection, because a kick may have been missed where it came from."""
        self._questions.add(_keys([connection]))

    def verify_all(self) -> None:
        """Ask about everybody, because something may have been missed. The gateway is not ready until it is known."""
        self._urgent = True
        self._questions.add_all(itertools.chain(self._keys(self._sids()), _keys(self._parked())))
        # A connection that is being admitted may have been answered before what was missed, so it is asked about later.
        opening = [connection for connection in self._connections if connection.attempting]
        if opening:
            later = asyncio.get_running_loop().call_later
            later(AUTHENTICATED_AFTER, lambda: self._questions.add(_keys(opening)))

    def check(self) -> str | None:
        """Return what keeps the gateway from being ready, or None."""
        if self._urgent and self._questions.all_done:
            self._urgent = False
        return ASKING if self._urgent else None

    def _sids(self) -> list[str]:
        # Not the connections themselves, since a round would keep them alive until it is their turn.
        return [connection.sid for connection in self._connections]

    def _keys(self, sids: Iterable[str]) -> Iterator[_Held]:
        return _keys(found for sid in sids if (found := self._connections.get(sid)) is not None)

    async def _ask(self, batch: list[_Held]) -> None:
        now = boot_time()
        question = CheckWelcome([_asked(held, now) for held in batch])
        answer = await self._bus.request(subjects.WELCOME, question, UnwelcomeUsers, timeout=TIMEOUT, repeat=True)
        for changed in answer.changed:
            self._take_in(batch[changed.position], changed)
        # The answer was full: more of them may have changed.
        if len(answer.changed) >= MAX_CHANGED:
            self._questions.add(batch)
        if not answer.users:
            return
        refused: defaultdict[str, dict[_Held, tuple[Code, str]]] = defaultdict(dict)
        for unwelcome in answer.users:
            key = batch[unwelcome.position]
            refused[key.user_id][key] = known_code(unwelcome.code, Code.KICKED), unwelcome.message
        parked = [connection for connection in self._parked() if connection.identity.user_id in refused]
        for user_id, refusals in refused.items():
            theirs = self._connections.of_user(user_id)
            theirs += [connection for connection in parked if connection.identity.user_id == user_id]
            self._end_refused(user_id, theirs, refusals)
            # Many may have to go at once, and ending them must not hold up the loop.
            await asyncio.sleep(0)

    def _take_in(self, held: _Held, changed: ChangedUser) -> None:
        """Have connections go on as who they are now; what they send from here on is sent as that."""
        now: dict[str, Any] = {"suspended": changed.suspended, "suspended_for": changed.suspended_for}
        if changed.name is not None:
            now["name"] = changed.name
        if changed.roles is not None:
            now["roles"] = changed.roles
        for connection in self._connections.of_user(held.user_id):
            if connection.authenticated and _key(connection) == held:
                self._connections.identify(connection, msgspec.structs.replace(connection.identity, **now))
                self.watch(connection)

    def watch(self, connection: Connection) -> None:
        """Ask again when the suspension of one that was just let in, or changed, ends by itself."""
        identity = connection.identity
        if identity.suspended and identity.suspended_for:
            # By its sid: what waits must not keep a connection that has gone.
            later = asyncio.get_running_loop().call_later
            later(identity.suspended_for + MARGIN, self._add, connection.sid)

    def _add(self, sid: str) -> None:
        self._questions.add(self._keys([sid]))

    async def recheck(self, users: Collection[str]) -> int:
        """Ask about some users now, and return how many connections they have that auth has identified.

        Who is being let in just now is asked about as soon as auth has said who they are. Raises `Reject`.
        """
        theirs = [connection for user_id in users for connection in self._connections.of_user(user_id)]
        for connection in theirs:
            connection.doubtful = not connection.authenticated
        asked = set(users)
        parked = [connection for connection in self._parked() if connection.identity.user_id in asked]
        held = list(dict.fromkeys(_keys([*theirs, *parked])))
        for start in range(0, len(held), MAX_CHECKED):
            await self._ask(held[start : start + MAX_CHECKED])
        return sum(connection.authenticated for connection in theirs)

    def _end_refused(self, user_id: str, connections: list[Connection], refused: dict[_Held, tuple[Code, str]]) -> None:
        going = [(connection, refused[key]) for connection in connections if (key := _key(connection)) in refused]
        if not going:
            return
        code, message = going[0][1]
        log.info("not welcome any more", user=user_id, code=str(code), connections=len(going))
        FOUND_UNWELCOME.inc(len(going))
        if len(going) == len(connections):
            self._end_user(user_id, code, message)
            return
        for connection, (its_code, its_message) in going:
            self._end(connection, its_code, its_message)


def _asked(held: _Held, now: float) -> HeldUser:
    return HeldUser(
        held.user_id, held.issued_at, now - held.registered_at, held.login, held.suspended, held.digest, held.kicks
    )


def _key(connection: Connection) -> _Held:
    identity = connection.identity
    return _Held(
        identity.user_id, identity.issued_at, identity.login, identity.suspended, identity.digest, identity.kicks,
        connection.registered_at,
    )  # fmt: skip


def _keys(connections: Iterable[Connection]) -> Iterator[_Held]:
    # The identity of a connection that is not authenticated is only what its token claims.
    return (_key(connection) for connection in connections if connection.authenticated)

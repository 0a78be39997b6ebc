"""Asks services again which rooms everybody is in, because joins and leaves may have been missed.

After every reconnect to NATS and every stall of the event loop, the services are asked about all users at once, as long
as it takes. Besides, each user is asked about every few minutes, for ever.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.nats.chunks import split_by_size
from parley.common.process.tasks import Tasks
from parley.common.wire import rooms as wire
from parley.common.wire import subjects
from parley.common.wire.identity import Identity
from parley.gateway.admission.reconciliation import Reconciliation, in_rounds
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.rooms.fanout import Fanout

ROUND = 120.0
"""Seconds in which everybody is asked about."""
USERS = 500
"""Users in one request."""
AT_ONCE = 2
"""Requests of one namespace under way, so that there is room for those of connections that are being admitted."""
TIMEOUT = 10.0
MAX_BYTES = 384 * 1024
"""Bytes of one request, to stay below NATS' limit."""
OPENED_AFTER = 2.0
"""Seconds after which users are asked about who were just being admitted."""


class _Member(NamedTuple):
    namespace: str
    user_id: str


class MembershipCheck:
    """Keeps the rooms of connections as the services behind their namespaces have them."""

    def __init__(
        self, bus: Bus, connections: ConnectionRegistry, fanout: Fanout, *, round_seconds: float = ROUND
    ) -> None:
        self._bus = bus
        self._connections = connections
        self._fanout = fanout
        self._round_seconds = round_seconds
        self._questions: dict[str, Reconciliation[str]] = {}
        """By namespace, so that one whose service is away does not hold up the others."""
        self._tasks = Tasks()

    def start(self) -> None:
        """Ask about everybody again and again, for ever."""
        rounds = in_rounds(self._sids, lambda sids: self._add(self._members(sids)), self._round_seconds)
        self._tasks.forever(rounds, name="memberships")

    async def close(self) -> None:
        """Stop asking."""
        await self._tasks.close()
        for questions in self._questions.values():
            await questions.close()

    @property
    def done(self) -> bool:
        """Whether nothing is being asked."""
        return all(questions.done for questions in self._questions.values())

    def verify_all(self) -> None:
        """Ask about everybody, because joins and leaves may have been missed."""
        sids = self._sids()
        for namespace in {connection.namespace for connection in self._connections}:
            self._questions_of(namespace).add_all(self._users(namespace, sids))
        # A connection that is being admitted may have been answered before what was missed, so it is asked about later.
        opening = [connection for connection in self._connections if connection.attempting]
        if opening:
            self._add_when_open(opening)

    def verify(self, connection: Connection) -> None:
        """Ask about a connection's user; if it is not open yet, when it will be."""
        if connection.attempting:
            self._add_when_open([connection])
        else:
            self._add(_members([connection]))

    def _add_when_open(self, opening: list[Connection]) -> None:
        asyncio.get_running_loop().call_later(OPENED_AFTER, lambda: self._add(_members(opening)))

    def _add(self, members: Iterable[_Member]) -> None:
        users: defaultdict[str, list[str]] = defaultdict(list)
        for namespace, user_id in members:
            users[namespace].append(user_id)
        for namespace, user_ids in users.items():
            self._questions_of(namespace).add(user_ids)

    def _questions_of(self, namespace: str) -> Reconciliation[str]:
        if (questions := self._questions.get(namespace)) is None:
            ask = partial(self._ask, namespace)
            questions = Reconciliation(f"memberships of {namespace}", ask, batch=USERS, at_once=AT_ONCE)
            self._questions[namespace] = questions
        return questions

    def _sids(self) -> list[str]:
        # Not the connections themselves, which would all be kept until it is their turn.
        return [connection.sid for connection in self._connections]

    def _users(self, namespace: str, sids: Iterable[str]) -> Iterator[str]:
        return (member.user_id for member in self._members(sids) if member.namespace == namespace)

    def _members(self, sids: Iterable[str]) -> Iterator[_Member]:
        return _members(found for sid in sids if (found := self._connections.get(sid)) is not None)

    async def _ask(self, namespace: str, user_ids: list[str]) -> None:
        theirs = [self._open_connections(namespace, user_id) for user_id in user_ids]
        theirs = [connections for connections in theirs if connections]
        if not theirs:
            return
        # Before the question: what is heard after this is newer than the answer.
        asked_at = self._fanout.count_question()
        # As many as fit in a message: with many roles, that is not all.
        asked = next(split_by_size((connections[0].identity for connections in theirs), MAX_BYTES, _weight))
        question = wire.GetMemberships(asked)
        subject = subjects.memberships(namespace)
        answer = await self._bus.request(subject, question, wire.Memberships, timeout=TIMEOUT, repeat=True)
        if not answer.rooms:
            raise Reject(Code.INTERNAL, "An answer about memberships is about nobody.")
        for connections, memberships in zip(theirs, answer.rooms, strict=False):
            present = [connection for connection in connections if not connection.end_reason]
            if memberships is not None and present:
                self._fanout.apply_memberships(present, memberships, asked_at=asked_at)
        # An answer has as many as fit in a message, too.
        self._add(_members(connection for (connection, *_) in theirs[len(answer.rooms) :]))

    def _open_connections(self, namespace: str, user_id: str) -> list[Connection]:
        return [connection for connection in self._connections.of_user(user_id, namespace) if connection.is_open]


def _weight(identity: Identity) -> int:
    return len(identity.encode())


def _members(connections: Iterable[Connection]) -> Iterator[_Member]:
    return (
        _Member(connection.namespace, connection.identity.user_id) for connection in connections if connection.is_open
    )

"""All that is kept of somebody, for them to have, as lines of JSON.

Their account, sessions and logins elsewhere, bots and keys, bans and suspensions, and what they wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.own_account import OwnAccount
from parley.auth.accounts.sessions.sessions import Sessions
from parley.auth.settings import AttemptRate
from parley.common.errors import Code
from parley.common.wire import subjects
from parley.common.wire.admin import ReadUserEvents, UserEvents
from parley.common.wire.identity import Identity
from parley.framework import Bus, Reject

PER_USER = AttemptRate(6, 3600)
"""Exports of one user: each has chat look through its log."""
AT_ONCE = 4
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds after which chat is asked again for a page that it did not give."""


Further = Callable[[str], Awaitable[list[tuple[str, Any]]]]
"""What else is kept of a user, each with the type of its line."""


class DataExport:
    """Exports all that is kept of a user, to them: of auth here, of chat as chat says it."""

    def __init__(self, bus: Bus, own_account: OwnAccount, sessions: Sessions, further: Further) -> None:
        self._bus = bus
        self._further = further
        self._own_account = own_account
        self._sessions = sessions
        self._limit = AttemptLimit(PER_USER)
        self._running = 0

    def begin(self, identity: Identity) -> AsyncGenerator[bytes]:
        """Return the lines of an export. The last is of type `end`; without it, or with `error`, something is missing.

        Raises `Reject` with `rate_limited` or `overloaded` before the first.
        """
        if self._running >= AT_ONCE:
            raise Reject(Code.OVERLOADED)
        # Last: who finds no place has not used up one of their six.
        self._limit.take(identity.user_id, time.monotonic())
        return self._lines(identity)

    async def _lines(self, identity: Identity) -> AsyncGenerator[bytes]:
        if self._running >= AT_ONCE:
            # Others began in the same moment.
            yield _line("error", Reject(Code.OVERLOADED).as_dict())
            return
        self._running += 1
        try:
            yield _line("account", await self._account(identity))
            for session in await self._sessions.of_user(identity.user_id, identity.login):
                yield _line("session", session.model_dump(mode="json"))
            for kind, rows in (await self._own_account.kept(identity.user_id)).items():
                for row in rows:
                    yield _line(kind, row)
            for kind, value in await self._further(identity.user_id):
                yield _line(kind, value)
            events, cursor = 0, ""
            while True:
                page = await self._page(ReadUserEvents(identity.user_id, cursor))
                for event in page.events:
                    yield _line("event", msgspec.Raw(event))
                for row in page.rows:
                    yield row + b"\n"
                events += len(page.events)
                if not (cursor := page.cursor):
                    break
            yield _line("end", {"events": events})
        except Reject as rejection:
            # The status was sent long ago.
            yield _line("error", rejection.as_dict())
        finally:
            self._running -= 1

    async def _account(self, identity: Identity) -> dict[str, Any]:
        row = await self._own_account.read(identity.user_id)
        known = {} if row is None else {
            "username": row.username, "kind": row.kind, "avatar_url": row.avatar_url, "created_at": row.created_at,
        }  # fmt: skip
        return {"user_id": identity.user_id, "name": identity.name, "roles": identity.roles, **known}

    async def _page(self, question: ReadUserEvents) -> UserEvents:
        for pause in PAUSES:
            try:
                return await self._bus.request(subjects.READ_USER_EVENTS, question, UserEvents, repeat=True)
            except Reject as rejection:
                if not rejection.retryable:
                    raise
                await asyncio.sleep(pause)
        return await self._bus.request(subjects.READ_USER_EVENTS, question, UserEvents, repeat=True)


def _line(kind: str, value: Any) -> bytes:
    return msgspec.json.encode({"type": kind, kind: value}) + b"\n"

"""One process of many does a piece of work, and another takes over when it stops, stands still or is cut off.

Who leads holds an advisory lock of Postgres on a connection of its own. Postgres ends a session that says nothing for
`tail.IDLE_SECONDS`, whatever became of its process or of the way to it, and the lock with it; so a leader asks
something at least twice as often.

    | state       | what happens                           | next                                              |
    |-------------|----------------------------------------|---------------------------------------------------|
    | away        | a connection is made                   | standing by; away again if there is none          |
    | standing by | the lock is tried for, and not waited  | leading, once the process before has let go       |
    | leading     | the work                               | away: the connection broke, or `step_down`        |

A process that stood still goes on as a leader until it asks Postgres the next time. What it says meanwhile may be said
twice; what it stores is compared with what is there.
"""

from __future__ import annotations

import zlib
from typing import Any

from parley.chat.log.own_connection import OwnConnection
from parley.chat.log.tail import SETTINGS

LOCKS = 0x7061726C
"""The class of our advisory locks: the first letters of the product's name."""
STANDBY_SECONDS = 0.3
"""Between two tries for the lock."""
_TRY = "SELECT pg_try_advisory_lock($1::int, $2::int)"


class Leadership:
    """The place of this process in the one work that has this name."""

    def __init__(self, url: str, work: str) -> None:
        self._connection = OwnConnection(url, SETTINGS)
        # Numbers of locks are signed.
        self._key = zlib.crc32(work.encode()) - 2**31
        self.leading = False

    async def connection(self) -> Any:
        """The connection, which stands by when it is new. Raises what asyncpg does, or `TimeoutError`."""
        connection, fresh = await self._connection.get()
        if fresh:
            self.leading = False
        return connection

    async def lead(self) -> bool:
        """Whether this process leads; it does from now on if nobody else does. Raises as `connection` does."""
        connection = await self.connection()
        if not self.leading:
            self.leading = await connection.fetchval(_TRY, LOCKS, self._key)
        return self.leading

    def step_down(self) -> None:
        """Let go of the lock, with the connection: something is wrong with it, or with this process."""
        self.leading = False
        self._connection.abandon()

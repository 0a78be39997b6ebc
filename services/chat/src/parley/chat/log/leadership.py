"""One process of many does a piece of work. Another one takes over when it stops, stands still or is cut off.

The leader holds an advisory lock of Postgres on a connection of its own. Postgres ends a session that is silent for
`tail.IDLE_SECONDS`, whatever became of its process or of the network, and frees the lock; so a leader has to ask
something at least twice as often.

    | state       | what happens                     | next                                                    |
    |-------------|----------------------------------|---------------------------------------------------------|
    | away        | a connection is opened           | standing by, or away again if that fails                |
    | standing by | the lock is tried, not waited for | leading, once the process before has lost it           |
    | leading     | the work                         | away, when the connection breaks or after `step_down`   |

A process that stood still believes that it leads until it asks Postgres the next time. What it publishes meanwhile may
be published twice; what it stores is compared with what is there.
"""

from __future__ import annotations

import zlib
from typing import Any

from parley.chat.log.own_connection import OwnConnection
from parley.chat.log.tail import SETTINGS

LOCKS = 0x7061726C
"""The class of our advisory locks: the first letters of the product's name."""
STANDBY_SECONDS = 0.3
"""Seconds between two tries for the lock."""
_TRY = "SELECT pg_try_advisory_lock($1::int, $2::int)"


class Leadership:
    """The part of this process in the work with this name. Used by one task at a time."""

    def __init__(self, url: str, work: str) -> None:
        self._connection = OwnConnection(url, SETTINGS)
        # The numbers of locks are signed integers of four bytes.
        self._key = zlib.crc32(work.encode()) - 2**31
        self.leading = False

    async def connection(self) -> Any:
        """Return the connection; if it is new, this process stands by.

        Raises what asyncpg raises, or `TimeoutError`.
        """
        connection, fresh = await self._connection.get()
        # The lock went with the connection before, and another process may have it by now.
        if fresh:
            self.leading = False
        return connection

    async def lead(self) -> bool:
        """Return whether this process leads, which it does from now on if nobody else does.

        Raises what `connection` raises.
        """
        connection = await self.connection()
        # Not again while it leads: a session may hold a lock several times, and would have to free it as often.
        if not self.leading:
            self.leading = await connection.fetchval(_TRY, LOCKS, self._key)
        return self.leading

    def step_down(self) -> None:
        """Give up the lock, with the connection, because something is wrong with it or with this process."""
        self.leading = False
        self._connection.abandon()

"""Ends what the secret of an API key opened once that is good no more: after a rotation, when the overlap is over.

A rotation says in its row until when the secret of before is good. When that has come, gateways are told to ask who is
still welcome, and `standing` refuses those who came with it. The secret stays in the row until every gateway has
asked, so a process that dies, or a gateway that stands still, delays it and loses nothing.
"""

from __future__ import annotations

from sqlalchemy import func, select, update

from parley.auth.database import Database
from parley.auth.moderation.kicks import Gateways
from parley.auth.tables import api_keys
from parley.common.process.tasks import repeat

LOOK_INTERVAL = 2.0
"""Seconds after which it is looked again whether an overlap is over."""
AT_ONCE = 100
"""Keys that gateways are asked about at a time."""


class RotatedKeys:
    """Follows up rotations until nobody is connected by a secret that is good no more."""

    def __init__(self, database: Database, gateways: Gateways) -> None:
        self._database = database
        self._gateways = gateways

    async def run(self) -> None:
        """Look, for ever. Replicas do the same work: to ask twice costs a question and changes nothing."""
        await repeat(self._step_through, LOOK_INTERVAL, "connections by rotated API keys cannot be ended")

    async def _step_through(self) -> None:
        while await self.step():
            pass

    async def step(self) -> bool:
        """Have gateways ask about those whose overlap is over; whether there may be more. Raises `Reject`."""
        over = (api_keys.c.previous_hash.is_not(None), api_keys.c.previous_until <= func.clock_timestamp())
        due = select(api_keys.c.id, api_keys.c.user_id).where(*over).order_by(api_keys.c.previous_until).limit(AT_ONCE)
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(due)).all()
        if not rows:
            return False
        result = await self._gateways.recheck({row.user_id for row in rows})
        if result.unanswered:
            return False  # whoever has not answered may hold some yet: they are all asked again
        # A key that was rotated meanwhile has another overlap, which is not over.
        done = update(api_keys).where(api_keys.c.id.in_([row.id for row in rows]), *over)
        async with self._database.autocommit() as connection:
            await connection.execute(done.values(previous_hash=None))
        return len(rows) == AT_ONCE

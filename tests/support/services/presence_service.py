"""A service whose connection middleware notes who comes and who goes, as a process that can be stopped and killed.

    python -m tests.support.services.presence_service FILE

writes a JSON line per note: `["ready"]`, `["online", sid, user]`, `["offline", sid, user, reason]`, `["slow", user]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from parley.common.process import logs
from parley.framework import ConnectionContext, Context, Next, Router, Service, ServiceSettings

NAMESPACE = "/presence"

router: Router[None] = Router(NAMESPACE)


def note(*what: Any) -> None:
    with Path(sys.argv[1]).open("a") as file:
        file.write(json.dumps(what) + "\n")


async def presence(connection: ConnectionContext, call_next: Next) -> None:
    note("online", connection.sid, connection.identity.user_id)
    await call_next()
    note("offline", connection.sid, connection.identity.user_id, connection.reason)


router.use_connection(presence)


@router.on("slow", pipelined=True)
async def slow(context: Context, seconds: float) -> dict[str, str]:
    """Answer later, with who asked."""
    note("slow", context.identity.user_id)
    await asyncio.sleep(seconds)
    return {"user": context.identity.user_id}


async def main() -> None:
    settings = ServiceSettings()
    logs.configure(settings, "presence")
    async with Service("presence", router).running(settings):
        note("ready")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

"""A service that answers with what it was sent, for the clients of a server that is attacked."""

from __future__ import annotations

import asyncio

import uvloop

from parley.common.process import logs
from parley.framework import Context, Router, Service, ServiceSettings

router: Router[None] = Router("/echo")


@router.on("echo", pipelined=True)
async def echo(_context: Context, text: str) -> dict[str, str]:
    """The text."""
    return {"text": text}


service = Service("hostile", router)


async def main() -> None:
    """Run without a HTTP side."""
    settings = ServiceSettings()
    logs.configure(settings, service.name)
    async with service.running(settings):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())

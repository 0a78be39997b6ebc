"""Other ways to have a message stored before it is acked: JetStream that syncs each, and ejabberd with an SQL archive.

They are measured only when they are named, by loads of their own, and on a fresh database alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import sysconfig
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nats
from chats import Database
from contestants import BENCH, Contestant, Surroundings, wait_for_port
from jetstream_load import STREAM
from machine import free_port, running


@contextmanager
def jetstream(around: Surroundings, base: Database, _rooms: Sequence[str]) -> Generator[Contestant]:
    """A NATS server whose streams are synced to disk with every message."""
    port, log = free_port(), around.directory / "jetstream.log"
    configuration = around.directory / "jetstream.conf"
    store = json.dumps(str(around.directory / "jetstream"))
    configuration.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store}, sync_interval: always }}\n")
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    with running([binary, "-c", configuration], log, base.cores, {}) as process:
        wait_for_port(process, port, log)
        yield Contestant(
            "jetstream",
            port,
            {"nats": process.pid},
            "nats",
            load=(sys.executable, str(BENCH / "jetstream_load.py")),
            stored=lambda: asyncio.run(_stored(port)),
        )


async def _stored(port: int) -> int:
    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    try:
        return (await connection.jetstream().stream_info(STREAM)).state.messages
    finally:
        await connection.close()

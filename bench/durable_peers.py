"""Other ways to have a message stored before it is acked: JetStream that syncs each, and ejabberd with an SQL archive.

They are measured only when they are named, by loads of their own, and on a fresh database alone.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import shutil
import sys
import sysconfig
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nats
from chats import Database
from contestants import BENCH, Contestant, Surroundings, wait_for_port
from jetstream_load import STREAM
from machine import free_port, running, wait_until
from xmpp_load import DOMAIN, PASSWORD

from parley.cli.stack import embedded

_ACCOUNTS = """
INSERT INTO users (username, password) SELECT 'user' || n, '{password}' FROM generate_series(0, {clients} - 1) n
"""
_EJABBERD = """
hosts: [{domain}]
loglevel: error
auth_method: sql
auth_password_format: plain
sql_type: pgsql
sql_server: 127.0.0.1
sql_port: {sql_port}
sql_database: postgres
sql_username: postgres
sql_password: ""
sql_pool_size: 10
listen:
  - port: {port}
    ip: 127.0.0.1
    module: ejabberd_c2s
    backlog: 1024
    shaper: none
modules:
  mod_muc:
    default_room_options:
      mam: true
  mod_mam:
    db_type: sql
    default: always
    assume_mam_usage: true
"""


def missing(name: str) -> str:
    """What has to be installed before this server can be measured, or nothing."""
    if name == "ejabberd" and not (shutil.which("erl") and list(Path("/usr/lib").glob("*/ejabberd-*"))):
        return "it is not installed; on Debian: apt-get install ejabberd erlang-p1-pgsql"
    return ""


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


@contextmanager
def ejabberd(around: Surroundings, base: Database, _rooms: Sequence[str]) -> Generator[Contestant]:
    """A Debian ejabberd: rooms whose messages are archived in Postgres, accounts in Postgres, no TLS."""
    port, log = free_port(), around.directory / "ejabberd.log"
    configuration = around.directory / "ejabberd.yml"
    with _postgres_on_loopback(around.directory / "archive", base.cores) as (archive, sql_port, postgres):
        archive.script(Path("/usr/share/ejabberd/sql/pg.sql").read_text())
        archive.value(_ACCOUNTS.format(clients=around.clients, password=PASSWORD))
        configuration.write_text(_EJABBERD.format(domain=DOMAIN, port=port, sql_port=sql_port))
        environment = {
            "EJABBERD_CONFIG_PATH": str(configuration),
            "EJABBERD_LOG_PATH": str(around.directory / "ejabberd-own.log"),
            "ERL_LIBS": str(next(Path("/usr/lib").glob("*/ejabberd-*")).parent),
            "HOME": str(around.directory),
        }
        mnesia = json.dumps(str(around.directory / "mnesia"))
        command = ["erl", "+K", "true", "-noinput", "-mnesia", "dir", mnesia, "-s", "ejabberd"]
        with running(command, log, base.cores, environment) as process:
            wait_for_port(process, port, log)
            yield Contestant(
                "ejabberd",
                port,
                {"ejabberd": process.pid, "postgres": postgres},
                "ejabberd",
                load=(sys.executable, str(BENCH / "xmpp_load.py")),
                stored=lambda: archive.count("archive"),
            )


@contextmanager
def _postgres_on_loopback(directory: Path, cores: set[int]) -> Generator[tuple[Database, int, int]]:
    """A Postgres that listens on TCP, which ejabberd needs; also its port and process."""
    with embedded.postgres(directory):
        """Made; it must be started in another way."""
    port = free_port()
    binary = embedded.POSTGRES_VERSIONS[embedded.POSTGRES] / "postgres"
    command: list[str | Path] = [binary, "-D", directory, "-h", "127.0.0.1", "-p", str(port), "-k", directory]
    if (owner := directory.owner()) != getpass.getuser():
        command = ["setpriv", "--reuid", owner, "--clear-groups", *command]
    with running(command, directory.with_suffix(".log"), cores, {}) as process:
        wait_for_port(process, port, directory.with_suffix(".log"))
        database = Database(f"postgresql://postgres@127.0.0.1:{port}/postgres", cores)
        wait_until(database.answers, "Postgres to answer")
        yield database, port, process.pid


async def _stored(port: int) -> int:
    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    try:
        return (await connection.jetstream().stream_info(STREAM)).state.messages
    finally:
        await connection.close()

"""Fuzz a running stack: its sockets, its REST API, and with `--auth` accounts and the admin API.

    python -m tests.fuzz.api.run --seconds 150 --seed 1

Everything is answered by a code of the table; afterwards no log has a traceback, the projections are what the log says,
and the processes have not grown. What a case does depends on what was there by then, so what failed is printed whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import httpx

from parley.cli.database.migrations import upgrade
from parley.cli.database.replays import verify_projections
from parley.cli.stack import embedded
from tests.fuzz.api.calls import Calls, Finding
from tests.fuzz.api.documents import Surface, add_endpoints, add_events
from tests.fuzz.api.people import Person
from tests.support.clients.plain_http import plain_http
from tests.support.postgres import run_sql, with_database
from tests.support.stack.stack import Stack

AT_ONCE = 24
GROWTH_MB = 150
"""By which a process may have grown: caches fill, and what was sent is large."""
MUCH = "1000000"
SETTINGS = {
    # Whatever limits how often something may be said is tested elsewhere; here it would hide all else.
    "PARLEY_GATEWAY_EVENTS_PER_SECOND": MUCH, "PARLEY_GATEWAY_EVENTS_BURST": MUCH,
    "PARLEY_GATEWAY_USER_EVENTS_PER_SECOND": MUCH, "PARLEY_GATEWAY_USER_EVENTS_BURST": MUCH,
    "PARLEY_GATEWAY_BYTES_PER_SECOND": "1000000000", "PARLEY_GATEWAY_BYTES_BURST": "1000000000",
    "PARLEY_CHAT_USER_REQUESTS_PER_SECOND": MUCH, "PARLEY_CHAT_USER_REQUESTS_BURST": MUCH,
    "PARLEY_CHAT_PUSH_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "PARLEY_CHAT_PREVIEWS": "true",
    "PARLEY_GATEWAY_COMMAND_TIMEOUT": "30",
}  # fmt: skip
KNOWN = [
    ("name", "poll"), ("emoji", "👍"), ("emoji", ":party:"), ("query", "message"), ("query", "has:file"),
    ("endpoint", "https://push.example.invalid/x"), ("version", 1), ("what", "file"),
]  # fmt: skip
"""What fits a field and is in no answer."""
WRONG = re.compile(r'Traceback|"level": ?"(error|critical)"|\[(error|critical)')


@asynccontextmanager
async def running(directory: Path) -> AsyncGenerator[Stack]:
    """One process of each service, on servers of their own."""
    with embedded.postgres(directory / "postgres") as postgres, embedded.nats(directory / "nats") as nats:
        await run_sql(postgres, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE fuzzed")
        url = with_database(postgres, "fuzzed")
        await asyncio.to_thread(upgrade, url)
        ledger = directory / "erasures"
        settings = SETTINGS | {
            "PARLEY_CHAT_UPLOADS": str(directory / "files"), "PARLEY_CHAT_ERASURE_LEDGER": str(ledger),
        }  # fmt: skip
        stack = Stack(url, nats, directory, **settings)
        stack.processes = [stack.auth, stack.chats[0], stack.gateways[0]]
        await stack.start()
        try:
            yield stack
        finally:
            for process in stack.processes:
                process.kill()
            await stack.http.aclose()


async def everybody(stack: Stack) -> list[Person]:
    """Who sends: three who share rooms, a stranger, somebody who may read only, a bot, and the administrator."""
    people = list[Person]()
    for name in ("ann", "ben", "cleo", "eve", "mute"):
        account = await stack.account(f"{name}{uuid.uuid4().hex[:6]}")
        people.append(Person(name, account["access_token"], account["user_id"]))
    await stack.admin("GET", "/users")
    people.append(Person("admin", stack._admin_token, "admin"))
    await stack.admin("POST", f"/users/{people[4].user_id}/suspension", reason="fuzzed")
    bots = f"{stack.auth.url}/auth/bots"
    headers = {"authorization": f"Bearer {people[0].token}"}
    bot = (await stack.http.post(bots, json={"name": "robot"}, headers=headers)).json()["id"]
    wanted = {"name": "key", "scopes": ["chat:read", "chat:write"]}
    key = (await stack.http.post(f"{bots}/{bot}/keys", json=wanted, headers=headers)).json()["key"]
    people.append(Person("bot", key, bot))
    return people


async def furnish(calls: Calls, people: list[Person]) -> None:
    """Make rooms of each kind, with messages, so that there is something to be wrong about."""
    random = Random(0)
    ann, ben, cleo, _, _, _, bot = people
    for person in people:
        calls.pool.add("user", person.user_id, random)
    for kind in ("public", "private", "public"):
        made = await ann.emit("room.create", json.dumps({"id": kind, "name": f"A {kind} room", "kind": kind}), 30)
        room = made["room"]["id"]
        for _ in range(8):
            calls.pool.add("room", room, random)
        for other in (ben, cleo, bot):
            invited = {"id": other.user_id, "room": room, "user": {"id": other.user_id}}
            await ann.emit("room.invite", json.dumps(invited), 30)
            await other.emit("room.join", json.dumps({"id": "j", "room": room}), 30)
        for number in range(12):
            said = {"id": f"m{number}", "room": room, "body": f"message {number} https://example.invalid/"}
            ack = await (ann, ben, cleo)[number % 3].emit("message.send", json.dumps(said), 30)
            calls.pool.add("sequence", ack["sequence"], random)
    offered = {"commands": [{"name": "poll", "description": "Ask", "options": [{"name": "q", "type": "string"}]}]}
    await bot.emit("commands.set", json.dumps(offered), 30)
    for name, value in KNOWN:
        calls.pool.add(name, value, random)


async def fuzz(given: argparse.Namespace, stack: Stack) -> list[str]:
    """Send cases until the time is over, and return what was found."""
    random = Random(given.seed)
    people = await everybody(stack)
    surface = Surface()
    found = list[str]()
    # Sockets of accounts that the admin API bans are told so; that is right, and hides what is wrong.
    if not given.auth:
        add_events(surface)
    async with (
        plain_http(timeout=60, limits=httpx.Limits(keepalive_expiry=2)) as http,
        aiohttp.ClientSession() as session,
    ):
        if given.auth:
            await add_endpoints(surface, http, stack.auth.url, "/auth/openapi.json", "/")
        else:
            await add_endpoints(surface, http, stack.chats[0].url, "/api/openapi.json", "/api")
        for person in people:
            await person.connect(session, stack.gateways[0].url)
        calls = Calls(surface, people, http, random)
        await furnish(calls, people)
        before = {process.name: memory(process.pid) for process in stack.processes}
        ends = time.monotonic() + given.seconds
        number = given.first

        async def work() -> None:
            nonlocal number
            while time.monotonic() < ends and number - given.first < given.cases and len(found) < 20:
                number += 1
                try:
                    await calls.one(Random(f"{given.seed}:{number}"))
                except Finding as finding:
                    found.append(str(finding))
                    print(f"FOUND {finding}", flush=True)  # noqa: T201

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
        if not given.auth:
            found += [f"{person.name}: {person.ended}" for person in people if person.ended]
        for person in people:
            await person.leave()
    print(f"{number - given.first} cases", flush=True)  # noqa: T201
    if given.answers:
        for name, count in sorted(calls.answers.items()):
            print(f"  {count:6} {name}")  # noqa: T201
    for process in stack.processes:
        grown = memory(process.pid) - before[process.name]
        print(f"{process.name} grew by {grown:.0f} MB to {memory(process.pid):.0f}")  # noqa: T201
        if grown > GROWTH_MB:
            found.append(f"{process.name} grew by {grown:.0f} MB")
    return found + await afterwards(stack)


async def afterwards(stack: Stack) -> list[str]:
    """Return what is wrong with the logs of the processes, or with the projections."""
    found = list[str]()
    for process in stack.processes:
        if not process.running:
            found.append(f"{process.name} has ended")
        lines = process._log.read_text(errors="replace").splitlines()
        wrong = [number for number, line in enumerate(lines) if WRONG.search(line)]
        for at in wrong[:5]:
            found.append(f"{process.name} logged:\n" + "\n".join(line[:1500] for line in lines[at : at + 25]))
    verified = await verify_projections(stack.database_url, "")
    if verified.first is not None:
        found.append(f"{verified.wrong} rows are not what the log says; the first: {verified.first}")
    print(f"{verified.rooms} rooms verified")  # noqa: T201
    return found


def memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kilobytes) / 1024


async def play(given: argparse.Namespace) -> list[str]:
    """Run a stack and fuzz it."""
    with tempfile.TemporaryDirectory(prefix="parley-fuzz-") as name:
        async with running(Path(name)) as stack:
            return await fuzz(given, stack)


def main() -> None:
    """Fuzz; the exit status tells whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--cases", type=int, default=10**9, help="at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--auth", action="store_true", help="accounts and the admin API, instead of chat")
    parser.add_argument("--answers", action="store_true", help="print how often each code was the answer")
    found: list[Any] = asyncio.run(play(parser.parse_args()))
    for each in found:
        print(each)  # noqa: T201
    print("nothing found" if not found else f"{len(found)} found")  # noqa: T201
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()

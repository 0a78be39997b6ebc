"""A password spray, and how long rightful logins take meanwhile: `.venv/bin/python bench/spray.py`.

A thousand guesses a second come from a thousand addresses, at the very users who log in meanwhile: from where they were
before, with a device that was elsewhere before, and from places that they never were at. Everything is on this machine:
auth, Postgres, NATS, who guesses and who logs in. `--addresses 17000 --seconds 15` guesses once from each address, and
with `--apart` from each network: nothing tells these guesses from logins at new places, and only the known get in.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import psutil
import typer
from machine import cpu_seconds, free_port, listening, running, wait_until

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded

USERS = 20
PASSWORD = "correct horse battery"
EACH = 0.2
"""Seconds between two rightful logins."""


async def post(
    address: str, port: int, body: dict[str, str], path: str = "/auth/login", cookie: str = ""
) -> tuple[int, str]:
    """Ask from an address of this machine; the status, and the cookie that was set."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        return await ask(reader, writer, body, path, cookie)
    finally:
        writer.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, str], path: str, cookie: str
) -> tuple[int, str]:
    """Ask on an open connection."""
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: auth\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
    writer.write(f"{head}Cookie: {cookie}\r\n\r\n".encode() + payload)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = dict(line.split(": ", 1) for line in answer.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(fields.get("content-length", 0)))
    return int(answer.split(" ", 2)[1]), fields.get("set-cookie", "").partition(";")[0]


async def guess(port: int, address: str, number: int, pause: float, until: float, counts: Counter[int]) -> None:
    """Guess from one address, now at this user and now at that, on one connection or on one each if they are rare."""
    await asyncio.sleep(pause * random.random())
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            while time.monotonic() < until:
                began = time.monotonic()
                body = {"username": f"user-{int(began * 1000 + number) % USERS}", "password": "a wrong guess"}
                counts[(await ask(reader, writer, body, "/auth/login", ""))[0]] += 1
                if pause > 2:
                    break
                await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
            writer.close()
            await asyncio.sleep(pause if pause > 2 else 0)
        except (OSError, asyncio.IncompleteReadError):
            counts[0] += 1
            await asyncio.sleep(pause)


def spray(port: int, addresses: list[str], pause: float, seconds: float, told: object) -> None:
    """Guess from many addresses, in a process of its own; tells how often it was answered what."""
    counts: Counter[int] = Counter()

    async def all_of_them() -> None:
        until = time.monotonic() + seconds
        guesses = (guess(port, address, n, pause, until, counts) for n, address in enumerate(addresses))
        await asyncio.gather(*guesses)

    asyncio.run(all_of_them())
    told.put(counts)  # type: ignore[attr-defined]


async def log_in(port: int, seconds: float, cookies: list[str]) -> dict[str, list[tuple[int, float]]]:
    """Log in as one user after the other, from where they were and from where they were not."""
    found: dict[str, list[tuple[int, float]]] = {"known address": [], "known device": [], "new place": []}

    async def once(kind: str, number: int, user: int) -> None:
        address = f"127.2.0.{user + 1}" if kind == "known address" else f"127.3.{number >> 8}.{number & 255}"
        began = time.monotonic()
        body = {"username": f"user-{user}", "password": PASSWORD}
        status, _ = await post(address, port, body, cookie=cookies[user] if kind == "known device" else "")
        found[kind].append((status, time.monotonic() - began))

    tasks: list[asyncio.Task[None]] = []
    for number in range(round(seconds / EACH)):
        tasks.append(asyncio.create_task(once(list(found)[number % 3], number + 1, number % USERS)))
        await asyncio.sleep(EACH)
    await asyncio.gather(*tasks)
    return found


def thread_seconds(pid: int) -> tuple[float, float]:
    """CPU time of a process: of its event loop, which is its first thread, and of all other threads."""
    threads = {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}
    loop = threads.pop(pid)
    return loop, cpu_seconds(pid) - loop


async def register(port: int) -> list[str]:
    """Make the users, each at home; their devices' cookies."""
    body = [{"username": f"user-{user}", "password": PASSWORD} for user in range(USERS)]
    made = [await post(f"127.2.0.{user + 1}", port, each, "/auth/register") for user, each in enumerate(body)]
    assert [status for status, _ in made] == [200] * USERS, made
    return [cookie for _, cookie in made]


def main(
    rate: Annotated[int, typer.Option(help="guesses a second")] = 1000,
    addresses: Annotated[int, typer.Option(help="from how many addresses")] = 1000,
    seconds: Annotated[float, typer.Option(help="for how long")] = 30,
    apart: Annotated[bool, typer.Option(help="each address in a network of its own")] = False,
) -> None:
    """Measure, print, and fail if a rightful login failed or took two seconds."""
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(embedded.postgres(directory / "postgres"))
        upgrade(url)
        port = free_port()
        environment = {
            "PARLEY_DATABASE_URL": url,
            "PARLEY_NATS_URL": stack.enter_context(embedded.nats(directory / "nats")),
            "PARLEY_PORT": str(port),
            "PARLEY_LOG_LEVEL": "warning",
            "PARLEY_AUTH_ADMIN_PASSWORD": "the password of nobody",
        }
        command = [sys.executable, "-m", "parley.auth"]
        auth = stack.enter_context(running(command, directory / "auth.log", cores, environment))
        wait_until(lambda: listening(port), "auth to listen")
        cookies = asyncio.run(register(port))
        before = thread_seconds(auth.pid)
        told: multiprocessing.Queue[Counter[int]] = multiprocessing.Queue()
        numbers = ((number >> 8, number & 255) for number in range(1, addresses + 1))
        from_where = [f"127.{16 + high}.{low}.1" if apart else f"127.1.{high}.{low}" for high, low in numbers]
        arguments = port, from_where, addresses / rate, seconds + 2, told
        attacker = multiprocessing.Process(target=spray, args=arguments)
        attacker.start()
        time.sleep(1)
        found = asyncio.run(log_in(port, seconds, cookies))
        guesses = told.get()
        attacker.join()
        loop, hashing = (after - earlier for after, earlier in zip(thread_seconds(auth.pid), before, strict=True))
    total = sum(guesses.values())
    print(f"{total / (seconds + 2):.0f} guesses a second from {addresses} addresses, answered {dict(guesses)}")
    print(f"auth's CPU: event loop {loop:.2f} s ({loop / total * 1e6:.0f} µs a guess), hashing {hashing:.2f} s")
    failed = False
    for kind, logins in found.items():
        times = sorted(took for _, took in logins)
        bad = [status for status, _ in logins if status != 200]
        failed = failed or bool(bad) or times[-1] >= 2
        median, longest = times[len(times) // 2], times[-1]
        print(f"{kind}: {len(logins)} logins, median {median:.2f} s, longest {longest:.2f} s, failed {bad}")
    raise typer.Exit(failed)


if __name__ == "__main__":
    typer.run(main)

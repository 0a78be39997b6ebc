"""One process of the stress test of the log: many clients that write, join, leave and send again, each ack noted.

`python -m tests.support.chat.append_stress URL SECONDS SEED OUTPUT`. The clients of all processes are the same users
and use the same ids for a third of their commands: most of these are resends of what another process sends.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import msgspec

from parley.chat.domain.batch_state import BatchDecision
from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import CreateRoom
from parley.chat.log.writer import COMMANDS_BY_WAY, Writer
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.process.tasks import Tasks
from parley.common.wire.identity import Identity

CLIENTS, ROOMS = 24, 3


def note(output: TextIO, *values: Any) -> None:
    output.write(msgspec.json.encode(values).decode() + "\n")


def command(room: str, number: int, seed: int, pick: random.Random) -> ChatCommand:
    """The command of this number: for each third the same in all processes."""
    shared = number % 3 == 0
    rule = random.Random(number) if shared else pick
    id_ = f"n{number}" if shared else f"p{seed}-{number}-{pick.getrandbits(40)}"
    kind = rule.random()
    if kind < 0.02:
        return LeaveRoom(id_, room)
    if kind < 0.08:
        return JoinRoom(id_, room)
    return SendMessage(id_, room, f"text {id_}", 10**6 if kind > 0.97 else None)


async def client(writer: Writer, who: Identity, rooms: list[str], seed: int, until: float, output: TextIO) -> None:
    pick = random.Random(f"{seed} {who.user_id}")
    number = 0
    while time.monotonic() < until:
        together = [
            command(rooms[(number + n) // 8 % ROOMS], number + n, seed, pick) for n in range(pick.randrange(1, 4))
        ]
        number += len(together)
        results = await asyncio.gather(*(writer.submit(one, who, "") for one in together), return_exceptions=True)
        for one, result in zip(together, results, strict=True):
            if isinstance(result, Reject):
                note(output, "refused", one.id, str(result.code))
            elif isinstance(result, BaseException):
                raise result
            else:
                event = result.recorded
                found = [event.type, event.number, event.data.decode()] if event else None
                note(output, "acked", getattr(one, "room", ""), who.user_id, one.id, one.NAME, result.sequence, found)
        if pick.random() < 0.02:
            number = max(0, number - 20)  # a client that had no ack sends again


async def main(url: str, seconds: float, seed: int, output: Path) -> None:
    with output.open("w", buffering=1) as lines:

        async def publish(decision: BatchDecision) -> None:
            for event in decision.appended:
                note(lines, "published", event.room, event.sequence, event.actor_id, event.command_id)

        writer = Writer(publish, ChatSettings(database_url=url, chat_batch=40))
        await writer.connect()
        people = [Identity(f"u{n}", f"User {n}") for n in range(CLIENTS)]
        async with Tasks() as tasks:
            tasks.forever(writer.run(), name="writer")
            rooms: list[str] = []
            for n in range(ROOMS):
                made = await writer.submit(CreateRoom(f"room {n}".replace(" ", "-"), "R"), people[0], "")
                assert made.room is not None
                rooms.append(made.room.id)
            until = time.monotonic() + seconds
            await asyncio.gather(*(client(writer, who, rooms, seed, until, lines) for who in people))
        ways = [COMMANDS_BY_WAY.labels(way)._value.get() for way in ("short", "long")]
        note(lines, "ways", *ways)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
    except Reject as rejection:
        sys.exit(f"{Code(rejection.code)}")

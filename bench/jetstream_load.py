"""The load on JetStream: a connection for each member, a stream in a file, and a push consumer for each room.

The members of a room subscribe to what its consumer delivers, so that they read what was stored, each message once and
in the stream's order. A message is over when JetStream says that it stored it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType
from own_load import Load, Sender, main

STREAM = "rooms"
AT_ONCE = 100
_CONNECT = json.dumps({"verbose": False, "pedantic": False, "lang": "bench", "version": "0", "protocol": 1})


class Member(asyncio.Protocol):
    """One client's connection, in as much of NATS' protocol as it needs."""

    def __init__(self, load: Load, client: int) -> None:
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._client = client
        self._room = load.room_of(client)
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none by their class.
        self._transport = cast("asyncio.Transport", transport)
        subscriptions = f"SUB delivered.{self._room} 1\r\nSUB _INBOX.{self._client}.* 2\r\n"
        self._transport.write(f"CONNECT {_CONNECT}\r\n{subscriptions}PING\r\n".encode())

    def send(self, number: int, text: str) -> None:
        assert self._transport is not None
        self._transport.write(
            f"PUB room.{self._room} _INBOX.{self._client}.{number} {len(text)}\r\n{text}\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            line = buffer[at:end]
            if not line.startswith(b"MSG "):
                self._on_line(line)
                at = end + 2
                continue
            size = int(line[line.rindex(b" ") :])
            if len(buffer) < end + size + 4:
                break
            self._on_message(line, buffer[end + 2 : end + 2 + size])
            at = end + size + 4
        self._buffer = buffer[at:]

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.dead += 1

    def _on_line(self, line: bytes) -> None:
        assert self._transport is not None
        if line == b"PING":
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG" and not self.subscribed.done():
            self.subscribed.set_result(None)
        elif line.startswith(b"-ERR"):
            self._load.rejected += 1

    def _on_message(self, line: bytes, payload: bytes) -> None:
        _, subject, subscription, *_ = line.split(b" ")
        if subscription == b"1":
            self._load.on_delivery(self._client, payload)
        else:
            self._load.rejected += b'"error"' in payload
            self._load.on_ack(int(subject[subject.rindex(b".") + 1 :]))


async def connect(load: Load) -> Sequence[Sender]:
    port = load.options.p
    control = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = control.jetstream()
    await stream.add_stream(name=STREAM, subjects=["room.*"], storage=StorageType.FILE)
    loop = asyncio.get_running_loop()
    members: list[Member] = []
    for first in range(0, load.clients, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, load.clients))
        made = await asyncio.gather(
            *(loop.create_connection(lambda n=number: Member(load, n), "127.0.0.1", port) for number in numbers)
        )
        members += [member for _, member in made]
    await asyncio.gather(*(member.subscribed for member in members))
    for room in range(load.rooms):
        consumer = ConsumerConfig(
            deliver_subject=f"delivered.{room}",
            filter_subject=f"room.{room}",
            deliver_policy=DeliverPolicy.NEW,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
        )
        await stream.add_consumer(STREAM, consumer)
    await control.close()
    return members


if __name__ == "__main__":
    main(connect)

"""One NATS connection with subscriptions by the ten thousand, and one write for what several parts have to send.

nats-py makes a queue and a task per subscription, and replays all of them in one go after a reconnect. A `Listener` is
an entry in a dict: its callback is called where the message is parsed, so that messages of one publisher are handled in
the order they arrived, whatever their subjects.

nats-py wakes a task for whatever is sent. `ListeningClient.send` puts a message into its buffer, which is written at
most once per `write_interval`, and at once after a pause; just before, the parts that asked for it with `before_write`
put in what they have gathered, so that it travels in as few messages as possible.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.errors import (
    BadSubjectError,
    ConnectionClosedError,
    ConnectionDrainingError,
    Error,
    MaxPayloadError,
    OutboundBufferLimitError,
)
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, PERMISSIONS_ERR, STALE_CONNECTION, Parser

from parley.common.process.logs import get_logger
from parley.common.throttle import Throttle

log = get_logger(__name__)

Callback = Callable[[bytes], object]

RESUBSCRIBE_BATCH = 500
"""Subscriptions written at once after a reconnect."""
SLICE = 0.005
"""Seconds for which messages are handled before others have a turn on the loop."""

_MESSAGE = re.compile(rb"MSG ([^\s]+) (\d+) (?:([^\s]+) )?(\d+)\r\n")
_STALE = (b"SUB ", b"UNSUB ")


class Listener:
    """One subscription, until it is closed."""

    __slots__ = ("_client", "_sid", "callback", "queue", "subject")

    def __init__(self, client: ListeningClient, sid: int, subject: str, callback: Callback, queue: str) -> None:
        self._client = client
        self._sid = sid
        self.subject = subject
        self.callback = callback
        self.queue = queue

    def hear(self, data: bytes) -> None:
        """Handle one message. A failure is logged and stops nothing."""
        try:
            self.callback(data)
        except Exception:
            log.exception("message not handled", subject=self.subject)

    def close(self) -> None:
        """Hear nothing more, not even what has arrived already. Doing it twice is harmless."""
        self._client.forget(self._sid)

    async def drain(self, timeout: float) -> None:
        """Have the server send nothing more, hear what has arrived by then, and close."""
        try:
            await self._client.end_subscription(self._sid, timeout)
        finally:
            self.close()

    @property
    def command(self) -> bytes:
        """What subscribes it."""
        return f"SUB {self.subject} {self.queue} {self._sid}\r\n".encode()


class ListeningClient(Client):
    """nats-py's client, which also has listeners."""

    def __init__(self, write_interval: float = 0.0) -> None:
        super().__init__()
        self.listeners: dict[int, Listener] = {}
        self._ps = ListeningParser(self)
        self._gathered: dict[Callable[[], None], None] = {}
        """Those who have something to send with the next write, in the order in which they said so."""
        self._writing = Throttle(self.write, write_interval)

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message with the next write. While there is no connection it waits in nats-py's bounded buffer.

        Raises what nats-py's `publish` raises. It never waits: who sends much looks at `congested`, awaits `relief`.
        """
        if not subject or " " in subject or not subject.isprintable():
            raise BadSubjectError
        if not self.is_connected:
            if self.is_closed:
                raise ConnectionClosedError
            if len(payload) + self._pending_data_size > self._max_pending_size:
                raise OutboundBufferLimitError
        elif self.is_draining_pubs:
            raise ConnectionDrainingError
        if len(payload) > self._max_payload:
            raise MaxPayloadError
        self._append(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload))
        self._writing.soon()

    @property
    def congested(self) -> bool:
        """Whether so much waits to be written that nobody should send more without `relief`."""
        return self._pending_data_size > self._max_pending_size

    async def relief(self) -> None:
        """Wait until what was sent has been written, if there is a connection."""
        await self._flush_pending(force_flush=True)

    def before_write(self, gather: Callable[[], None]) -> None:
        """Call back once, just before the next write, for what it sends to go along."""
        self._gathered[gather] = None
        self._writing.soon()

    def gather(self) -> None:
        """Have those who asked for it send what they have gathered."""
        while self._gathered:
            gathered, self._gathered = self._gathered, {}
            for gather in gathered:
                try:
                    gather()
                except Exception:
                    log.exception("not sent", part=gather.__qualname__)

    def _append(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)

    def write(self) -> None:
        """Write what waits, gathered just before, unless the server takes less than it is sent."""
        self.gather()
        transport = self._transport
        if not self._pending or transport is None or not self.is_connected:
            return  # after the reconnect nats-py's flusher writes it
        if self._buffered:
            self._wake_flusher()
            return
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        transport.write(b"".join(pending))

    # -- listening -------------------------------------------------------------------------------------------------

    def listen(self, subject: str, callback: Callback, queue: str = "") -> Listener:
        """Call back with the payload of each message on a subject, or with `queue` of those that no other member gets.

        The subscription reaches the server before anything that is published later; while there is no connection, that
        is after the reconnect.
        """
        if subject.split() != [subject]:
            raise ValueError(f"not a subject: {subject!r}")
        self._sid += 1
        listener = self.listeners[self._sid] = Listener(self, self._sid, subject, callback, queue)
        self._write(listener.command)
        return listener

    def forget(self, sid: int) -> None:
        """Close the listener with this subscription id, if there still is one."""
        if self.listeners.pop(sid, None) is not None:
            self._write(b"UNSUB %d\r\n" % sid)

    def abandon(self) -> None:
        """Let go of a connection that is being made."""
        if self._transport is not None:
            self._transport.close()

    async def end_subscription(self, sid: int, timeout: float) -> None:
        """Wait until the server sends a listener nothing more. Raises as `settle` does."""
        if sid in self.listeners and self.is_connected:
            self._write(b"UNSUB %d\r\n" % sid)
            await self.settle(timeout)

    async def settle(self, timeout: float) -> None:
        """Wait until the server has seen everything sent so far, subscriptions included."""
        self.gather()
        if self._flush_queue is None or self.is_closed:
            raise ConnectionClosedError
        # nats-py writes its ping past the buffer in which commands wait for its flusher.
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            await self._flush_queue.put(written)
            await written
            await self._send_ping(pong)
            # An answer to a cancelled ping would end nats-py's reader.
            await asyncio.shield(pong)

    async def dispatch(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Route a message to its listener, or to nats-py's own subscriptions."""
        if (listener := self.listeners.get(sid)) is not None:
            listener.hear(data)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    def _write(self, command: bytes) -> None:
        if not self.is_connected or self._flush_queue is None:
            return  # every listener is subscribed again after the reconnect
        self._append(command)
        self._writing.soon()

    def _wake_flusher(self) -> None:
        """Have nats-py's flusher write, which waits while the server takes less than it is sent."""
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    @property
    def _buffered(self) -> int:
        """The bytes that were written and that the kernel has not taken."""
        writer: asyncio.StreamWriter | None = getattr(self._transport, "_io_writer", None)
        return 0 if writer is None else writer.transport.get_write_buffer_size()

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg or STALE_CONNECTION in err_msg:
            await super()._process_err(err_msg)
            return
        # nats-py would close for ever, and nobody would notice but those who look at readiness.
        error = Error(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        await self.dispatch(sid, subject, reply, data, headers)

    async def _process_connect_init(self) -> None:
        # Whatever was read of the last connection is no beginning of what this one says.
        self._ps.reset()
        await super()._process_connect_init()
        # All subscriptions are about to be sent again; an old SUB would revive one that was closed meanwhile.
        self._pending = [command for command in self._pending if not command.startswith(_STALE)]
        self._pending_data_size = sum(map(len, self._pending))

    async def _flusher(self) -> None:
        # Before all that waits to be sent: who subscribed before publishing must not miss the answer.
        try:
            await self._resubscribe()
        except OSError as error:
            await self._process_op_err(error)
            return
        await super()._flusher()

    async def _resubscribe(self) -> None:
        transport, sids = self._transport, list(self.listeners)
        if transport is None:
            return
        for start in range(0, len(sids), RESUBSCRIBE_BATCH):
            batch = [self.listeners.get(sid) for sid in sids[start : start + RESUBSCRIBE_BATCH]]
            transport.write(b"".join(listener.command for listener in batch if listener is not None))
            await transport.drain()
            await asyncio.sleep(0)


class ListeningParser(Parser):
    """nats-py's parser, passed by on the way of most bytes: whole messages without headers.

    It gets everything else, line by line, and the first and last part of what was split between two reads.
    """

    def __init__(self, client: ListeningClient) -> None:
        super().__init__(client)
        self._client = client

    async def parse(self, data: bytes = b"") -> None:
        """Handle what was read."""
        client = self._client
        position, began, split = 0, time.monotonic(), self._split
        while position < len(data):
            whole = None if split else _MESSAGE.match(data, position)
            end = whole.end() + int(whole[4]) + 2 if whole else 0
            if whole is None or end > len(data):
                end = self._end_of_part(data, position)
                await super().parse(data[position:end])
                split = self._split
            else:
                sid, payload = int(whole[2]), data[whole.end() : end - 2]
                if (listener := client.listeners.get(sid)) is not None:
                    listener.hear(payload)
                else:
                    await client.dispatch(sid, whole[1], whole[3] or b"", payload, b"")
            position = end
            if time.monotonic() - began > SLICE:
                await asyncio.sleep(0)
                began = time.monotonic()

    @property
    def _split(self) -> bool:
        """Whether nats-py has the first part of something."""
        return self.state == AWAITING_MSG_PAYLOAD or bool(self.buf)

    def _end_of_part(self, data: bytes, position: int) -> int:
        if self.state == AWAITING_MSG_PAYLOAD:
            return position + self.needed + 2 - len(self.buf)
        return data.find(b"\n", position) + 1 or len(data)

"""nats-py's client with two changes: subscriptions by the ten thousand, and one write for what several parts send.

Listening: nats-py makes a queue and a task for each subscription, and sends all subscriptions in one go after a
reconnect. A `Listener` is an entry in a dict, and its callback is called where the message is parsed. So messages of
one publisher are handled in the order in which they arrived, whatever their subjects. After a reconnect listeners are
subscribed in batches, before anything else is written.

Sending: nats-py wakes a task for each message. `ListeningClient.send` puts a message into nats-py's buffer, which is
written at most once per `write_interval`, and at once after a pause (`Throttle`). Just before, callbacks of
`before_write` add what they have gathered.

It relies on internals of nats-py, checked with 2.16: `_ps`, `_sid`, `_pending`, `_pending_data_size`, `_flush_queue`,
`_flush_pending`, `_flusher`, `_send_ping`, `_process_msg`, `_process_err`, `_process_op_err`, `_process_connect_init`
and `_transport` of the client; `state`, `buf` and `needed` of its parser.
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
"""Subscriptions that are written at once after a reconnect."""
SLICE = 0.005
"""Seconds for which messages are handled before the loop has its turn."""

_MESSAGE = re.compile(rb"MSG ([^\s]+) (\d+) (?:([^\s]+) )?(\d+)\r\n")
_STALE = (b"SUB ", b"UNSUB ")


class Listener:
    """One subscription, until it is closed. `ListeningClient.listen` makes it."""

    __slots__ = ("_client", "_sid", "callback", "queue", "subject")

    def __init__(self, client: ListeningClient, sid: int, subject: str, callback: Callback, queue: str) -> None:
        self._client = client
        self._sid = sid
        self.subject = subject
        self.callback = callback
        self.queue = queue

    def hear(self, data: bytes) -> None:
        """Call back with one message. A failure of the callback is logged and stops nothing."""
        try:
            self.callback(data)
        except Exception:
            log.exception("message not handled", subject=self.subject)

    def close(self) -> None:
        """Unsubscribe. The callback is not called any more, not even for messages that have arrived already."""
        self._client.forget(self._sid)

    async def drain(self, timeout: float) -> None:
        """Unsubscribe, but handle the messages that have arrived. Raises `TimeoutError` after `timeout` seconds."""
        try:
            await self._client.end_subscription(self._sid, timeout)
        finally:
            self.close()

    @property
    def command(self) -> bytes:
        """The command of NATS' protocol that subscribes it."""
        return f"SUB {self.subject} {self.queue} {self._sid}\r\n".encode()


class ListeningClient(Client):
    """nats-py's client with listeners and gathered writes."""

    def __init__(self, write_interval: float = 0.0) -> None:
        super().__init__()
        self.listeners: dict[int, Listener] = {}
        self._ps = ListeningParser(self)
        self._gathered: dict[Callable[[], None], None] = {}
        """The callbacks that have something to send with the next write, each once, in the order of their asking."""
        self._writing = Throttle(self.write, write_interval)

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message with the next write. Without a connection it waits in nats-py's bounded buffer.

        It raises what nats-py's `publish` raises, and never waits: whoever sends much has to look at `congested`.
        """
        # A space or a control character in a subject would end it, and be taken for the rest of the command.
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
        """Whether so much waits to be written that nobody should send more before `drained`."""
        return self._pending_data_size > self._max_pending_size

    async def drained(self) -> None:
        """Wait until everything that was sent has been written, if there is a connection."""
        await self._flush_pending(force_flush=True)

    def before_write(self, gather: Callable[[], None]) -> None:
        """Call back once, just before the next write, which takes along what the callback sends."""
        self._gathered[gather] = None
        self._writing.soon()

    def gather(self) -> None:
        """Call the callbacks of `before_write`, also those that are added meanwhile."""
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
        """Gather and write what waits. While the kernel's buffer is full, nats-py's flusher writes it later."""
        self.gather()
        transport = self._transport
        if not self._pending or transport is None or not self.is_connected:
            return  # nats-py's flusher writes it after the reconnect
        if self._buffered:
            self._wake_flusher()
            return
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        transport.write(b"".join(pending))

    # -- listening -------------------------------------------------------------------------------------------------

    def listen(self, subject: str, callback: Callback, queue: str = "") -> Listener:
        """Call back with the payload of each message on a subject or, with `queue`, of this member's share of them.

        The server learns of the subscription before it sees anything that is published later. Without a connection it
        learns of it after the reconnect. Raises `ValueError` for a bad subject.
        """
        if subject.split() != [subject]:
            raise ValueError(f"not a subject: {subject!r}")
        self._sid += 1
        listener = self.listeners[self._sid] = Listener(self, self._sid, subject, callback, queue)
        self._write(listener.command)
        return listener

    def forget(self, sid: int) -> None:
        """Unsubscribe the listener with this subscription id, if there still is one."""
        if self.listeners.pop(sid, None) is not None:
            self._write(b"UNSUB %d\r\n" % sid)

    def abandon(self) -> None:
        """Close a connection that is being made: nats-py leaves its socket open when `connect` is cancelled."""
        if self._transport is not None:
            self._transport.close()

    async def end_subscription(self, sid: int, timeout: float) -> None:
        """Unsubscribe a listener and wait until the server sends it nothing more.

        Raises as `wait_until_received` does.
        """
        if sid in self.listeners and self.is_connected:
            self._write(b"UNSUB %d\r\n" % sid)
            await self.wait_until_received(timeout)

    async def wait_until_received(self, timeout: float) -> None:
        """Wait until the server has seen everything that was sent so far, subscriptions included.

        Raises `TimeoutError` after `timeout` seconds, and nats-py's `ConnectionClosedError`.
        """
        self.gather()
        if self._flush_queue is None or self.is_closed:
            raise ConnectionClosedError
        # The flusher first: nats-py writes a ping at once, before commands that wait in the buffer.
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            await self._flush_queue.put(written)
            await written
            await self._send_ping(pong)
            # Shielded: nats-py's reader fails when a PONG comes for a future that was cancelled.
            await asyncio.shield(pong)

    async def dispatch(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Route a message to its listener, or to nats-py's own subscriptions."""
        if (listener := self.listeners.get(sid)) is not None:
            listener.hear(data)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    def _write(self, command: bytes) -> None:
        if not self.is_connected or self._flush_queue is None:
            return  # `_resubscribe` sends every listener after the reconnect
        self._append(command)
        self._writing.soon()

    def _wake_flusher(self) -> None:
        """Have nats-py's flusher write: unlike `write` it waits until the kernel takes more."""
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    @property
    def _buffered(self) -> int:
        """The bytes that were written to the transport and that the kernel has not taken yet."""
        writer: asyncio.StreamWriter | None = getattr(self._transport, "_io_writer", None)
        return 0 if writer is None else writer.transport.get_write_buffer_size()

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg or STALE_CONNECTION in err_msg:
            await super()._process_err(err_msg)
            return
        # Such as "maximum connections exceeded": nats-py would close the connection for good. This reconnects.
        error = Error(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        await self.dispatch(sid, subject, reply, data, headers)

    async def _process_connect_init(self) -> None:
        # The parser may hold the first part of a message that the last connection was cut off in.
        self._ps.reset()
        await super()._process_connect_init()
        # All subscriptions are about to be sent again. A SUB that still waits would subscribe a closed one for good.
        self._pending = [command for command in self._pending if not command.startswith(_STALE)]
        self._pending_data_size = sum(map(len, self._pending))

    async def _flusher(self) -> None:
        # Before anything else is written: a request that waits must not overtake the subscription to its answer.
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
    """nats-py's parser with a fast path for most bytes: whole messages without headers (`MSG` of NATS' protocol).

    nats-py's own code gets everything else, line by line, and the parts of a message that two reads have split.
    """

    def __init__(self, client: ListeningClient) -> None:
        super().__init__(client)
        self._client = client

    async def parse(self, data: bytes = b"") -> None:
        """Handle the bytes of one read. nats-py's reader calls it and waits for it."""
        client = self._client
        position, began, split = 0, time.monotonic(), self._split
        while position < len(data):
            whole = None if split else _MESSAGE.match(data, position)
            # The payload is followed by a line break.
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
        """Whether nats-py's parser holds the first part of a message or of a line."""
        return self.state == AWAITING_MSG_PAYLOAD or bool(self.buf)

    def _end_of_part(self, data: bytes, position: int) -> int:
        """Return the end of the bytes that nats-py's parser has to get: the rest of a payload, or one line."""
        if self.state == AWAITING_MSG_PAYLOAD:
            return position + self.needed + 2 - len(self.buf)
        return data.find(b"\n", position) + 1 or len(data)

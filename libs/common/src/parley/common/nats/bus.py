"""The NATS connection of one process, as everything above uses it.

`connect` makes the one `Bus` of a process and closes it. It reconnects for ever, raises `Reject` at once for what
cannot be sent, and knows when it is deaf (`liveness`). All of it runs on one event loop.

There are two kinds of subscriptions. `subscribe` calls a coroutine in a task of nats-py's, one message at a time.
`listen` calls a plain function where the message is parsed, without queue or task, and so keeps the order in which
messages arrive on different subjects.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    MaxPayloadError,
    NoServersError,
    OutboundBufferLimitError,
)
from nats.errors import TimeoutError as NatsTimeoutError

from parley.common.errors import Code, Reject
from parley.common.nats.liveness import NAME_TIMEOUT, Liveness, NameTaken
from parley.common.nats.requests import RequestClient, RequestServer, rejected
from parley.common.nats.subscriptions import Listener, ListeningClient
from parley.common.process.logs import get_logger
from parley.common.process.settings import ServiceSettings, without_password
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import Wire
from parley.common.wire.identifiers import instance_id

log = get_logger(__name__)

RequestT = TypeVar("RequestT", bound=Wire)
AnswerT = TypeVar("AnswerT", bound=Wire)
Handler = Callable[[Msg], Awaitable[None]]

PENDING_MESSAGES = 65_536
"""Messages in the queue that nats-py keeps for a subscription; more are dropped and reported to `on_error`."""
PENDING_BYTES = 64 * 1024 * 1024
"""The bytes of these messages at most."""
WAITING_LOGGED = 5.0
"""Seconds between two log lines while NATS cannot be reached."""
STOP_PATIENCE = 2.0
"""Seconds in which NATS has to answer a process that stops; one that does not is not waited for any longer."""


class Bus:
    """Publishes, subscribes, asks and answers. `connect` makes it."""

    def __init__(
        self, client: ListeningClient, service: str, user: str, instance: str, timeout: float, tasks: Tasks
    ) -> None:
        self.service = service
        self.user = user
        """Who this process is to the broker: its inboxes are named so, and no other user may listen there."""
        self.instance = instance
        self.run = secrets.token_hex(6)
        """Tells this run of the process from earlier ones under the same name."""
        self._client = client
        self._timeout = timeout
        self._tasks = tasks
        self._on_reconnect: list[Callable[[], object]] = []
        self._client_side = RequestClient(self.publish, self._hear_answers, user, tasks)
        self._server_side = RequestServer(self, tasks)
        self._liveness = Liveness(
            service, self.run_address, self.publish, lambda: client.is_connected, client.force_reconnect
        )

    @property
    def run_address(self) -> str:
        """The address of this run: in subjects it keeps out what was meant for an earlier run of the same name."""
        return f"{self.instance}:{self.run}"

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a NATS server at this moment."""
        return self._client.is_connected

    @property
    def hearing(self) -> bool:
        """Whether this process has lately received its own sign of life, that is: is not deaf."""
        return self._liveness.hearing

    @property
    def max_payload(self) -> int:
        """The bytes that the NATS server accepts in one message."""
        return self._client.max_payload

    def on_reconnect(self, callback: Callable[[], object]) -> None:
        """Call back after every reconnect: everything that was published meanwhile was missed."""
        self._on_reconnect.append(callback)

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message and wait while the bus is congested. Raises as `send` does."""
        self.send(subject, payload, reply)
        await self.drained()

    @property
    def congested(self) -> bool:
        """Whether NATS takes less than it is sent. Whoever sends much should then wait for `drained`."""
        return self._client.congested

    async def drained(self) -> None:
        """Wait while the bus is congested."""
        if self._client.congested:
            await self._client.drained()

    def before_write(self, gather: Callable[[], None]) -> None:
        """Call back once, just before the next write, which takes along what the callback sends.

        The next write is two turns of the loop away, or `write_interval` after the last one.
        """
        self._client.before_write(gather)

    def write(self) -> None:
        """Write at once, instead of waiting for the next write."""
        self._client.write()

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message with the next write. Without a connection it waits in a bounded buffer.

        Raises `Reject`: `unavailable` when the buffer is full or the bus is closing, `payload_too_large` beyond
        `max_payload`.
        """
        try:
            self._client.send(subject, payload, reply)
        except MaxPayloadError as error:
            raise Reject(Code.PAYLOAD_TOO_LARGE) from error
        except (ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError) as error:
            raise Reject(Code.UNAVAILABLE) from error

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Call `handler` with each message, one at a time, in order. A failure of it is logged and stops nothing."""

        async def handle(message: Msg) -> None:
            try:
                await handler(message)
            except Exception:
                log.exception("message not handled", subject=subject)

        # A callback, and never nats-py's iterator, which makes a task for each message.
        return await self._client.subscribe(
            subject, queue, cb=handle, pending_msgs_limit=PENDING_MESSAGES, pending_bytes_limit=PENDING_BYTES
        )

    async def unsubscribe(self, subscription: Subscription | Listener) -> None:
        """End a subscription once the messages that have arrived were handled. Without a connection it ends at once."""
        if isinstance(subscription, Listener):
            with suppress(TimeoutError, ConnectionClosedError):
                await subscription.drain(timeout=5)
        elif self.connected:
            with suppress(NatsTimeoutError, ConnectionClosedError, ConnectionDrainingError):
                await subscription.drain()

    def listen(self, subject: str, callback: Callable[[bytes], object], queue: str = "") -> Listener:
        """Call back with the payload of each message on a subject.

        It is for very many subscriptions, for order across subjects, and where a message must cost little. There is no
        task and no queue, so the callback must be quick and must not wait. With `queue`, each message goes to one of
        the processes in that queue group. NATS knows the subscription before it sees what this process publishes next.
        """
        return self._client.listen(subject, callback, queue)

    async def flush(self) -> None:
        """Wait until NATS has seen everything that was sent so far, subscriptions included."""
        await self._client.wait_until_received(timeout=5)

    async def request(
        self, subject: str, payload: Wire, kind: type[AnswerT], timeout: float | None = None, *, repeat: bool = False
    ) -> AnswerT:
        """Ask one responder and return its answer, of type `kind`.

        Raises the `Reject` that the responder raised, `unavailable` when there is none, and `timeout` after `timeout`
        seconds, by default the settings'. `repeat` is for questions that change nothing: one that is not answered soon
        is asked again, most likely of another replica, and the first answer counts.
        """
        return _understood(await self._ask(subject, payload, timeout, repeat=repeat), kind, subject)

    async def call(self, subject: str, payload: Wire, timeout: float | None = None) -> None:
        """Ask one responder to do something. Raises as `request` does; there is no other answer."""
        await self._ask(subject, payload, timeout, repeat=False)

    async def _ask(self, subject: str, payload: Wire, timeout: float | None, *, repeat: bool) -> msgspec.Raw:
        if not self.connected:
            raise Reject(Code.UNAVAILABLE)
        answer = await self._client_side.ask(subject, payload.encode(), timeout or self._timeout, repeat=repeat)
        if answer.failure is not None:
            raise rejected(answer.failure)
        return answer.value

    async def respond(
        self,
        subject: str,
        kind: type[RequestT],
        handler: Callable[[RequestT], Awaitable[Wire | None]],
        queue: str,
    ) -> Subscription:
        """Answer requests on a subject, each in a task of its own. A `Reject` that the handler raises is the answer."""
        return await self.subscribe(subject, self._server_side.responder(subject, kind, handler), queue)

    def run_forever(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a loop as a task that lives as long as the bus."""
        self._tasks.forever(work, name)

    def check(self) -> str | None:
        """Return the reason for which the connection is not ready, or None."""
        if not self.connected:
            return "not connected to NATS"
        return None if self.hearing else "connected to NATS but deaf: own messages do not come back"

    def reconnected(self) -> None:
        """Call the callbacks of `on_reconnect`. nats-py's client calls it."""
        self._liveness.restart()
        for callback in self._on_reconnect:
            try:
                callback()
            except Exception:
                # The other callbacks must run all the same: they fetch what was missed, bans among it.
                log.exception("failed after a reconnect")

    async def start(self) -> None:
        """Take the name, subscribe to answers and to signs of life, and begin to send those. Raises `NameTaken`."""
        # Before this process listens on the name's subject, where it would answer its own question.
        await self._ask_for_name()
        self.listen(subjects.name(self.service, self.instance), self._answer_for_name)
        await self.subscribe(subjects.namesakes(self.service, self.instance), self._on_namesake)
        # Only now: a sign of life from a name that turns out to be taken would stop who has it.
        self._tasks.forever(self._liveness.publish_signs(), name="signs of life")
        self._tasks.forever(self._liveness.watch(), name="own signs of life")

    async def stop(self) -> None:
        """Fail the requests that wait for an answer, and tell everybody that this process stops."""
        self._client_side.close()
        await self._liveness.say_goodbye()

    async def _hear_answers(self, inbox: str, on_answers: Callable[[bytes], object], on_batch_reply: Handler) -> None:
        self.listen(inbox, on_answers)
        await self.subscribe(subjects.ranges(inbox), on_batch_reply)

    async def _ask_for_name(self) -> None:
        """Raise `NameTaken` when another process answers under this name. One that is suspended does not answer."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def hear(data: bytes) -> None:
            # An empty message is NATS' no-responders status: nobody has the name.
            if not answer.done():
                answer.set_result(data)

        name = subjects.name(self.service, self.instance)
        listener = self.listen(inbox := subjects.inbox(self.user, subjects.answerer_of(name)), hear)
        try:
            # The inbox is also the reply subject, so that NATS says at once where nobody listens.
            await self.publish(name, inbox.encode(), inbox)
            async with asyncio.timeout(NAME_TIMEOUT):
                run = (await answer).decode()
        except TimeoutError:
            return
        finally:
            listener.close()
        if run not in {"", self.run}:
            raise NameTaken(
                f"another {self.service} answers under the name {self.instance!r} (run {run}); "
                "give each process a PARLEY_INSTANCE of its own"
            )

    def _answer_for_name(self, data: bytes) -> None:
        inbox = data.decode()
        if subjects.is_inbox(inbox, subjects.answerer_of(subjects.name(self.service, self.instance))):
            self._tasks.spawn(self.publish(inbox, self.run.encode()), name="answer for the name")

    async def _on_namesake(self, message: Msg) -> None:
        _, address = subjects.parse_alive(message.subject)
        self._liveness.on_namesake(message.data, subjects.split_address(address)[1])


def _understood(answer: msgspec.Raw, kind: type[AnswerT], subject: str) -> AnswerT:
    """Decode an answer. A malformed one, as from a process of another version, becomes `internal`."""
    try:
        return msgspec.msgpack.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Not `invalid_payload`, which would blame who asked.
        log.error("malformed answer", subject=subject, error=str(error))
        raise Reject(Code.INTERNAL) from error


@asynccontextmanager
async def connect(settings: ServiceSettings, service: str, *, write_interval: float = 0.0) -> AsyncGenerator[Bus]:
    """Connect to NATS, however long that takes, and drain the connection when the block ends.

    Messages are written at most once per `write_interval` seconds, and at once after a pause; by default those of one
    turn of the loop are written together. Raises `NameTaken` when another process of the service answers under this
    one's name.
    """
    client = ListeningClient(write_interval)
    bus: Bus | None = None
    leaving = False
    logged = float("-inf")

    async def on_error(error: Exception) -> None:
        nonlocal logged
        reason = str(error) or type(error).__name__
        if client.is_connected:
            log.warning("NATS", error=reason)
        elif time.monotonic() - logged >= WAITING_LOGGED:
            logged = time.monotonic()
            log.warning("waiting for NATS", url=without_password(settings.nats_url), error=reason)

    async def on_disconnect() -> None:
        # nats-py also reports the end of a connection that was closed on purpose.
        if not leaving:
            log.warning("NATS connection lost, reconnecting")

    async def on_reconnect() -> None:
        log.info("NATS connection restored")
        if bus is not None:
            bus.reconnected()

    user, password = settings.nats_account()
    user = user or (service if password else "")
    options: dict[str, Any] = {
        "servers": settings.nats_url.split(","),
        "name": f"parley-{service}",
        # For ever: without NATS a process has nothing to do, and its supervisor could do no better.
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        # A connection that is dead without a reset is noticed within half a minute; a deaf one sooner, by `liveness`.
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "drain_timeout": 5,
    }
    if password:
        options |= {"user": user, "password": password}
    while True:
        try:
            await client.connect(
                error_cb=on_error, disconnected_cb=on_disconnect, reconnected_cb=on_reconnect, **options
            )
            break
        except (OSError, NoServersError, NatsTimeoutError) as error:
            await on_error(error)
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            client.abandon()
            raise
    async with Tasks() as tasks:
        bus = Bus(client, service, user or service, instance_id(settings.instance), settings.request_timeout, tasks)
        try:
            await bus.start()
            yield bus
        finally:
            leaving = True
            await bus.stop()
            # Drained, so that what has arrived is still handled and what was sent is written.
            if client.is_connected and await _answers(client):
                await client.drain()
            else:
                await client.close()


async def _answers(client: ListeningClient) -> bool:
    """Whether NATS answers. nats-py would wait 15 s for one that is silent, and then fail the stop."""
    try:
        await client.wait_until_received(STOP_PATIENCE)
    except (TimeoutError, ConnectionClosedError):
        log.warning("NATS does not answer, stopping without it")
        return False
    return True

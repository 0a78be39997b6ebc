"""A thin double of NATS: subjects, queue groups, requests; and messages that are late, lost, doubled or overtaken.

What one process publishes on one subject arrives at another in the order in which it was sent. Across subjects that
holds as well, unless `reorders` is set. A process that is cut off publishes into its buffer and hears nothing; what is
published meanwhile is not for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from parley.common.errors import Code, Reject
from parley.common.nats.requests import REPEAT_AFTER
from parley.common.process.tasks import Tasks
from parley.common.wire.codec import decode
from tests.simulation.loop import Process, SimulatedLoop

REQUEST_TIMEOUT = 2.0


class Message:
    """What a subscriber is given."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        self.subject = subject
        self.data = data
        self.reply = reply
        self.headers = headers


class Subscription:
    """Who hears a subject, in which queue group, and how it is called."""

    __slots__ = ("broker", "bus", "hear", "queue", "subject", "whole")

    def __init__(
        self, broker: Broker, bus: SimulatedBus, subject: str, queue: str, hear: Callable[[Any], object], *, whole: bool
    ) -> None:
        self.broker = broker
        self.bus = bus
        self.subject = subject
        self.queue = queue
        self.hear = hear
        self.whole = whole
        """Whether it is given the message, or only its payload."""

    def close(self) -> None:
        """Hear nothing more."""
        self.broker.forget(self)

    async def drain(self, timeout: float = 0) -> None:
        """Hear nothing more, and be done with what has arrived."""
        del timeout
        self.close()


class Broker:
    """All subscriptions, and what is on its way."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.latency = 0.0005
        self.loses = 0.0
        """How often a message to one subscriber is lost, and nobody notices."""
        self.doubles = 0.0
        self.delays = 0.0
        """How often a message is late by up to a third of a second."""
        self.reorders = False
        self.lossless: tuple[str, ...] = ()
        self._subscriptions: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._below: list[Subscription] = []
        """Those with a wildcard."""
        self._arrivals: dict[tuple[SimulatedBus, SimulatedBus, str], float] = {}
        self.lost = 0

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to deliver."""
        if subscription.subject.endswith(("*", ">")):
            self._below.append(subscription)
        else:
            self._subscriptions[subscription.subject].append(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Deliver nothing more."""
        subscribed = self._subscriptions.get(subscription.subject, self._below)
        if subscription in subscribed:
            subscribed.remove(subscription)

    def forget_process(self, bus: SimulatedBus) -> None:
        """A process is gone with all its subscriptions."""
        for subject, subscribed in list(self._subscriptions.items()):
            self._subscriptions[subject] = [one for one in subscribed if one.bus is not bus]
        self._below = [one for one in self._below if one.bus is not bus]

    def hearing(self, subject: str) -> list[Subscription]:
        """Who is to hear a message on a subject: everybody, and of each queue group one."""
        found = [one for one in self._subscriptions.get(subject, ()) if one.bus.attached]
        if self._below:
            found += [one for one in self._below if one.bus.attached and _matches(one.subject, subject)]
        groups: dict[str, list[Subscription]] = {}
        chosen: list[Subscription] = []
        for one in found:
            if one.queue:
                groups.setdefault(one.queue, []).append(one)
            else:
                chosen.append(one)
        chosen += [group[int(self.loop.rng.random() * len(group))] for group in groups.values()]
        return chosen

    def send(self, sender: SimulatedBus, subject: str, data: bytes, reply: str = "") -> None:
        """Take a message and send it on its way to everybody who hears its subject."""
        chosen = self.hearing(subject)
        if not chosen and reply:
            # The broker says so itself.
            status = {"Status": "503"}
            for one in self.hearing(reply):
                self._deliver(sender, one, Message(reply, b"", "", status))
            return
        message = Message(subject, data, reply)
        for one in chosen:
            self._deliver(sender, one, message)

    def _deliver(self, sender: SimulatedBus, one: Subscription, message: Message) -> None:
        rng = self.loop.rng
        if self.loses and not message.subject.startswith(self.lossless) and rng.random() < self.loses:
            self.lost += 1
            return
        delay = self.latency * (0.5 + rng.random())
        if self.delays and rng.random() < self.delays:
            delay += rng.random() / 3
        key = (sender, one.bus, message.subject if self.reorders else "")
        arrival = max(self._arrivals.get(key, 0.0), self.loop.now + delay)
        self._arrivals[key] = arrival
        self.loop.after(arrival - self.loop.now, one.bus.process, one.bus.arrive, one, message, one.bus.attachment)
        if self.doubles and rng.random() < self.doubles:
            self.loop.after(
                arrival - self.loop.now + rng.random() / 10,
                one.bus.process,
                one.bus.arrive,
                one,
                message,
                one.bus.attachment,
            )


class SimulatedBus:
    """One process's connection, with what `parley.common.nats.bus.Bus` offers."""

    def __init__(self, broker: Broker, process: Process, service: str, run: str) -> None:
        self.broker = broker
        self.process = process
        self.service = service
        self.instance = process.name
        self.run = run
        self.attached = True
        """Whether the broker has it."""
        self.attachment = 0
        """How often it was attached: what was on its way to an earlier connection is lost."""
        self.connected = True
        """Whether the process believes that it is."""
        self.congested = False
        self.max_payload = 1024 * 1024
        self._buffer: list[tuple[str, bytes, str]] = []
        self._on_reconnect: list[Callable[[], object]] = []
        self._waiting: set[asyncio.Future[Any]] = set()
        self._tasks = Tasks()
        self._cuts = 0
        process.on_end.append(lambda: broker.forget_process(self))

    @property
    def hearing(self) -> bool:
        """Whether it hears itself, as far as it knows."""
        return self.connected

    @property
    def run_address(self) -> str:
        """The subject token of this very run."""
        return f"{self.instance}:{self.run}"

    def on_reconnect(self, callback: Callable[[], object]) -> None:
        """Call back after every reconnect."""
        self._on_reconnect.append(callback)

    # -- being cut off ---------------------------------------------------------------------------------------------

    def cut(self, seconds: float, *, unnoticed: float = 0.0) -> None:
        """Be away from the broker for a while; the process notices later, if `unnoticed` says so."""
        self._cuts += 1
        self.attached = False
        self.attachment += 1
        loop = self.broker.loop
        loop.after(min(unnoticed, seconds), self.process, self._notice, self._cuts)
        loop.after(seconds, self.process, self._reconnect, self._cuts)

    def _notice(self, cut: int) -> None:
        if cut == self._cuts and not self.attached:
            self.connected = False

    def _reconnect(self, cut: int) -> None:
        if cut != self._cuts:
            return
        self.attached = self.connected = True
        buffered, self._buffer = self._buffer, []
        for message in buffered:
            self.broker.send(self, *message)
        for callback in self._on_reconnect:
            callback()

    # -- messages --------------------------------------------------------------------------------------------------

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message."""
        self.send(subject, payload, reply)

    async def drained(self) -> None:
        """The broker takes what it is sent."""

    def before_write(self, gather: Callable[[], None]) -> None:
        """Call back just before the next write."""
        self.broker.loop.call_soon(gather)

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message, or keep it while disconnected; what is sent into a dead connection is lost."""
        if self.attached:
            self.broker.send(self, subject, payload, reply)
        elif not self.connected:
            self._buffer.append((subject, payload, reply))

    async def subscribe(self, subject: str, handler: Callable[[Any], Awaitable[None]], queue: str = "") -> Subscription:
        """Call a handler with each message, one at a time, in order."""
        queued: asyncio.Queue[Any] = asyncio.Queue()

        async def work() -> None:
            while True:
                await handler(await queued.get())

        self._tasks.forever(work(), name=f"hear {subject}")
        subscription = Subscription(self.broker, self, subject, queue, queued.put_nowait, whole=True)
        self.broker.subscribe(subscription)
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        subscription.close()

    def listen(self, subject: str, callback: Callable[[bytes], object], queue: str = "") -> Subscription:
        """Call back with the payload of each message."""
        subscription = Subscription(self.broker, self, subject, queue, callback, whole=False)
        self.broker.subscribe(subscription)
        return subscription

    async def flush(self) -> None:
        """Wait until the broker has seen everything."""
        await asyncio.sleep(self.broker.latency)

    def arrive(self, subscription: Subscription, message: Message, attachment: int) -> None:
        """A message is here, unless the connection that it was sent on is gone."""
        if attachment == self.attachment and self.attached:
            subscription.hear(message if subscription.whole else message.data)

    # -- requests --------------------------------------------------------------------------------------------------

    async def request(
        self, subject: str, payload: Any, kind: Any, timeout: float | None = None, *, repeat: bool = False
    ) -> Any:
        """Ask one responder; with `repeat` another one as well, after a while. Raises `Reject`."""
        if not self.connected:
            raise Reject(Code.UNAVAILABLE)
        loop, allowed = self.broker.loop, timeout or REQUEST_TIMEOUT
        answer: asyncio.Future[Any] = loop.create_future()

        def ask() -> None:
            if not self.attached:
                return
            if chosen := self.broker.hearing(subject):
                asked = Message(subject, payload.encode(), "")
                asked.headers = {"asker": self, "answer": answer}  # type: ignore[assignment]
                self.broker._deliver(self, chosen[0], asked)
            else:
                loop.after(self.broker.latency, self.process, _settle, answer, Reject(Code.UNAVAILABLE))

        timers = [loop.call_later(allowed, _settle, answer, Reject(Code.TIMEOUT))]
        if repeat:
            timers += [loop.call_later(after, ask) for after in REPEAT_AFTER if after < allowed]
        ask()
        try:
            value = await answer
        finally:
            for timer in timers:
                timer.cancel()
        return msgspec.msgpack.decode(value, type=kind)

    async def respond(
        self, subject: str, kind: Any, handler: Callable[[Any], Awaitable[Any]], queue: str
    ) -> Subscription:
        """Answer requests on a subject, concurrently."""

        async def answer(message: Any) -> None:
            asker, waiting = message.headers["asker"], message.headers["answer"]
            try:
                value = (await handler(decode(message.data, kind))).encode()
            except Reject as rejection:
                value = rejection
            self._answer(asker, waiting, value)

        def hear(message: Any) -> None:
            self._tasks.spawn(answer(message), name=f"respond {subject}")

        subscription = Subscription(self.broker, self, subject, queue, hear, whole=True)
        self.broker.subscribe(subscription)
        return subscription

    def _answer(self, asker: SimulatedBus, waiting: asyncio.Future[Any], value: Any) -> None:
        rng = self.broker.loop.rng
        if self.attached and asker.attached and not (self.broker.loses and rng.random() < self.broker.loses):
            delay = self.broker.latency * (0.5 + rng.random())
            if self.broker.delays and rng.random() < self.broker.delays:
                delay += rng.random() / 3
            self.broker.loop.after(delay, asker.process, asker.answered, waiting, value, asker.attachment)

    def answered(self, waiting: asyncio.Future[Any], value: Any, attachment: int) -> None:
        """An answer is here."""
        if attachment == self.attachment:
            _settle(waiting, value)

    def run_forever(self, work: Any, name: str) -> None:
        """Run a loop that lives as long as the connection does."""
        self._tasks.forever(work, name)


def _settle(waiting: asyncio.Future[Any], value: Any) -> None:
    if waiting.done():
        return
    if isinstance(value, Exception):
        waiting.set_exception(value)
    else:
        waiting.set_result(value)


def _matches(pattern: str, subject: str) -> bool:
    if pattern.endswith(">"):
        return subject.startswith(pattern[:-1])
    wanted, said = pattern.split("."), subject.split(".")
    return len(wanted) == len(said) and all(one in ("*", other) for one, other in zip(wanted, said, strict=True))

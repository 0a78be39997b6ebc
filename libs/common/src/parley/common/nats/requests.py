"""Requests between processes and their answers, both in batches. `Bus.request` and `Bus.respond` use it.

A message costs more than a request, and thousands of connections may be set up within a second. So the requests of one
turn of the loop to one subject travel as one message, and so do the answers to one inbox. Between two messages to a
subject there is a pause, which is longer after a larger batch.

A message goes to one replica of a service, and that one may be suspended. A question that changes nothing is therefore
sent again after a while (`REPEAT_AFTER`), most likely to another replica, and the first answer counts.

On the asking side, futures wait and one task per subject sends. On the answering side each request has a task, and one
timer per message cancels handlers that take too long. NATS reports that nobody listens by an empty message with status
503 on the reply subject; that subject names the range of the message's tags, and so all of its requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from nats.aio.client import NO_RESPONDERS_STATUS
from nats.aio.msg import Msg

from parley.common.errors import Code, Reject, known_code
from parley.common.nats.chunks import split_by_size
from parley.common.nats.outbox import Outbox, OutboxConnection, Publish
from parley.common.nats.tags import TagTable
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import Wire, decode
from parley.common.wire.requests import Answer, Answers, Rejection, Request, Requests

log = get_logger(__name__)

RequestT = TypeVar("RequestT", bound=Wire)

MAX_REQUESTS = 1_024
"""Requests on one subject that a process handles at a time; more are refused with `overloaded`."""
MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""The bytes of these requests at most."""
HANDLER_SECONDS = 30.0
"""Seconds that a handler may take. Then it is cancelled, and the request is answered with `timeout`."""
PAUSE_EACH = 0.004
"""Seconds of pause on a subject for each request in a message: a lone request goes at once, a storm in batches."""
MAX_PAUSE = 0.02
"""The longest pause: what it adds to an answer is hardly felt."""
REPEAT_AFTER = (1.0, 2.0, 4.0)
"""Seconds after which a question that may be repeated is sent again."""
MAX_BYTES = 384 * 1024
"""A message is cut here, to stay well below NATS' default `max_payload` of 1 MiB."""
OVERHEAD = 32
"""Bytes counted for a request or an answer besides its contents."""
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError)


def is_no_responders(message: Msg) -> bool:
    """Whether a message is NATS' no-responders status: nobody listens on the subject."""
    return message.headers is not None and message.headers.get("Status") == NO_RESPONDERS_STATUS


class _Waiting:
    """A request whose answer is awaited. It has a tag for each time it was sent."""

    __slots__ = ("answer", "payload", "subject", "tags")

    def __init__(self, subject: str, payload: bytes, answer: asyncio.Future[Answer]) -> None:
        self.subject = subject
        self.payload = payload
        self.answer = answer
        self.tags: list[int] = []

    def expire(self) -> None:
        self.settle(Reject(Code.TIMEOUT))

    def settle(self, outcome: Answer | Reject) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Reject):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


HearAnswers = Callable[[str, Callable[[bytes], object], Callable[[Msg], Awaitable[None]]], Awaitable[None]]
"""Listens on an inbox for answers, and below it for replies to whole messages."""


class _Questions:
    """What was asked of one answerer. Only they may publish to the inbox, so they settle nothing asked of others."""

    def __init__(self, inbox: str) -> None:
        self.inbox = inbox
        self.sent = TagTable[_Waiting]()

    def on_answers(self, data: bytes) -> None:
        """Take some answers."""
        for tag, answer in decode(data, Answers).answers:
            if (request := self.sent.settle(tag)) is not None:
                request.settle(answer)

    async def on_batch_reply(self, message: Msg) -> None:
        """Take one answer to all requests of a message, which may be the broker's that nobody is there to answer."""
        requests = self.sent.settle_range(*subjects.parse_range(message.subject))
        try:
            outcome = Reject(Code.UNAVAILABLE) if is_no_responders(message) else decode(message.data, Answer)
        except _MALFORMED as error:
            outcome = Reject(Code.INTERNAL)
            for subject in {request.subject for request in requests}:
                log.error("malformed answer", subject=subject, error=str(error))
        for request in requests:
            request.settle(outcome)


class RequestClient:
    """The side that asks. `asker` is who it is to the broker, `hear` listens on the inbox of each answerer."""

    def __init__(self, publish: Publish, hear: HearAnswers, asker: str, tasks: Tasks) -> None:
        self._publish = publish
        self._hear = hear
        self._asker = asker
        self._tasks = tasks
        self._gathered: dict[str, list[_Waiting]] = {}
        self._questions: dict[str, _Questions] = {}

    async def ask(self, subject: str, payload: bytes, timeout: float, *, repeat: bool) -> Answer:
        """Send a request, with `repeat` several times if need be, and return its answer. Raises `Reject`."""
        loop = asyncio.get_running_loop()
        request = _Waiting(subject, payload, loop.create_future())
        self._gather(request)
        # Its time runs from now on, and not from when NATS takes the message: the caller waits from now on.
        timers = [loop.call_later(timeout, request.expire)]
        if repeat:
            # A new tag for each time, and the first answer counts; the others find the tag gone.
            timers += [loop.call_later(after, self._gather, request) for after in REPEAT_AFTER if after < timeout]
        try:
            return await request.answer
        finally:
            for timer in timers:
                timer.cancel()
            if request.tags:
                sent = self._questions[subjects.answerer_of(subject)].sent
                # Whether it was answered or given up: an answer that is still on its way must find nothing.
                for tag in request.tags:
                    sent.settle(tag)

    def _gather(self, request: _Waiting) -> None:
        if (gathered := self._gathered.get(request.subject)) is None:
            gathered = self._gathered[request.subject] = []
            # The task begins on the next turn of the loop, when every request of this turn has been gathered.
            self._tasks.spawn(self._send(request.subject), name="requests")
        gathered.append(request)

    def close(self) -> None:
        """Tell those who still wait that there will be no answer."""
        sent = (request for questions in self._questions.values() for request in questions.sent)
        for request in (*sent, *(request for gathered in self._gathered.values() for request in gathered)):
            request.settle(Reject(Code.UNAVAILABLE))

    async def _send(self, subject: str) -> None:
        """Send the requests gathered for a subject, batch by batch with a pause after each, until there are none."""
        try:
            while requests := self._gathered[subject]:
                self._gathered[subject] = []
                # A generator: while one batch is sent, callers may stop waiting for requests of the next.
                awaited = (request for request in requests if not request.answer.done())
                for batch in split_by_size(awaited, MAX_BYTES, lambda request: len(request.payload) + OVERHEAD):
                    await self._send_batch(subject, batch)
                await asyncio.sleep(min(MAX_PAUSE, len(requests) * PAUSE_EACH))
        finally:
            del self._gathered[subject]

    async def _send_batch(self, subject: str, batch: list[_Waiting]) -> None:
        questions = await self._questions_for(subject)
        tags = questions.sent.issue(batch)
        for tag, request in zip(tags, batch, strict=True):
            request.tags.append(tag)
        requests = [Request(tag, sent.payload) for tag, sent in zip(tags, batch, strict=True)]
        message = Requests(questions.inbox, requests)
        try:
            await self._publish(subject, message.encode(), subjects.with_range(questions.inbox, tags))
        except Reject as rejection:
            for request in questions.sent.settle_range(tags.start, tags.stop - 1):
                request.settle(rejection)

    async def _questions_for(self, subject: str) -> _Questions:
        """What was asked of those who answer on a subject. They are few: kinds of processes, and namespaces."""
        answerer = subjects.answerer_of(subject)
        if (questions := self._questions.get(answerer)) is None:
            questions = self._questions[answerer] = _Questions(subjects.inbox(self._asker, answerer))
            await self._hear(questions.inbox, questions.on_answers, questions.on_batch_reply)
        return questions


class RequestServer:
    """The side that answers. All responders of a process share an outbox, so answers to one inbox travel together."""

    def __init__(self, connection: OutboxConnection, tasks: Tasks) -> None:
        self._connection = connection
        self._tasks = tasks
        self._answers = Outbox[tuple[int, Answer]](
            connection,
            tasks,
            "answers",
            encode=_encode_answers,
            weigh=_weigh_answer,
            max_bytes=MAX_BYTES,
            replace=lambda tagged: (tagged[0], failed(Reject(Code.INTERNAL))),
        )

    def responder(
        self,
        subject: str,
        kind: type[RequestT],
        handler: Callable[[RequestT], Awaitable[Wire | None]],
    ) -> Callable[[Msg], Awaitable[None]]:
        """Return the callback for a subject's messages, which has each request handled by a task."""
        responder = _Responder(subject, kind, handler, self._answers, self._tasks)

        answerer = subjects.answerer_of(subject)

        async def receive(message: Msg) -> None:
            try:
                batch = decode(message.data, Requests)
            except _MALFORMED as error:
                # The reply subject is the inbox with the range of tags behind it, two tokens.
                if subjects.is_inbox(message.reply.rpartition(".")[0].rpartition(".")[0], answerer):
                    self._connection.send(message.reply, failed(Reject(Code.INVALID_PAYLOAD, str(error))).encode())
                return
            if not subjects.is_inbox(batch.inbox, answerer):
                # Whoever asks must not have this process publish where they may not themselves.
                log.warning("a question whose answers would go elsewhere", subject=subject, inbox=batch.inbox)
                return
            responder.take(batch)

        return receive


class _Responder(Generic[RequestT]):
    """The requests on one subject. Each subject has bounds of its own, so none can use up another's."""

    def __init__(
        self,
        subject: str,
        kind: type[RequestT],
        handler: Callable[[RequestT], Awaitable[Wire | None]],
        answers: Outbox[tuple[int, Answer]],
        tasks: Tasks,
    ) -> None:
        self._subject = subject
        self._kind = kind
        self._handler = handler
        self._answers = answers
        self._tasks = tasks
        self._in_hand = 0
        self._bytes = 0

    def take(self, batch: Requests) -> None:
        """Start a task for each request, and refuse the requests for which there is no room."""
        in_hand = _InHand(batch.inbox)
        for request in batch.requests:
            size = len(request.payload)
            if self._in_hand >= MAX_REQUESTS or self._bytes + size > MAX_REQUEST_BYTES:
                self._answers.add(batch.inbox, (request.tag, failed(Reject(Code.OVERLOADED))))
                continue
            self._in_hand += 1
            self._bytes += size
            task = self._tasks.spawn(self._handle(request, in_hand), name=f"respond {self._subject}")
            in_hand.requests[request.tag] = (size, task)
        if in_hand.requests:
            # One timer for a message and not one for each request: in a storm a message has thousands.
            in_hand.timer = asyncio.get_running_loop().call_later(HANDLER_SECONDS, self._expire, in_hand)

    async def _handle(self, request: Request, in_hand: _InHand) -> None:
        answer = await self._answer(request)
        self._settle(in_hand, request.tag, answer)
        if not in_hand.requests and in_hand.timer is not None:
            in_hand.timer.cancel()

    async def _answer(self, request: Request) -> Answer:
        try:
            value = await self._handler(decode(request.payload, self._kind))
            return Answer(None, msgspec.Raw(value.encode())) if value is not None else Answer(None)
        except Reject as rejection:
            return failed(rejection)
        except _MALFORMED as error:
            return failed(Reject(Code.INVALID_PAYLOAD, str(error)))
        except Exception:
            log.exception("request failed", subject=self._subject)
            return failed(Reject(Code.INTERNAL))

    def _settle(self, in_hand: _InHand, tag: int, answer: Answer) -> None:
        """Answer a request and free its place, unless that was done before."""
        if (found := in_hand.requests.pop(tag, None)) is not None:
            self._in_hand -= 1
            self._bytes -= found[0]
            self._answers.add(in_hand.inbox, (tag, answer))

    def _expire(self, in_hand: _InHand) -> None:
        # Settled first, so the place is free whatever the handler makes of its cancellation.
        late = list(in_hand.requests.items())
        if late:
            log.error("requests took too long", subject=self._subject, seconds=HANDLER_SECONDS, requests=len(late))
        for tag, (_, task) in late:
            self._settle(in_hand, tag, failed(Reject(Code.TIMEOUT)))
            task.cancel()


class _InHand:
    """The requests of one message that are being handled, by tag: the bytes of each, and its task."""

    __slots__ = ("inbox", "requests", "timer")

    def __init__(self, inbox: str) -> None:
        self.inbox = inbox
        self.requests: dict[int, tuple[int, asyncio.Task[None]]] = {}
        self.timer: asyncio.TimerHandle | None = None


def failed(rejection: Reject) -> Answer:
    """Return the answer that stands for a rejection."""
    data = b"" if rejection.data is None else msgspec.json.encode(rejection.data)
    return Answer(Rejection(str(rejection.code), rejection.message, rejection.retryable, data))


def rejected(failure: Rejection) -> Reject:
    """Return the rejection that an answer stands for, without its `data` if that is not JSON."""
    data = None
    if failure.data:
        try:
            data = msgspec.json.decode(failure.data)
        except (*_MALFORMED, RecursionError) as error:
            log.error("malformed data of a rejection", code=failure.code, error=str(error))
    return Reject(known_code(failure.code, Code.INTERNAL), failure.message, retryable=failure.retryable, data=data)


def _encode_answers(answers: Sequence[tuple[int, Answer]]) -> bytes:
    return Answers(list(answers)).encode()


def _weigh_answer(tagged: tuple[int, Answer]) -> int:
    answer = tagged[1]
    size = len(answer.value) + OVERHEAD
    # A character takes four bytes of UTF-8 at most.
    return size if answer.failure is None else size + len(answer.failure.message) * 4 + len(answer.failure.data)

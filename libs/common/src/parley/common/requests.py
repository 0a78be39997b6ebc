"""Requests and their answers: those of one loop tick travel as one message, whoever asked and whoever answers.

Thousands of connections may be set up within a second, and a message costs more than a request. Between two messages to
one subject there is therefore a pause, the longer the more requests went with the first.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

import msgspec
from nats.aio.client import NO_RESPONDERS_STATUS
from nats.aio.msg import Msg

from parley.common import subjects
from parley.common.chunks import cut
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.tasks import Tasks
from parley.common.wire.codec import Wire, decode
from parley.common.wire.requests import Answer, Answers, Rejection, Request, Requests

log = get_logger(__name__)

RequestT = TypeVar("RequestT", bound=Wire)
Publish = Callable[[str, bytes, str], Awaitable[None]]

MAX_REQUESTS = 1_024
"""Requests one process handles at a time; beyond it the sender is told `overloaded`."""
PAUSE_EACH = 0.004
"""Seconds to pause on a subject after each request sent: a lone one goes at once, and those of a storm together."""
MAX_PAUSE = 0.02
MAX_BYTES = 384 * 1024
"""Messages are cut here, to stay below the broker's limit."""
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError)


class _Question:
    """A request that waits: to be sent while `tag` is 0, then to be answered."""

    __slots__ = ("answer", "payload", "subject", "tag")

    def __init__(self, subject: str, payload: bytes, answer: asyncio.Future[Answer]) -> None:
        self.subject = subject
        self.payload = payload
        self.answer = answer
        self.tag = 0

    def expire(self) -> None:
        self.settle(Reject(Code.TIMEOUT))

    def settle(self, outcome: Answer | Reject) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Reject):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class Asking:
    """The side that asks. `hear` takes what arrives on `inbox`, and `hear_of_batch` what arrives below it."""

    def __init__(self, publish: Publish, inbox: str, tasks: Tasks) -> None:
        self.inbox = inbox
        self._publish = publish
        self._tasks = tasks
        self._tags = count(1)
        self._gathered: dict[str, list[_Question]] = {}
        self._waiting: dict[int, _Question] = {}

    async def ask(self, subject: str, payload: bytes, timeout: float) -> Answer:
        """The outcome of one request. Raises `Reject` when there is none."""
        loop = asyncio.get_running_loop()
        question = _Question(subject, payload, loop.create_future())
        if (gathered := self._gathered.get(subject)) is None:
            gathered = self._gathered[subject] = []
            # A task runs on the next tick, when every request of this one has been gathered.
            self._tasks.spawn(self._send(subject), name="requests")
        gathered.append(question)
        late = loop.call_later(timeout, question.expire)
        try:
            return await question.answer
        finally:
            late.cancel()
            self._waiting.pop(question.tag, None)

    def hear(self, data: bytes) -> None:
        """Take some answers."""
        for tag, answer in decode(data, Answers).answers:
            if (question := self._waiting.get(tag)) is not None:
                question.settle(answer)

    async def hear_of_batch(self, message: Msg) -> None:
        """Take one answer to all requests of a message, which may be the broker's that nobody is there to answer."""
        first, last = subjects.parse_requests_reply(message.subject)
        questions = [question for tag in range(first, last + 1) if (question := self._waiting.get(tag))]
        try:
            nobody = message.headers is not None and message.headers.get("Status") == NO_RESPONDERS_STATUS
            outcome = Reject(Code.UNAVAILABLE) if nobody else decode(message.data, Answer)
        except _MALFORMED as error:
            outcome = Reject(Code.INTERNAL)
            for subject in {question.subject for question in questions}:
                log.error("malformed answer", subject=subject, error=str(error))
        for question in questions:
            question.settle(outcome)

    def close(self) -> None:
        """Tell those who still wait that there will be no answer."""
        for question in (*self._waiting.values(), *(q for gathered in self._gathered.values() for q in gathered)):
            question.settle(Reject(Code.UNAVAILABLE))

    async def _send(self, subject: str) -> None:
        try:
            while questions := self._gathered[subject]:
                self._gathered[subject] = []
                await self._send_all(subject, questions)
                await asyncio.sleep(min(MAX_PAUSE, len(questions) * PAUSE_EACH))
        finally:
            del self._gathered[subject]

    async def _send_all(self, subject: str, questions: list[_Question]) -> None:
        # Lazily: while one batch is sent, somebody may stop waiting for what would be in the next.
        awaited = (question for question in questions if not question.answer.done())
        for batch in cut(awaited, MAX_BYTES, lambda question: len(question.payload)):
            await self._send_batch(subject, batch)

    async def _send_batch(self, subject: str, batch: list[_Question]) -> None:
        for question in batch:
            question.tag = next(self._tags)
            self._waiting[question.tag] = question
        requests = Requests(self.inbox, [Request(question.tag, question.payload) for question in batch])
        reply = subjects.requests_reply(self.inbox, batch[0].tag, batch[-1].tag)
        try:
            await self._publish(subject, requests.encode(), reply)
        except Reject as rejection:
            for question in batch:
                question.settle(rejection)


class Answering:
    """The side that answers."""

    def __init__(self, publish: Publish, tasks: Tasks) -> None:
        self._publish = publish
        self._tasks = tasks
        self._in_hand = 0
        self._answers: defaultdict[str, list[tuple[int, Answer]]] = defaultdict(list)

    def responder(
        self, subject: str, kind: type[RequestT], handler: Callable[[RequestT], Awaitable[Wire | None]]
    ) -> Callable[[Msg], Awaitable[None]]:
        """What takes the messages of a subject and has each request handled, concurrently."""

        async def receive(message: Msg) -> None:
            try:
                batch = decode(message.data, Requests)
            except _MALFORMED as error:
                if message.reply:
                    await self._publish(message.reply, _failed(Reject(Code.INVALID_PAYLOAD, str(error))).encode(), "")
                return
            taken = batch.requests[: max(0, MAX_REQUESTS - self._in_hand)]
            for request in batch.requests[len(taken) :]:
                self._answer(batch.inbox, request.tag, _failed(Reject(Code.OVERLOADED)))
            if taken:
                self._in_hand += len(taken)
                self._tasks.spawn(handle_all(batch.inbox, taken), name=f"respond {subject}")

        async def handle_all(inbox: str, taken: list[Request]) -> None:
            await asyncio.gather(*(handle(inbox, request) for request in taken))

        async def handle(inbox: str, request: Request) -> None:
            try:
                value = await handler(decode(request.payload, kind))
                answer = Answer(None, msgspec.Raw(value.encode())) if value is not None else Answer(None)
            except Reject as rejection:
                answer = _failed(rejection)
            except _MALFORMED as error:
                answer = _failed(Reject(Code.INVALID_PAYLOAD, str(error)))
            except Exception:
                log.exception("request failed", subject=subject)
                answer = _failed(Reject(Code.INTERNAL))
            finally:
                self._in_hand -= 1
            self._answer(inbox, request.tag, answer)

        return receive

    def _answer(self, inbox: str, tag: int, answer: Answer) -> None:
        if not self._answers:
            self._tasks.spawn(self._send(), name="answers")
        self._answers[inbox].append((tag, answer))

    async def _send(self) -> None:
        gathered, self._answers = self._answers, defaultdict(list)
        for inbox, answers in gathered.items():
            for chunk in cut(answers, MAX_BYTES, lambda tagged: len(tagged[1].value)):
                await self._send_chunk(inbox, chunk)

    async def _send_chunk(self, inbox: str, chunk: list[tuple[int, Answer]]) -> None:
        try:
            await self._publish(inbox, Answers(chunk).encode(), "")
        except Reject as rejection:
            if rejection.code is not Code.PAYLOAD_TOO_LARGE:
                return  # the connection is gone, and with it who asked
            log.error("answer too large", inbox=inbox, bytes=sum(len(answer.value) for _, answer in chunk))
            failed = _failed(Reject(Code.INTERNAL))
            await self._publish(inbox, Answers([(tag, failed) for tag, _ in chunk]).encode(), "")


def _failed(rejection: Reject) -> Answer:
    data = b"" if rejection.data is None else msgspec.json.encode(rejection.data)
    return Answer(Rejection(str(rejection.code), rejection.message, rejection.retryable, data))

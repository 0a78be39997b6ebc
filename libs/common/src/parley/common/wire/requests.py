"""The framing of requests and answers: those of one turn of the loop travel as one message. `nats.requests` uses it."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire


class Rejection(Wire, frozen=True):
    """The wire form of `Reject`. `data` is JSON, or empty."""

    code: str
    message: str
    retryable: bool
    data: bytes = b""


class Answer(Wire, frozen=True):
    """The outcome of a request: a failure, or the encoded value (nil for a request without one)."""

    failure: Rejection | None
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Request(Wire, frozen=True):
    """One encoded request. `tag` identifies it in the answer."""

    tag: int
    payload: bytes


class Requests(Wire, frozen=True):
    """The requests of one turn of a process's loop to one subject. `inbox` is the subject for their `Answers`."""

    inbox: str
    requests: list[Request]


class Answers(Wire, frozen=True):
    """The outcomes for one inbox that became ready within one turn of the loop, each with the tag of its request."""

    answers: list[tuple[int, Answer]]

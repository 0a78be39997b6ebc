"""The framing of requests and answers: those of one loop tick travel as one message."""

from __future__ import annotations

import msgspec

from parley.common.wire.codec import Wire


class Rejection(Wire, frozen=True):
    """A request was refused. `data` is what the refuser adds, as JSON."""

    code: str
    message: str
    retryable: bool
    data: bytes = b""


class Answer(Wire, frozen=True):
    """The outcome of any request on the bus: a failure, or the encoded value."""

    failure: Rejection | None
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Request(Wire, frozen=True):
    """One request, encoded. `tag` names it in the answer."""

    tag: int
    payload: bytes


class Requests(Wire, frozen=True):
    """One loop tick of a process's requests to one subject. `inbox` is the subject where it awaits `Answers`."""

    inbox: str
    requests: list[Request]


class Answers(Wire, frozen=True):
    """The outcomes that became ready for one inbox in one loop tick, each with the tag of its request."""

    answers: list[tuple[int, Answer]]

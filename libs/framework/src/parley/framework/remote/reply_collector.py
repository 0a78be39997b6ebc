"""Counts what gateways reply to a request and says when everything has come. Pure.

`GatewayRequests` feeds it with replies, and with the gateways that are thought to live, as often as that may change.

| state | complete |
|---|---|
| the broker says that nobody listens | unless a gateway that was asked was heard a moment ago: it is cut off, or dead |
| replies announced more to come | no |
| as many connections were found as can match | yes |
| one gateway was asked | when it has replied |
| all were asked | when all that live have replied, and it is known who lives |
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class GatewayReply(Protocol):
    """One message of one gateway."""

    @property
    def gateway(self) -> str:
        """The address of who says it."""
        ...

    @property
    def matched(self) -> int:
        """How many connections were found, in addition to what was said before."""
        ...

    @property
    def outstanding(self) -> int:
        """By how much the number of things to come changes."""
        ...


ReplyT = TypeVar("ReplyT", bound=GatewayReply)


ReplyT = TypeVar("ReplyT", bound=GatewayReply)


@dataclass(slots=True)
class GatewayReplies(Generic[ReplyT]):
    """What was replied, and by whom it was not. Gateways are named by their addresses."""

    received: list[ReplyT] = field(default_factory=list[ReplyT])
    matched: int = 0
    complete: bool = False
    """Whether everything has come, from every living gateway."""
    unanswered: tuple[str, ...] = ()
    """The living gateways that said nothing."""
    silent: tuple[str, ...] = ()
    """Those that fell silent some time ago and said nothing: they may stand still, and hold connections."""


class ReplyCollector(Generic[ReplyT]):
    """The replies to one request."""

    def __init__(self, gateway: str, most: int | None) -> None:
        """`gateway` is the only one that is asked, or empty; `most` are the connections that can match, if known."""
        self.no_listener = False
        """Set when the broker says that nobody listens: no such gateway, or none at all, or it has lost the broker."""
        self._gateway = gateway
        self._most = most
        self._replies = GatewayReplies[ReplyT]()
        self._outstanding = 0
        self._answered: set[str] = set()
        self._alive: AbstractSet[str] = frozenset()
        self._all_known = False

    def expect(self, alive: AbstractSet[str], *, all_known: bool) -> None:
        """Take in which gateways live, of those that are asked, and whether it is known of all."""
        self._alive, self._all_known = alive, all_known

    def add(self, reply: ReplyT) -> None:
        """Take in one reply."""
        self._replies.received.append(reply)
        self._replies.matched += reply.matched
        self._outstanding += reply.outstanding
        self._answered.add(reply.gateway)

    @property
    def missing(self) -> AbstractSet[str]:
        """Who of those that are waited for has said nothing."""
        if self.no_listener:
            return self._alive
        if not self._gateway:
            return self._alive - self._answered
        # Whoever is asked by its name answers by its address.
        return frozenset() if self._answered else {self._gateway}

    @property
    def ended(self) -> bool:
        """Whether nothing else is waited for."""
        if self.no_listener:
            return True
        if self._outstanding > 0:
            return False
        if self._most is not None and self._replies.matched >= self._most:
            return True
        return (bool(self._gateway) or self._all_known) and not self.missing

    def result(self, silent: Iterable[str]) -> GatewayReplies[ReplyT]:
        """Return what has come, and who owes a reply. `silent` are gateways that fell silent before."""
        replies, missing = self._replies, self.missing
        replies.complete = self.ended and not (self.no_listener and missing)
        replies.unanswered = () if replies.complete else tuple(sorted(missing))
        replies.silent = () if self._gateway else tuple(sorted(set(silent) - self._answered))
        return replies

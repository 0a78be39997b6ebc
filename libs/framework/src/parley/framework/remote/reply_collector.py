"""Counts the gateways' replies to one request and says when everything has come. Pure.

`GatewayRequests` adds each reply, and tells it which gateways live as often as that may change. The first row that
applies decides:

| state of the request | complete |
|---|---|
| NATS reports no responders | yes, unless a gateway that was asked was heard lately: then it is cut off, or dead |
| replies announced more that has not come yet | no |
| as many connections were found as can match | yes |
| one gateway was asked | when it has replied |
| all gateways were asked | when all living ones have replied and the registry is warmed up |
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class GatewayReply(Protocol):
    """One message of one gateway, of which there may be several to a request."""

    @property
    def gateway(self) -> str:
        """The address of the gateway that replies."""
        ...

    @property
    def matched(self) -> int:
        """How many more connections the gateway has found since its last reply."""
        ...

    @property
    def outstanding(self) -> int:
        """The change of the number of acks or connections that the gateway has still to send."""
        ...


ReplyT = TypeVar("ReplyT", bound=GatewayReply)


@dataclass(slots=True)
class GatewayReplies(Generic[ReplyT]):
    """The replies to a request, and the addresses of the gateways that did not reply."""

    received: list[ReplyT] = field(default_factory=list[ReplyT])
    matched: int = 0
    complete: bool = False
    """Whether everything has come, from every living gateway."""
    unanswered: tuple[str, ...] = ()
    """The living gateways that did not reply."""
    silent: tuple[str, ...] = ()
    """The silent gateways that did not reply: they may be suspended, and still hold connections."""


class ReplyCollector(Generic[ReplyT]):
    """The replies to one request."""

    def __init__(self, gateway: str, most: int | None) -> None:
        """`gateway` is the only one that is asked, or empty. `most` connections can match, if their number is known."""
        self.no_listener = False
        """Set when NATS reports no responders: there is no such gateway, or none at all, or it is cut off from NATS."""
        self._gateway = gateway
        self._most = most
        self._replies = GatewayReplies[ReplyT]()
        self._outstanding = 0
        self._answered: set[str] = set()
        self._alive: AbstractSet[str] = frozenset()
        self._all_known = False

    def expect(self, alive: AbstractSet[str], *, all_known: bool) -> None:
        """Set which of the gateways that were asked live, and whether every living one is known."""
        self._alive, self._all_known = alive, all_known

    def add(self, reply: ReplyT) -> None:
        """Count one reply."""
        self._replies.received.append(reply)
        self._replies.matched += reply.matched
        # A change and no number, so that replies of one gateway may come in any order.
        self._outstanding += reply.outstanding
        self._answered.add(reply.gateway)

    @property
    def missing(self) -> AbstractSet[str]:
        """The gateways that are waited for and have not replied."""
        if self.no_listener:
            return self._alive
        if not self._gateway:
            return self._alive - self._answered
        # A gateway that was asked by its name replies with its address, so the two cannot be compared.
        return frozenset() if self._answered else {self._gateway}

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to wait for."""
        if self.no_listener:
            return True
        # Before the number of connections: one that was found may have its answer still to send.
        if self._outstanding > 0:
            return False
        # As when one connection is asked for: whoever has it has replied, and the others need not be waited for.
        if self._most is not None and self._replies.matched >= self._most:
            return True
        return (bool(self._gateway) or self._all_known) and not self.missing

    def result(self, silent: Iterable[str]) -> GatewayReplies[ReplyT]:
        """Return the replies, and which gateways owe one. `silent` are the registry's silent gateways."""
        replies, missing = self._replies, self.missing
        replies.complete = self.ended and not (self.no_listener and missing)
        replies.unanswered = () if replies.complete else tuple(sorted(missing))
        # Who answers is not silent, whatever the registry thought when it was asked.
        replies.silent = () if self._gateway else tuple(sorted(set(silent) - self._answered))
        return replies

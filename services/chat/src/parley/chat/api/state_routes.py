"""What a row is in the tables of questions and statements that are in no log: `own_state` and `people_routes`.

Socket routes, REST routes, and the documents of both are made from a row, as from the table of commands. Over HTTP the
fields in braces come from the path, and the others from the query of a GET or from the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from parley.chat.log.database import Pool
from parley.chat.state import ChatState, OwnParts
from parley.framework import Identity

Handler = Callable[[ChatState, Identity, Any, str], Awaitable[Any]]
"""Answers a payload. The last argument is the correlation id of the request."""


@dataclass(frozen=True, slots=True)
class StateRoute:
    """One question or statement: its name, what it takes and gives, its method and path over HTTP, and who answers."""

    name: str
    payload: type[Any]
    result: Any
    method: str
    path: str
    summary: str
    answer: Handler
    writes: bool = False
    """Whether it is refused to keys that may read only, and to who is suspended if others have to do with it."""
    reaches_others: bool = False
    """Whether others are told of it, at once or later."""
    id_optional: bool = False
    """Whether one who asks over HTTP may leave out the `id`, and so gives up asking the same again."""
    over_socket: Callable[..., Any] | None = None
    """The controller over the socket, where that has to do with the connection as well."""
    pipelined: bool = False
    """Whether others need not wait for it over the socket."""

    @property
    def own(self) -> bool:
        """Whether it changes what is its user's alone, which whoever looks on in their place may not."""
        return self.method != "GET" and not self.reaches_others


def on_reads(function: Callable[[Pool, Identity, Any], Awaitable[Any]]) -> Handler:
    """Answer by a function of the connections for what users read."""
    return lambda chat, identity, payload, _correlation: function(chat.reads, identity, payload)


def on_own(chosen: Callable[[OwnParts], Callable[[Identity, Any], Awaitable[Any]]]) -> Handler:
    """Answer by a method of a part that deals with what single users have for themselves."""
    return lambda chat, identity, payload, _correlation: chosen(chat.own)(identity, payload)

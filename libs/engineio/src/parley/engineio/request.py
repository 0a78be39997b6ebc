"""Reading the requests that begin or continue a session, pure: query, origin, address and WebSocket headers."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from parley.common.http.addresses import normal_origin

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_QUERY = 8192
MAX_FIELDS = 100
"""Characters and fields of a query."""
OWN_FIELDS = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})
"""What Engine.IO itself puts into the query."""


class Refusal(Exception):
    """A request that is answered with an error, in the shape that Socket.IO clients know."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"code": code, "message": message})


def unknown_transport() -> Refusal:
    """`transport` names none, or one that is switched off."""
    return Refusal(0, "Transport unknown")


def unknown_session() -> Refusal:
    """`sid` names no session of this server."""
    return Refusal(1, "Session ID unknown")


def jsonp_not_served() -> Refusal:
    """`j` asks for an answer inside a script, as very old browsers needed it."""
    return Refusal(0, "JSONP is not served")


def bad_method() -> Refusal:
    """A session begins with a GET."""
    return Refusal(2, "Bad handshake method")


def bad_request() -> Refusal:
    """Not a request that fits the session, or not one at all."""
    return Refusal(3, "Bad request")


def forbidden(message: str = "Forbidden", status: int = 403) -> Refusal:
    """The origin or the address may not connect."""
    return Refusal(4, message, status)


def overloaded() -> Refusal:
    """There is no memory for what the client sends."""
    return Refusal(3, "The server has more work than it can take", 503)


def unsupported_revision() -> Refusal:
    """`EIO` names no revision that is served."""
    return Refusal(5, "Unsupported protocol version")


class TransportRequest(NamedTuple):
    """What matters of a request; header names are lower case."""

    method: str
    query: dict[str, str]
    """Without what Engine.IO puts there itself."""
    headers: dict[str, str]
    address: str
    scheme: str
    """`http` or `https`, as the client used it."""
    revision: int
    transport: str
    sid: str
    base64_only: bool
    jsonp: bool
    stamp: str
    """What stock clients write differently into every polling request."""
    scope: Mapping[str, Any] = MappingProxyType({})
    """The whole of it, as the HTTP server has it; it is not kept."""

    @property
    def origin(self) -> str | None:
        """The page that a browser says it serves, as origins are compared; the header has it in the browser's words."""
        told = self.headers.get("origin")
        return None if told is None else normal_origin(told)

    @property
    def own_origin(self) -> str:
        """What `origin` is for a page of this server."""
        return normal_origin(f"{self.scheme}://{self.headers.get('host', '')}")


def read_request(
    method: str,
    query: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    address: str,
    scheme: str,
    scope: Mapping[str, Any] = MappingProxyType({}),
) -> TransportRequest:
    """Read a request whose address, scheme and Host header are the client's (see `parley.common.http.forwarded`).

    Raises `Refusal` for a query that no client of ours makes.
    """
    if len(query) > MAX_QUERY:
        raise bad_request()
    try:
        fields = read_query(query.decode("ascii"))
    except ValueError as error:
        raise bad_request() from error
    return TransportRequest(
        method=method,
        query={name: value for name, value in fields.items() if name not in OWN_FIELDS},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
        address=address,
        scheme=scheme,
        revision={"4": 4, "3": 3}.get(fields.get("EIO", ""), 0),
        transport=fields.get("transport", ""),
        sid=fields.get("sid", ""),
        base64_only=fields.get("b64", "") not in {"", "0", "false"},
        jsonp="j" in fields,
        stamp=fields.get("t", ""),
        scope=scope,
    )


def read_query(query: str) -> dict[str, str]:
    """The fields of a query. Raises `ValueError` when they are too many."""
    if "%" in query or "+" in query or query.count("&") > 8:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    # The same for what stock clients send, in a tenth of the time.
    return {name: value for name, _, value in (field.partition("=") for field in query.split("&") if field)}


_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def subprotocol(offered: str) -> str | None:
    """The first subprotocol that a client offers (RFC 6455, section 4.2.2): Engine.IO has none, so any will do."""
    first = offered.split(",", 1)[0].strip()
    return first if _TOKEN.fullmatch(first) else None


def accept_key(headers: dict[str, str]) -> str:
    """The `Sec-WebSocket-Accept` for a WebSocket request. Raises `Refusal` when it is not one."""
    key = headers.get("sec-websocket-key", "").strip()
    # Sixteen bytes in base64, of which only the last four bits could be written in other ways.
    if _KEY.fullmatch(key) is None or headers.get("sec-websocket-version", "").strip() != "13":
        raise bad_request()
    digest = hashlib.sha1(key.encode() + _WEBSOCKET_GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()

"""Reads the requests that begin or continue a session: query, origin, address and WebSocket headers. Pure.

All transports read a request here, and raise a `Refusal` that is answered in the shape that Socket.IO's clients know:
`{"code", "message"}` (Engine.IO's server has the codes 0 to 5, which the functions below name).
"""

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
"""Characters of a query at most."""
MAX_FIELDS = 100
"""Fields of a query at most."""
OWN_FIELDS = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})
"""The fields that Engine.IO itself puts into the query (Engine.IO v4 protocol, "Query parameters")."""


class Refusal(Exception):
    """Refuses a request with an error in the shape that Socket.IO's clients know."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"code": code, "message": message})


def unknown_transport() -> Refusal:
    """Refuse a `transport` that does not exist or is switched off."""
    return Refusal(0, "Transport unknown")


def unknown_session() -> Refusal:
    """Refuse a `sid` that names no session of this server."""
    return Refusal(1, "Session ID unknown")


def jsonp_not_served() -> Refusal:
    """Refuse `j`, which asks for the answer inside a script, as browsers without CORS needed it."""
    return Refusal(0, "JSONP is not served")


def bad_method() -> Refusal:
    """Refuse a handshake that is not a GET."""
    return Refusal(2, "Bad handshake method")


def bad_request() -> Refusal:
    """Refuse a request that does not fit the session's state, or is malformed."""
    return Refusal(3, "Bad request")


def forbidden(message: str = "Forbidden", status: int = 403) -> Refusal:
    """Refuse an origin or an address that may not connect."""
    return Refusal(4, message, status)


def overloaded() -> Refusal:
    """Refuse a body that the input budget has no room for."""
    return Refusal(3, "The server has more work than it can take", 503)


def unsupported_revision() -> Refusal:
    """Refuse an `EIO` that names no revision that is served."""
    return Refusal(5, "Unsupported protocol version")


class TransportRequest(NamedTuple):
    """The part of a request that the engine looks at. Header names are in lower case."""

    method: str
    query: dict[str, str]
    """The query without the fields of Engine.IO itself."""
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
    """The query's `t`, which stock clients make a different one for every polling request."""
    scope: Mapping[str, Any] = MappingProxyType({})
    """The request as the HTTP server has it. It is not kept with the session."""

    @property
    def origin(self) -> str | None:
        """The origin of the page, in the form in which origins are compared; None for clients that are not browsers."""
        told = self.headers.get("origin")
        return None if told is None else normal_origin(told)

    @property
    def own_origin(self) -> str:
        """The origin that a page of this server itself has."""
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

    Raises `Refusal` for a query that no Engine.IO client makes.
    """
    if len(query) > MAX_QUERY:
        raise bad_request()
    try:
        # Other characters are percent-encoded (RFC 3986, section 2.1).
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


def request_of(scope: Mapping[str, Any]) -> TransportRequest:
    """Read the request in an ASGI scope. Raises as `read_request` does."""
    address = scope["client"][0] if scope.get("client") else ""
    # The scope of a WebSocket has no method: only a GET can ask for one (RFC 6455, section 4.1).
    method = scope.get("method", "GET")
    return read_request(method, scope["query_string"], scope["headers"], address, scope["scheme"], scope)


def read_query(query: str) -> dict[str, str]:
    """Return the fields of a query. Raises `ValueError` when there are too many."""
    if "%" in query or "+" in query or query.count("&") > 8:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    # The same result for the queries of stock clients, in a tenth of the time.
    return {name: value for name, _, value in (field.partition("=") for field in query.split("&") if field)}


_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def subprotocol(offered: str) -> str | None:
    """Return the first subprotocol that a client offers (RFC 6455, section 4.2.2), or None.

    Engine.IO has none, but a browser ends a connection whose server has accepted none of those that it offered.
    """
    first = offered.split(",", 1)[0].strip()
    return first if _TOKEN.fullmatch(first) else None


def accept_key(headers: dict[str, str]) -> str:
    """Return the `Sec-WebSocket-Accept` for a request (RFC 6455, section 4.2.2). Raises `Refusal` for a bad request."""
    key = headers.get("sec-websocket-key", "").strip()
    # A key is 16 bytes in base64 (section 4.1). It is not decoded: only its four unused last bits could be wrong.
    if _KEY.fullmatch(key) is None or headers.get("sec-websocket-version", "").strip() != "13":
        raise bad_request()
    # Only shows that this server speaks the protocol; nothing is kept secret by it (section 1.3).
    digest = hashlib.sha1(key.encode() + _WEBSOCKET_GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()

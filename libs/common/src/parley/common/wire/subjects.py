"""Builds and parses NATS subjects. Nothing else in Parley does.

Names of namespaces, rooms and users are chosen by people, so each is encoded into exactly one token of a subject:
characters outside `A-Z a-z 0-9 - _ :` become `=XX` for each byte of UTF-8, and the empty name becomes `=`. Invariant:
two names never have the same token, and no token is a wildcard or has a dot in it.
"""

from __future__ import annotations

import re
import secrets
from functools import cache, lru_cache

AUTHENTICATE = "auth.authenticate"
"""Request, queue group `auth`: `Authenticate` → `Identity`, or a code."""

WELCOME = "auth.welcome"
"""Request, queue group `auth`: `CheckWelcome` → `UnwelcomeUsers`, or a code."""

ADDRESS_BANS = "auth.address_bans"
"""Request, queue group `auth`: `ListAddressBans` → `AddressBanList`, or a code."""

AUDIT = "ctl.audit"
"""Request, queue group `auth`: `RecordAction` → nothing, or a code."""

KICK_REPORTS = "ctl.kicked.*"
"""Subscription to what gateways report about kicks, see `kicked`."""

ARCHIVE_ROOM = "ctl.room.archive"
"""Request, queue group `chat`: `ArchiveRoomRequest` → nothing, or a code."""

REGISTER_CONSUMER = "ctl.consumer.register"
"""Request, queue group `chat`: `RegisterConsumer` → nothing, or a code."""

ERASE_USER = "ctl.user.erase"
"""Request, queue group `chat`: `EraseUser` → `ErasureInfo`, or a code."""

GET_ERASURE = "ctl.user.erasure"
"""Request, queue group `chat`: `GetErasure` → `ErasureInfo`, or a code."""

READ_USER_EVENTS = "ctl.user.written"
"""Request, queue group `chat`: `ReadUserEvents` → `UserEvents`, or a code."""

LIST_ROOMS = "ctl.room.list"
"""Request, queue group `chat`: `ListRooms` → `RoomList`."""

GATEWAYS = "gateways"
"""Publish: an `Operation` on connections whatever their namespace, heard by every gateway."""

PRESENCE = "presence"
"""Publish, by gateways: `LookedRooms` and `GetLookedRooms`, heard by every gateway."""

ALIVE = "ctl.alive.*.*.*"
"""Subscription to the signs of life of all processes, see `alive`."""

MAX_LENGTH = 1024
"""Characters of a subject that is made of an unchecked name: nats-server ends connections with lines beyond 4 KB."""

_PLAIN = re.compile(r"[A-Za-z0-9_:-]+")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")


def encode(name: str) -> str:
    """Encode any name as one token of a subject."""
    if _PLAIN.fullmatch(name):
        return name
    return _escaped(name) if name else "="


@lru_cache(maxsize=1024)  # namespaces are few, and most of their names are not plain
def _escaped(name: str) -> str:
    return "".join(
        chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"={byte:02X}" for byte in name.encode("utf-8", "surrogatepass")
    )


def decode(token: str) -> str:
    """Return the name that `encode` made this token of."""
    if token == "=":
        return ""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), token.encode())
    return raw.decode("utf-8", "surrogatepass")


def commands(namespace: str) -> str:
    """Publish, queue group of the service behind the namespace: `CommandBatch`."""
    return f"cmd.{encode(namespace)}"


def acks(gateway: str, namespace: str) -> str:
    """Where the service behind a namespace publishes `AckBatch` for one gateway, which is named by its address.

    On the subjects below it (`with_range`) only NATS' no-responders status arrives.
    """
    return f"ack.{encode(gateway)}.{encode(namespace)}"


@cache  # namespaces are few
def announcements(namespace: str) -> str:
    """Publish: `Announcement`, what a log has beyond the announcement before, each second at least."""
    return f"announce.{encode(namespace)}"


@cache  # namespaces are few
def connect(namespace: str) -> str:
    """Request to the service behind the namespace: `ConnectRequest` → `ConnectReply`, or a code."""
    return f"conn.{encode(namespace)}.open"


def closed(namespace: str) -> str:
    """Publish, to all replicas of the service, if it has asked for `closed`: `ConnectionClosed`."""
    return f"conn.{encode(namespace)}.closed"


def compare(gateway: str) -> str:
    """Request to one gateway: `CompareConnections` → `ComparedConnections`."""
    return f"gw.{encode(gateway)}.compare"


def consume(name: str) -> str:
    """Request to the service of a consumer: `ConsumeEvents` → nothing, once the consumer has dealt with them."""
    return f"consume.{encode(name)}"


def memberships(namespace: str) -> str:
    """Request to the service behind the namespace: `GetMemberships` → `Memberships`."""
    return f"members.{encode(namespace)}"


def replay(namespace: str) -> str:
    """Request to the service behind the namespace: `Replay` → `Replayed`."""
    return f"replay.{encode(namespace)}"


def advanced_heads(namespace: str) -> str:
    """Publish: `RoomHeads`, the heads of rooms that have advanced lately, by a service with a log of its own."""
    return f"moved.{encode(namespace)}"


def room_heads(namespace: str) -> str:
    """Request to the service behind the namespace: `GetRoomHeads` → `RoomHeads`."""
    return f"heads.{encode(namespace)}"


def room(namespace: str, room: str) -> str:
    """Publish, to the gateways with a member of the room: `Delivery`."""
    return f"room.{encode(namespace)}.{encode(room)}"


@cache  # namespaces are few
def rooms(namespace: str) -> str:
    """Publish, to all gateways: `Deliveries`. Services choose between this and the rooms' own subjects."""
    return f"rooms.{encode(namespace)}"


def recover(gateway: str) -> str:
    """Request to the gateway that lost a connection, by its address: `Recover` → `Recovered`."""
    return f"recover.{encode(gateway)}"


def user_room(user_id: str) -> str:
    """Return the user's own room, which every connection of the user is in. Only its deliveries have changes."""
    return f"user:{user_id}"


def alive(service: str, address: str) -> str:
    """Publish, by one run of a process: `SignOfLife`, every second, and once more when it stops in order.

    The process subscribes to it itself, to notice when it is deaf.
    """
    instance, run = split_address(address)
    return f"ctl.alive.{encode(service)}.{encode(instance)}.{encode(run)}"


def namesakes(service: str, instance: str) -> str:
    """Subscription to the signs of life of all processes with this name."""
    return f"ctl.alive.{encode(service)}.{encode(instance)}.*"


def parse_alive(subject: str) -> tuple[str, str]:
    """Return the service and the address in an `alive` subject."""
    _, _, service, instance, run = subject.split(".")
    return decode(service), f"{decode(instance)}:{decode(run)}"


def name(service: str, instance: str) -> str:
    """Publish, with a reply subject, by a process that starts: one that has this name replies with its run."""
    return f"ctl.name.{encode(service)}.{encode(instance)}"


def split_address(address: str) -> tuple[str, str]:
    """Return the name and the run in a process's address; the run is empty if it is only a name."""
    # From the end: a name may have colons, a run is hexadecimal.
    instance, colon, run = address.rpartition(":")
    return (instance, run) if colon else (run, "")


def sockets(namespace: str) -> str:
    """Publish, to all gateways: any `Operation` on connections of the namespace.

    All kinds share the subject, because NATS keeps the order of what one process publishes on one subject.
    """
    return f"sockets.{encode(namespace)}"


def gateway(address: str, namespace: str) -> str:
    """Where one gateway hears what is to be done with its own connections of a namespace: any `Operation`.

    By its address it is that very run, by its name whichever run has the name now. The empty namespace is for what
    concerns connections whatever theirs.
    """
    return f"gw.{encode(address)}.sockets.{encode(namespace)}"


def gateway_presence(address: str) -> str:
    """Publish, by other gateways: a `PresenceMessage` for this run of a gateway alone."""
    return f"gw.{encode(address)}.presence"


def check_ad_hoc(namespace: str, name: str) -> None:
    """Raise `ValueError` for a room that connections may not be put into ad hoc.

    In a user's own room they would receive that user's membership changes and follow them. A gateway that subscribes to
    a very long subject would be disconnected by NATS.
    """
    if name.startswith(user_room("")):
        raise ValueError(f"{name!r} is a user's own room")
    if len(room(namespace, name)) > MAX_LENGTH:
        raise ValueError("the room's name is too long")


def kicked(kick: str) -> str:
    """Where gateways report about one kick: `OperationReport`. Whoever asked may have given up waiting for it."""
    return f"ctl.kicked.{encode(kick)}"


def is_kicked(subject: str) -> bool:
    """Whether this is a `kicked` subject, and no wildcard."""
    first, _, kick = subject.rpartition(".")
    return first == "ctl.kicked" and kick not in {"", "*", ">"}


def parse_kicked(subject: str) -> str:
    """The kick in a `kicked` subject."""
    return decode(subject.rsplit(".", 1)[1])


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
        case ["ctl", "audit"]:
            return "auth"
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
    """Return the reply subject of a message whose parts have these tags. A reply there is meant for all of them."""
    return f"{base}.{tags.start}.{tags.stop - 1}"


def parse_range(subject: str) -> tuple[int, int]:
    """Return the first and the last tag of a `with_range` subject."""
    _, first, last = subject.rsplit(".", 2)
    return int(first), int(last)

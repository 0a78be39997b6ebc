"""Which NATS user may publish and listen where, pure: the one table that a server's configuration is made from.

Every kind of process is a user of its own. What travels inside a message is believed because of the subject it came
on, and the broker lets nobody publish there but those who may say it:

| what is believed | because only these publish where it is heard |
|---|---|
| who a user is, that they are welcome | auth answers on `auth.*` |
| that a command is this user's | gateways publish commands, and a service to itself |
| what happened in a room | the service behind its namespace |
| that all connections of a user end | auth publishes for whatever namespace |
| who is in a room on another gateway | gateways publish on `presence` and `gw.*.presence` |
| the outcome of a command | the service behind the namespace it was sent in |

Answers go to inboxes that name who asks and who answers, see `subjects.inbox`: nobody else listens or publishes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from parley.common.wire import subjects

CHAT_NAMESPACES = ("/chat",)
EMITTER = "emitter"
"""The name that a process takes which is no service and emits, see `parley.framework.Emitter.connected`."""


class ServiceAccess(NamedTuple):
    """What a service is there for. `emits` are namespaces that it is not behind; `consumers` are of chat's log."""

    namespaces: tuple[str, ...] = ()
    emits: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()


class Permissions(NamedTuple):
    """Subjects, with wildcards. What is in neither is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def __add__(self, other: object) -> Permissions:
        """Both together."""
        if not isinstance(other, Permissions):
            return NotImplemented
        return Permissions(
            tuple(dict.fromkeys((*self.publish, *other.publish))),
            tuple(dict.fromkeys((*self.subscribe, *other.subscribe))),
        )


GATEWAY = Permissions(
    publish=(
        "auth.*",
        "cmd.*",
        "conn.*.*",
        "members.*",
        "replay.*",
        "heads.*",
        "recover.*",
        subjects.KICK_REPORTS,
        subjects.PRESENCE,
        "gw.*.presence",
        f"_INBOX.*.{subjects.GATEWAY_ANSWERS}.>",
    ),
    subscribe=(
        "ack.>",
        "announce.*",
        "gateways",
        "gw.>",
        "moved.*",
        subjects.PRESENCE,
        "recover.*",
        "room.*.*",
        "rooms.*",
        "sockets.*",
    ),
)
AUTH = Permissions(
    publish=(
        subjects.ARCHIVE_ROOM,
        subjects.LIST_ROOMS,
        subjects.ERASE_USER,
        subjects.GET_ERASURE,
        subjects.READ_USER_EVENTS,
        subjects.GATEWAYS,
        # `=` is the empty namespace: auth may end connections whatever theirs, and emit into none.
        "gw.*.sockets.=",
        "_INBOX.*.auth.>",
    ),
    subscribe=(
        subjects.AUTHENTICATE,
        subjects.WELCOME,
        subjects.ADDRESS_BANS,
        subjects.AUDIT,
        subjects.KICK_REPORTS,
    ),
)
CHAT = Permissions(
    publish=(subjects.AUTHENTICATE, subjects.WELCOME, subjects.AUDIT, "consume.*", "_INBOX.*.chat.>"),
    subscribe=(
        subjects.ARCHIVE_ROOM,
        subjects.LIST_ROOMS,
        subjects.ERASE_USER,
        subjects.GET_ERASURE,
        subjects.READ_USER_EVENTS,
        subjects.REGISTER_CONSUMER,
    ),
)
OWN = {"gateway": GATEWAY, "auth": AUTH, "chat": CHAT}
"""What Parley's own processes may do besides what every service may."""


def permissions(services: Mapping[str, ServiceAccess]) -> dict[str, Permissions]:
    """Every user, Parley's own three among them, and what each may do."""
    users = {"gateway": ServiceAccess(), "auth": ServiceAccess(), "chat": ServiceAccess(CHAT_NAMESPACES), **services}
    # A file may give chat more namespaces, and cannot take away the one that it is behind.
    users["chat"] = users["chat"]._replace(namespaces=tuple({*users["chat"].namespaces, *CHAT_NAMESPACES}))
    return {name: permissions_of(name, access) for name, access in users.items()}


def permissions_of(user: str, access: ServiceAccess) -> Permissions:
    """What one user may do."""
    # Every service may also run a script that only emits, under its own account.
    allowed = _process(user) + _process(EMITTER, user)
    if user in OWN:
        allowed += OWN[user]
    for namespace in access.namespaces:
        allowed += _behind(namespace)
    for namespace in access.emits:
        allowed += _emits_to(namespace)
    for consumer in access.consumers:
        allowed += _consumes(consumer)
    return allowed


def _process(service: str, user: str | None = None) -> Permissions:
    """Signs of life, the question whether a name is taken, and answers to whatever else it asks."""
    own = subjects.encode(service)
    return Permissions(
        (f"ctl.alive.{own}.*.*", f"ctl.name.{own}.*", f"_INBOX.*.process:{own}.>"),
        (subjects.ALIVE, f"ctl.name.{own}.*", f"_INBOX.{subjects.encode(user or service)}.>"),
    )


def _behind(namespace: str) -> Permissions:
    """The service behind a namespace: its commands, its rooms, its connections."""
    one = subjects.encode(namespace)
    return _emits_to(namespace) + Permissions(
        (
            f"ack.*.{one}",
            f"announce.{one}",
            # Of a connection whose gateway is gone, so that any replica of itself hears it.
            f"cmd.{one}",
            "gw.*.compare",
            f"moved.{one}",
            f"room.{one}.*",
            f"rooms.{one}",
            f"_INBOX.*.namespace:{one}.>",
        ),
        (f"cmd.{one}", f"conn.{one}.*", f"heads.{one}", f"members.{one}", f"replay.{one}"),
    )


def _emits_to(namespace: str) -> Permissions:
    one = subjects.encode(namespace)
    return Permissions((f"sockets.{one}", f"gw.*.sockets.{one}"), ())


def _consumes(consumer: str) -> Permissions:
    one = subjects.encode(consumer)
    return Permissions((subjects.REGISTER_CONSUMER, f"_INBOX.*.consumer:{one}.>"), (f"consume.{one}",))

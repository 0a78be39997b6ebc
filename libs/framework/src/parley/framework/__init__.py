"""The framework for services behind Parley's gateway. Adopters import from here, and nothing from the packages below.

- To write a service: `Router`, `on`, `Context`, `ConnectionContext`, middleware, `Reject` with a `Code`.
- To speak to connections, from a service or any process: `Emitter`, `BlockingEmitter`, `RoomPublisher`; and `RoomLog`,
  with the types that it returns, for rooms whose events are logged.
- To run it: `Service`, its `Lifespan` and `Runtime`, `ServiceSettings`. `parley run` runs it; it needs only NATS.

To read the code, take the packages in this order:

1. `routing`: what services are written with;
2. `remote`: what speaks to connections on any gateway;
3. `serving`: what takes requests from gateways and runs controllers;
4. `service`: puts the three together;
5. `running`: makes a process of a service, and `asyncapi`: documents it.
"""

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.settings import ServiceSettings
from parley.common.wire.connections import ConnectionInfo, Handshake
from parley.common.wire.consumers import LogEvent
from parley.common.wire.identity import Identity
from parley.common.wire.presence import Presence, PresenceChanges, PresenceChoice, UserPresence
from parley.common.wire.rights import Right
from parley.common.wire.rooms import Delivery, Membership, MembershipChange, Replayed, RoomEvent, RoomHead
from parley.framework.remote.blocking import BlockingEmitter
from parley.framework.remote.emitter import AcksResult, BroadcastOperator, Emitter, RemoteSocket
from parley.framework.remote.presence_requests import PresentUsers
from parley.framework.remote.room_publisher import RoomPublisher
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.context import Context
from parley.framework.routing.middleware import ConnectionMiddleware, Next, PacketMiddleware
from parley.framework.routing.room_log import RoomLog
from parley.framework.routing.router import Route, Router
from parley.framework.routing.signatures import Controller, on
from parley.framework.service import Lifespan, Running, Runtime, Service

__all__ = [  # noqa: RUF022 - to write a service, to speak to connections, to run it
    "Code",
    "ConnectionContext",
    "ConnectionMiddleware",
    "Context",
    "Controller",
    "Handshake",
    "Identity",
    "LogEvent",
    "Next",
    "PacketMiddleware",
    "Presence",
    "PresenceChanges",
    "PresenceChoice",
    "Reject",
    "Right",
    "Route",
    "Router",
    "UserPresence",
    "get_logger",
    "on",
    "AcksResult",
    "BlockingEmitter",
    "BroadcastOperator",
    "ConnectionInfo",
    "Delivery",
    "Emitter",
    "Membership",
    "MembershipChange",
    "PresentUsers",
    "RemoteSocket",
    "Replayed",
    "RoomEvent",
    "RoomHead",
    "RoomLog",
    "RoomPublisher",
    "Bus",
    "Lifespan",
    "Running",
    "Runtime",
    "Service",
    "ServiceSettings",
]

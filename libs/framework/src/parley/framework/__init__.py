"""The framework for services behind Parley's gateway: everything that a service is written with.

A service is a `Service` of `Router`s; a router's controllers take a `Context`. `parley run` runs it, on NATS alone.

Start with `routing`, which services are written with, and `remote`, which speaks to connections anywhere; `serving` is
what runs behind; `service` puts them together and `running` makes a process of it. `asyncapi` writes the documents.
"""

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.settings import ServiceSettings
from parley.common.wire.connections import ConnectionInfo, Handshake
from parley.common.wire.consumers import LogEvent
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Delivery, Membership, MembershipChange, Replayed, RoomEvent, RoomHead
from parley.framework.remote.emitter import AcksResult, BroadcastOperator, Emitter, RemoteSocket
from parley.framework.remote.room_publisher import RoomPublisher
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.context import Context
from parley.framework.routing.middleware import ConnectionMiddleware, Next, PacketMiddleware
from parley.framework.routing.room_log import RoomLog
from parley.framework.routing.router import Route, Router
from parley.framework.routing.signatures import Controller, on
from parley.framework.service import Lifespan, Running, Runtime, Service

__all__ = [
    "AcksResult",
    "BroadcastOperator",
    "Bus",
    "Code",
    "ConnectionContext",
    "ConnectionInfo",
    "ConnectionMiddleware",
    "Context",
    "Controller",
    "Delivery",
    "Emitter",
    "Handshake",
    "Identity",
    "Lifespan",
    "LogEvent",
    "Membership",
    "MembershipChange",
    "Next",
    "PacketMiddleware",
    "Reject",
    "RemoteSocket",
    "Replayed",
    "RoomEvent",
    "RoomHead",
    "RoomLog",
    "RoomPublisher",
    "Route",
    "Router",
    "Running",
    "Runtime",
    "Service",
    "ServiceSettings",
    "get_logger",
    "on",
]

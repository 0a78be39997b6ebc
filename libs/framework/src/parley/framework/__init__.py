"""The framework for services behind Parley's gateway: everything that a service is written with.

A service is a `Service` of `Router`s; a router's controllers take a `Context`. `parley run` runs it, on NATS alone.

To be read in this order: `router`, `context` and `middleware` are what services are written with; `emitter` and `rooms`
speak to connections anywhere, through `gateway_requests`; `dispatch`, `event_runner` and `gateway_responder` serve what
gateways send; `service` puts them together and `running` makes a process of it.
"""

from parley.common.bus import Bus
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.settings import ServiceSettings
from parley.common.wire.connections import ConnectionInfo, Handshake
from parley.common.wire.consumers import LogEvent
from parley.common.wire.identity import Identity
from parley.common.wire.rooms import Delivery, Membership, MembershipChange, Replayed, RoomEvent, RoomHead
from parley.framework.connection_context import ConnectionContext
from parley.framework.context import Context
from parley.framework.emitter import AcksResult, Broadcast, Emitter, RemoteSocket
from parley.framework.middleware import ConnectionMiddleware, Next, PacketMiddleware
from parley.framework.rooms import RoomLog, RoomPublisher
from parley.framework.router import Route, Router
from parley.framework.service import Lifespan, Running, Runtime, Service
from parley.framework.signatures import Controller, on

__all__ = [
    "AcksResult",
    "Broadcast",
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

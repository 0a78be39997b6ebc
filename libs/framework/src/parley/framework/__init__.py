"""The framework for services behind Parley's gateway: everything that a service is written with.

A service is a `Service` of `Router`s; a router's controllers take a `Context`. `parley run` runs it, on NATS alone.
"""

from parley.common.bus import Bus
from parley.common.envelope import (
    Connection,
    Delivery,
    Handshake,
    Identity,
    Item,
    Membership,
    Move,
    Replayed,
    RoomHead,
)
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.settings import ServiceSettings
from parley.framework.context import Context
from parley.framework.emitter import AcksResult, Broadcast, Emitter, RemoteSocket
from parley.framework.middleware import ConnectionMiddleware, Next, PacketMiddleware
from parley.framework.passage import Passage
from parley.framework.rooms import RoomLog, Rooms
from parley.framework.router import Route, Router
from parley.framework.service import Lifespan, Running, Runtime, Service
from parley.framework.signatures import Controller, on

__all__ = [
    "AcksResult",
    "Broadcast",
    "Bus",
    "Code",
    "Connection",
    "ConnectionMiddleware",
    "Context",
    "Controller",
    "Delivery",
    "Emitter",
    "Handshake",
    "Identity",
    "Item",
    "Lifespan",
    "Membership",
    "Move",
    "Next",
    "PacketMiddleware",
    "Passage",
    "Reject",
    "RemoteSocket",
    "Replayed",
    "RoomHead",
    "RoomLog",
    "Rooms",
    "Route",
    "Router",
    "Running",
    "Runtime",
    "Service",
    "ServiceSettings",
    "get_logger",
    "on",
]

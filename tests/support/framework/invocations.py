"""An event as a service is given it, for tests that run its controllers by themselves."""

from __future__ import annotations

from parley.common.nats.subscriptions import ListeningClient
from parley.common.process.tasks import Tasks
from parley.common.wire.commands import Command, ConnectionCommands
from parley.framework import Bus, Emitter, Identity
from parley.framework.routing.connection_data import ConnectionData
from parley.framework.serving.invocation import Invocation

ANN = Identity("u_ann", "Ann")


def invocation_of(event: str, args: bytes = b"[]", namespace: str = "/chat") -> Invocation[None]:
    """An event of Ann's, on a bus that is not connected."""
    bus = Bus(ListeningClient(), "test", "test", "test", 1.0, Tasks())
    command = Command(0, event, args, "")
    sender = ConnectionCommands("", ANN, [command])
    return Invocation(Emitter(bus, namespace), "", sender, command, ConnectionData(), None)

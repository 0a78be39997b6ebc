"""Testing what is written with the framework.

`FakeNamespace` runs a namespace's middleware and controllers with fake connections, at once and without a network;
`running` runs whole services behind a real gateway on real NATS, for stock clients.
"""

from parley.testing.client import Client, Refused
from parley.testing.fake_connection import FakeConnection
from parley.testing.fake_namespace import FakeNamespace
from parley.testing.mailbox import Received
from parley.testing.server import Server, running

__all__ = ["Client", "FakeConnection", "FakeNamespace", "Received", "Refused", "Server", "running"]

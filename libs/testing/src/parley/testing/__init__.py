"""Testing what is written with the framework.

`FakeNamespace` runs a namespace's middleware and controllers with fake connections, at once and without a network;
`running` runs whole services behind a real gateway on real NATS, for stock clients; `consume` hands a consumer events
as chat does.
"""

import structlog

from parley.common.process.log_limits import limited
from parley.testing.fake_connection import FakeConnection
from parley.testing.fake_namespace import FakeNamespace
from parley.testing.log_events import consume, log_event
from parley.testing.mailbox import ReceivedEvent
from parley.testing.running_server import RunningServer, running
from parley.testing.stock_client import ConnectError, StockClient

__all__ = [
    "ConnectError",
    "FakeConnection",
    "FakeNamespace",
    "ReceivedEvent",
    "RunningServer",
    "StockClient",
    "consume",
    "log_event",
    "running",
]

if not structlog.is_configured():
    # structlog's own default prints the local variables of every frame, about a hundred lines for a failing controller.
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            limited,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )

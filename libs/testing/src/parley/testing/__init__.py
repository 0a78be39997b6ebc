"""Tests services that are written with the framework.

The modules, in reading order:

1. `fake_namespace`: runs a namespace's middleware and controllers in the test's loop, without a network, with
   connections of `fake_connection`, a gateway of `fake_gateway` and presence of `fake_presence`;
2. `running_server`: runs whole services behind real gateways (`running_gateways`) on real NATS, for `stock_client`s,
   with `tokens` in the place of auth;
3. `mailbox`: the events that a connection of either kind has received;
4. `log_events`: hands a consumer events, as chat does.
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

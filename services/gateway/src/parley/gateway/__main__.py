"""`python -m parley.gateway`: run a gateway until SIGTERM."""

from __future__ import annotations

from parley.common import run_process
from parley.gateway.app import SERVER_OPTIONS, create_app
from parley.gateway.namespaces import ConfigurationError
from parley.gateway.settings import GatewaySettings

if __name__ == "__main__":
    run_process.main(
        "gateway",
        "Parley's gateway: Socket.IO connections, and the page. Needs NATS.",
        GatewaySettings,
        create_app,
        refusals=(ConfigurationError,),
        **SERVER_OPTIONS,
    )

"""Run a gateway: `python -m parley.gateway`, settings from `PARLEY_*` variables."""

from __future__ import annotations

import sys

from parley.common import logs
from parley.common.http import serve
from parley.gateway.app import SERVER_OPTIONS, create_app
from parley.gateway.namespaces import ConfigurationError
from parley.gateway.settings import Settings

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings, "gateway")
    try:
        app = create_app(settings)
    except ConfigurationError as error:
        sys.exit(f"parley.gateway: {error}")
    serve(app, settings, **{**SERVER_OPTIONS, "ws_max_size": settings.gateway_max_message})

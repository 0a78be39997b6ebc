"""Translates the request that began a session into the WSGI environ that python-socketio gives to connect handlers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_UNPREFIXED = {"CONTENT_TYPE", "CONTENT_LENGTH"}


def environ_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environ of an ASGI scope, as python-engineio makes it; `asgi.scope` in it is the scope itself."""
    query: str = scope["query_string"].decode("latin-1")
    path: str = scope["path"]
    address, port = scope.get("client") or ("", 0)
    server, server_port = scope.get("server") or ("", 0)
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.async": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"]),
        "SERVER_SOFTWARE": "asgi",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": server,
        "SERVER_PORT": str(server_port),
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(port),
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "RAW_URI": f"{path}?{query}" if query else path,
        "asgi.scope": scope,
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in _UNPREFIXED:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ

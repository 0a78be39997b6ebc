"""Engine.IO, revisions 4 and 3, as a library: the transport layer under Socket.IO, and a Socket.IO server on it.

`AsyncServer` is python-socketio's server on this engine: an application changes one import.

The engine itself, which Parley's gateway is built on, is to be read in this order. Pure, without I/O: `frames` and
`deflate` in `websocket`, `packets` (payloads), `session` (the state machine of one client). Shells:
`websocket.protocol` (an `asyncio.Protocol` that uvicorn hands upgrades to), `polling` (an ASGI app). `server` owns the
sessions, their heartbeats and their writes; there is no task, queue or timer per client. `python_socketio` and
`nats_manager` stand beside it, and it knows neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parley.engineio.python_socketio.server import AsyncServer

__all__ = ["AsyncServer"]


def __getattr__(name: str) -> Any:
    # Who uses the engine alone, as the gateway does, loads nothing of python-socketio.
    if name == "AsyncServer":
        from parley.engineio.python_socketio.server import AsyncServer  # noqa: PLC0415

        return AsyncServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

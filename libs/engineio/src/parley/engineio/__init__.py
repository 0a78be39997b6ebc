"""Engine.IO, revisions 4 and 3, as a library: the transport layer under Socket.IO, and a Socket.IO server on it.

`AsyncServer` is python-socketio's server on this engine: an application changes one import.

The engine, which Parley's gateway is built on, in reading order:

1. `packets`: packets and polling payloads, and `websocket.frames` and `websocket.deflate`: frames; all pure;
2. `session`: the state machine of one client, with the `transports` that it needs; pure;
3. `server`: owns the sessions, with their heartbeats (`timer_wheel`), their input (`reading`) and output (`writes`);
   `metrics` counts what exceeds a limit;
4. `websocket.protocol` (an `asyncio.Protocol`) and `polling` (an ASGI app): the transports, and `request`, by which
   both begin.

Invariant: there is no task, queue or timer per client. `python_socketio` and `nats_manager` are built on the engine,
which knows neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parley.engineio.python_socketio.server import AsyncServer

__all__ = ["AsyncServer"]


def __getattr__(name: str) -> Any:
    # Imported late, so that whoever uses the engine alone, as the gateway does, loads nothing of python-socketio.
    if name == "AsyncServer":
        from parley.engineio.python_socketio.server import AsyncServer  # noqa: PLC0415

        return AsyncServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

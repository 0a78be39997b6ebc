"""Engine.IO, revisions 4 and 3: the transport layer under Socket.IO.

Pure, without I/O: `frames` and `deflate` (WebSocket), `packets` (payloads), `session` (the state machine of one
client). Shells: `websocket` (an `asyncio.Protocol` that uvicorn hands upgrades to), `polling` (an ASGI app). `server`
owns the sessions, their heartbeats and their writes; there is no task, queue or timer per client.
"""

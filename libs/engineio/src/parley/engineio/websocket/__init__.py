"""WebSocket (RFC 6455) as a transport of Engine.IO.

1. `frames`: writes and reads frames, with `deflate` for compressed ones; pure;
2. `protocol`: the `asyncio.Protocol` of one client.
"""

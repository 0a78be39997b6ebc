"""WebSocket under Engine.IO: `frames` and `deflate` are pure, `protocol` is the `asyncio.Protocol` around them."""

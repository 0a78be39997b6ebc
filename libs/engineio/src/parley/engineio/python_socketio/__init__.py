"""python-socketio's server on this engine. `AsyncServer`, in `server`, is a `socketio.AsyncServer` in all it documents.

To be read in this order: `server` is the Socket.IO side and holds clients to its limits; `engine_server` stands where
python-engineio's server stood, with a `client` for each session and the `environ` of its handshake; `client_manager`
sends to a room at once. Served by any ASGI server, WebSockets come through `asgi_websocket`; `serving` has uvicorn hand
them over instead, which is several times cheaper.
"""

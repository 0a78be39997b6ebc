"""python-socketio's server on this engine: `AsyncServer` does everything that `socketio.AsyncServer` documents.

The modules, in reading order:

1. `server`: the Socket.IO side, which holds clients to its limits;
2. `engine_server`: takes the place of python-engineio's server, with a `client` for each session and the `environ` of
   its handshake;
3. `client_manager`: sends to a room at once;
4. `asgi_websocket`: WebSockets of any ASGI server; `serving`: uvicorn hands them over instead, which is several times
   cheaper.
"""

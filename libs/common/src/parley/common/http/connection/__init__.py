"""What becomes of an HTTP connection, from its first byte to its last.

1. `gate` decides: how many connections, how much time, how much in a turn of the loop.
2. A connection, each stop a subclass of the one before: `counted_connection` is counted, refused and ended;
   `request_turns` has its requests begin when it is their turn, and hands WebSockets over, most of which
   `upgrade_request` reads at once; `request_reader` parses.
3. `server`: uvicorn's options, with which a server has such connections.
"""

"""The gateway: holds Socket.IO connections and nothing else. No database, no chat rules.

Each package imports only those above it in this list (a contract in pyproject.toml), so it is also a reading order:

1. `named_middleware`, `namespaces`, `settings` and `process` are the ground. Transports and sessions
   are a library, `parley.engineio`.
2. `connections`: one client in one namespace, and the registry of all.
3. `socketio`: packets, clients and what they may send; `recovery`: lost connections and what was sent lately.
4. `commands`: what clients emit, to the services; `rooms`: what services publish, to the clients.
5. `presence`: who is in a room, for connections that look at it. `operations`: what services and operators do with
   connections.
6. `admission`: who is let in, and whether they are still welcome.
7. `lifecycle`: a connection from CONNECT to its end. `gateway` puts all parts together, `app` serves it.

Four invariants hold. What decides does no I/O. A room's events reach every local member in the order of their
sequences, without a gap and without a duplicate. Every queue has a bound, and what exceeds it has a named outcome.
Everything runs on one event loop, and what one turn of it does for one client is limited.
"""

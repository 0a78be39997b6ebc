"""The gateway: holds Socket.IO connections and nothing else. No database, no chat rules.

The packages stand on each other in this order, and import only what is further up in it (a contract in pyproject.toml):

1. `namespaces`, `settings` and `process` are the ground. Transports and sessions are a library, `parley.engineio`.
2. `connections`: one socket in one namespace, and the registry of all.
3. `socketio`: packets, clients and what they may send; `recovery`: lost connections and what was sent lately.
4. `commands`: what clients emit, to the service behind the namespace; `rooms`: what services publish, to clients.
5. `operations`: what services and operators have done with connections.
6. `admission`: who is let in, and whether they are still welcome.
7. `lifecycle`: the one life of a connection, from CONNECT to its end. `gateway` puts all together, `app` serves it.

Invariants: what decides does no I/O. A room's events reach every local member in the order of their sequence, without a
gap and without a double. Every queue has a bound, and what is beyond it a name. Everything runs on one event loop, and
what one turn of it does for one client is limited.
"""

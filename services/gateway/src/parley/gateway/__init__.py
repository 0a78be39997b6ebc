"""The gateway: holds Socket.IO connections and nothing else. No database, no chat rules.

`engineio` and `socketio` speak to clients; `connections` has the life of a connection, which begins in `admission`.
`commands` sends what it emits to the service behind its namespace and returns the acks, `rooms` delivers what arrives
on the subjects of the rooms its connections are in, `operations` does what services and operators want of them.

Invariants: what decides does no I/O. A room's events reach every local member in
the order of their sequence, without a gap and without a double. Every queue has a bound.
"""

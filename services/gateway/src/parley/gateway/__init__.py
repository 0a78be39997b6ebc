"""The gateway: holds Socket.IO connections and nothing else. No database, no chat rules.

`admission` lets a connection in, `commands` sends what it emits to the service behind its namespace and returns the
acks, `fanout` delivers what arrives on the subjects of the rooms its connections are in, `control` lets operators list
and end connections. `edge` is the only module that knows python-socketio.

Invariants: `connections`, `namespaces`, `packets` and `resume` do no I/O. A room's events reach every local member in
the order of their sequence, without a gap and without a double. Every queue has a bound.
"""

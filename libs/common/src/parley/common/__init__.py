"""What crosses a process boundary in Parley, and nothing else.

Services build on this package and never import each other. It holds the wire types (`wire`), the names of
NATS subjects (`subjects`), the closed table of error codes (`errors`), the NATS connection (`bus`), and what every
process needs to be operated (`settings`, `logs`, `health`, `process`). Services are written with `parley.framework`.

Invariants: `wire`, `subjects`, `errors` and `identifiers` do no I/O; nothing here imports a database.
"""

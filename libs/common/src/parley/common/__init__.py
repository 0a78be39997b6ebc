"""What crosses a process boundary in Parley, and what every process of it has; nothing else.

Services build on this package and never import each other; they are written with `parley.framework`.
From the ground up:

- `errors`, the closed table of codes, and small pure modules that all the rest uses;
- `wire`: what travels on NATS, a module per conversation, with `subjects` and the table of `disconnects`;
- `process`: settings, logs and tasks of a process;
- `nats`: the connection to NATS, start with `bus`; and `http`: the HTTP server, start with `server`;
- `run`: runs a service as a process on all of these.

Invariants: `wire` and what is below it do no I/O; nothing here imports a database.
"""

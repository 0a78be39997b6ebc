"""What crosses a process boundary in Parley, and nothing else.

Services build on this package and never import each other; they are written with `parley.framework`. It holds

- what travels: the wire types (`wire`), the names of NATS subjects (`subjects`), the closed tables of error codes
  (`errors`) and of disconnect reasons (`disconnects`);
- the NATS connection: `bus`, with `requests` and `outbox` (what one loop tick has to send goes together), `tags`,
  `subscriptions` and `liveness`;
- what every process is run with: `process`, `settings`, `logs`, `health`, `tasks`, and its HTTP server (`http_server`,
  `http_gate`, `forwarded`).

Invariants: `wire`, `subjects`, `errors` and `identifiers` do no I/O; nothing here imports a database.
"""

"""What travels between Parley's processes, and what each of these processes is made of.

Services build on this package and never import each other; they are written with `parley.framework`. To be read from
the ground up:

1. `errors`: the closed table of codes;
2. `wire`: what travels on NATS, with `subjects` and the closed table of `disconnects`;
3. `process`: settings, logs and tasks of a process;
4. `nats`: the connection to NATS, and `http`: the HTTP server;
5. `run_process`: runs a service as a process on all of these.

Beside them are small modules that several packages use: `batch_loader`, `nesting`, `rate_limiter`, `sqlstate`,
`throttle`, `user_shares`. Invariants: `wire` and what it imports do no I/O; nothing here imports a database driver.
"""

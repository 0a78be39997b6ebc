"""The chat service: rooms and messages over an append-only event log in Postgres.

A command becomes a committed event in these steps: `controllers` or `rest` submit it, `writer` gathers what waits into
one batch, `event_store` opens a transaction and loads what the batch touches, `batch` decides every command with the
pure rules of `room`, `event_store` appends and projects in the same transaction, and after the commit `publisher`
tells the members and the senders are acked. What gateways ask of the log, `room_log` answers; `service` is all of it.

Invariants: `room`, `events`, `commands` and `batch` import no I/O. Only `database`, `event_store`, `queries` and
`projections` talk SQL. An ack is never sent before its commit.
"""

"""The chat service: rooms and messages over an append-only event log in Postgres.

Read the packages in this order: `domain` (the rules, pure), `log` (what stores and commits), `queries` (what is read),
`delivery` (what gateways are told), `consumers` (what services are handed), `projections` (how tables are built anew),
`reading`, `notifications` and `unsent` (what users have for themselves), `moderation` (blocks, reports, screening),
`signals` (who is there and who types), `slash` (what bots offer and are asked), `search`, `attachments` and `previews`
(what messages are found by, the files in them, and what their links lead to), `api` (what clients, servers and
administrators may ask) with `state` (the parts it uses), `service` (what opens all of it) with `settings`, and `app`
(the process).

A command becomes a committed event in these steps:

1. `api.socket` or `api.rest` submits it to `log.writer`, which gathers the commands that wait into one batch.
2. `log.event_store` opens a transaction, locks the batch's rooms and loads what their decisions read.
3. `domain.batch` decides each command with the rules of `domain.room`.
4. `log.event_store` appends the events and projects them in the same transaction.
5. After the commit `delivery.publisher` sends the events to the gateways, and the writer answers the senders.

Two invariants hold: an ack is never sent before its commit, and nothing in `domain` does any I/O.
"""

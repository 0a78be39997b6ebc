"""The event log in Postgres, and what writes to it and follows it.

Read the modules in this order:

1. `tables` and `user_tables`: the schema. `database` and `own_connection`: connections, and what their errors mean.
2. `statements` with `event_store`: loading the state of a batch, appending its events, projecting them.
   `messages` does so for what became of messages.
3. `known_rooms` and `held`, then `writer`: group commit.
4. `position`, then `tail`: following the log in the order of its commits. `leadership`: one process that does so.
5. `erasure`: requesting and executing erasures.
6. `export` and `importing`: the log as a file.
"""

"""The event log in Postgres. Read `tables`, `event_store`, then `writer`, which commits what waits together."""

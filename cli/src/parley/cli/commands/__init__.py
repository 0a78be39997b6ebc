"""The commands of `parley`: one file each, named like what is typed.

`main` lists them, and imports them when needed. `database` has those about the log and its schema, `services` those for
who writes a service, and `stack` those that run Parley or prepare an installation.
"""

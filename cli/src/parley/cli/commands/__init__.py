"""The commands of `parley`: one file each, named like what is typed.

`main` lists them, and imports them when needed. `migrate` is a good one to start with.
"""

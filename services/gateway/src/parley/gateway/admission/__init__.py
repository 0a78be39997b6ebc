"""Letting connections in, and looking again whether they may stay.

`admission` is the way in, with the `handshake` and the connection `middleware`. Afterwards `standing` asks auth and
`memberships` the services, both by `reconciliation`; `comparison` answers services which connections are still here.
"""

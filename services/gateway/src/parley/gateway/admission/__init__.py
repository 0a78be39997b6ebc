"""Letting connections in, and checking again whether they may stay.

Read `admission` first: it is the way in, with `handshake` and `connection_middleware`. Afterwards `standing_check` asks
auth about users and `memberships` asks services about rooms, both by `reconciliation`; `banned_addresses` refuses
ranges of addresses. `comparison` tells services which of their connections are still here.
"""

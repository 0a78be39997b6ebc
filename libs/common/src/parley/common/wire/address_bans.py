"""Which ranges of addresses are banned: what gateways ask auth."""

from __future__ import annotations

from parley.common.wire.codec import Wire


class ListAddressBans(Wire, frozen=True):
    """Ask which ranges are banned now."""


class AddressBan(Wire, frozen=True):
    """A range, and in how many seconds its ban ends; 0 for one that does not end by itself."""

    range: str
    ends_in: float = 0.0


class AddressBanList(Wire, frozen=True):
    """All bans that stand, `MAX_ADDRESS_BANS` at most."""

    bans: list[AddressBan] = []


BANNED = "Connections from this address are banned."
"""What clients in a banned range are told."""
MAX_ADDRESS_BANS = 10_000
"""Ranges banned at a time, so that all fit into one message."""

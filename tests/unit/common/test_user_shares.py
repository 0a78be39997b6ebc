"""Places of a process, of which one user has a few."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from parley.common.errors import Code, Reject
from parley.common.user_shares import UserShares


def refusal(shares: UserShares, user: str) -> Code | None:
    try:
        shares.check(user)
    except Reject as refused:
        return refused.code
    return None


def test_one_user_has_a_share_and_all_of_them_have_all_places():
    shares = UserShares(3, 2)
    with ExitStack() as ann, ExitStack() as ben:
        for _ in range(2):
            assert refusal(shares, "ann") is None
            ann.enter_context(shares.place("ann"))
        assert refusal(shares, "ann") is Code.RATE_LIMITED
        assert refusal(shares, "ben") is None
        ben.enter_context(shares.place("ben"))
        assert refusal(shares, "ben") is Code.OVERLOADED
        ann.close()
        assert refusal(shares, "ann") is None
        assert refusal(shares, "ben") is None


def test_a_place_is_free_again_whatever_happens_in_it():
    shares = UserShares(1, 1)
    for _ in range(3):
        shares.check("ann")
        with pytest.raises(ValueError, match="any"), shares.place("ann"):
            raise ValueError("any")
    assert not shares._taken

"""Refresh tokens say which session they are of, in one spelling alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from parley.auth.accounts.sessions.refresh_seal import OpenedToken, RefreshSeal

SEAL = RefreshSeal([b"k" * 32])
UNTIL = datetime(2026, 1, 2, tzinfo=UTC)
SESSION = "s_" + "0a" * 16


def test_a_token_says_its_session_and_those_of_other_keys_say_nothing() -> None:
    made = SEAL.make(SESSION, UNTIL)
    assert SEAL.open(made) == OpenedToken(SESSION, UNTIL)
    assert RefreshSeal([b"n" * 32, b"k" * 32]).open(made) is not None
    assert RefreshSeal([b"n" * 32]).open(made) is None


@pytest.mark.parametrize("spelling", ["{}\n", " {}", "{}=", "!{}"])
def test_a_token_in_another_spelling_is_none_and_so_is_not_taken_for_one_that_was_used(spelling: str) -> None:
    assert SEAL.open(spelling.format(SEAL.make(SESSION, UNTIL))) is None

"""Tickets are for one purpose, one user, and five minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parley.auth.factors.tickets import SECONDS, Ticket, TicketFor, TicketSeal, binding_of
from parley.common.errors import Code, Reject

NOW = 1_700_000_000.0
SEAL = TicketSeal([b"k" * 32])
BOUND = binding_of("hash", "never")


def refusal(seal: TicketSeal, purpose: TicketFor, text: str, now: float = NOW) -> Code:
    with pytest.raises(Reject) as rejection:
        seal.open(purpose, text, now)
    return rejection.value.code


def test_a_ticket_says_what_was_put_into_it_and_no_two_are_alike() -> None:
    made = SEAL.make(TicketFor.SECOND_FACTOR, "u_1", BOUND, NOW, "password")
    assert SEAL.open(TicketFor.SECOND_FACTOR, made, NOW) == Ticket("u_1", "password", BOUND, int(NOW) + SECONDS)
    assert made != SEAL.make(TicketFor.SECOND_FACTOR, "u_1", BOUND, NOW, "password")


def test_a_ticket_is_for_one_purpose() -> None:
    for purpose in TicketFor:
        made = SEAL.make(purpose, "u_1", BOUND, NOW)
        for other in set(TicketFor) - {purpose}:
            assert refusal(SEAL, other, made) is Code.INVALID_CREDENTIALS


def test_a_ticket_is_over_after_its_time_and_not_taken_long_before_it() -> None:
    made = SEAL.make(TicketFor.PROOF, "u_1", BOUND, NOW)
    assert SEAL.open(TicketFor.PROOF, made, NOW + SECONDS - 1)
    # Another replica's clock may be behind.
    assert SEAL.open(TicketFor.PROOF, made, NOW - 10)
    for moment in (NOW + SECONDS, NOW - 60):
        assert refusal(SEAL, TicketFor.PROOF, made, moment) is Code.EXPIRED_TOKEN


def test_tickets_of_an_older_key_are_taken_and_those_of_another_are_not() -> None:
    made = SEAL.make(TicketFor.PROOF, "u_1", BOUND, NOW)
    assert TicketSeal([b"n" * 32, b"k" * 32]).open(TicketFor.PROOF, made, NOW)
    assert refusal(TicketSeal([b"n" * 32]), TicketFor.PROOF, made) is Code.INVALID_CREDENTIALS


@given(some.text(max_size=300))
def test_no_text_is_a_ticket_by_chance(text: str) -> None:
    assert refusal(SEAL, TicketFor.PROOF, text) is Code.INVALID_CREDENTIALS


@given(some.integers(min_value=0, max_value=10_000), some.integers(min_value=1, max_value=255))
def test_a_ticket_that_was_changed_anywhere_is_none(place: int, change: int) -> None:
    raw = bytearray(SEAL.make_raw(TicketFor.PROOF, "u_1", BOUND, NOW, "totp"))
    raw[place % len(raw)] ^= change
    with pytest.raises(Reject):
        SEAL.open_raw(TicketFor.PROOF, bytes(raw), NOW)


@pytest.mark.parametrize("spelling", ["{}=", "{}\n", " {}", "!{}", "{}A"])
def test_a_ticket_is_taken_in_one_spelling_alone(spelling: str) -> None:
    # Or one that was used would be good again in another.
    made = SEAL.make(TicketFor.PROOF, "u_1", BOUND, NOW)
    assert refusal(SEAL, TicketFor.PROOF, spelling.format(made)) is Code.INVALID_CREDENTIALS


def test_the_spare_bits_at_the_end_of_a_ticket_are_no_other_spelling() -> None:
    made = SEAL.make(TicketFor.PROOF, "u_1", BOUND, NOW, "abc")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(made) % 4
    changed = made[:-1] + letters[letters.index(made[-1]) + 1]
    assert refusal(SEAL, TicketFor.PROOF, changed) is Code.INVALID_CREDENTIALS


def test_what_a_ticket_is_bound_to_is_not_confused_with_other_parts() -> None:
    bindings = {binding_of(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]}
    assert len(bindings) == 5

"""Tickets: nobody makes or changes one without the key, and they end."""

from __future__ import annotations

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.attachments.file_tickets import WINDOW, FileTicket, expiry, read, write

KEY = b"k" * 32


@given(st.text(max_size=128), st.floats(min_value=0, max_value=2**40))
def test_a_ticket_is_read_as_it_was_written_until_it_ends(user_id: str, now: float):
    ticket = FileTicket(uuid4(), user_id, expiry(now))
    text = write(ticket, KEY)
    assert read(text, KEY, now) == ticket
    assert WINDOW <= ticket.until - now <= 2 * WINDOW + 1
    assert read(text, KEY, ticket.until) is None
    assert read(text, b"other", now) is None


def test_no_byte_of_it_can_be_changed():
    text = write(FileTicket(uuid4(), "u_ann", expiry(0)), KEY)
    for place in range(len(text) - 1):
        other = "A" if text[place] != "A" else "B"
        assert read(text[:place] + other + text[place + 1 :], KEY, 0) is None


@given(st.text(max_size=2000))
def test_any_text_is_a_ticket_or_none(text: str):
    assert read(text, KEY, 0) is None


def test_the_same_ticket_is_made_for_a_while():
    assert expiry(0) == expiry(WINDOW - 1) != expiry(WINDOW)

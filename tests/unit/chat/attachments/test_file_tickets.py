"""Tickets: nobody makes or changes one without the key, and they end."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.attachments.file_tickets import WINDOW, FileTicket, ReportOfTicket, expiry, read, write

KEY = b"k" * 32
REPORTS = st.builds(ReportOfTicket, st.integers(-(2**63), 2**63 - 1), st.uuids(), st.booleans())


@given(st.text(max_size=128), st.floats(min_value=0, max_value=2**40), st.none() | REPORTS)
def test_a_ticket_is_read_as_it_was_written_until_it_ends(user_id: str, now: float, report: ReportOfTicket | None):
    ticket = FileTicket(uuid4(), user_id, expiry(now), report)
    text = write(ticket, KEY)
    assert read(text, KEY, now) == ticket
    assert WINDOW <= ticket.until - now <= 2 * WINDOW + 1
    assert read(text, KEY, ticket.until) is None
    assert read(text, b"other", now) is None


@pytest.mark.parametrize("report", [None, ReportOfTicket(7, uuid4(), administers=False)], ids=["message", "report"])
def test_no_byte_of_it_can_be_changed(report: ReportOfTicket | None):
    text = write(FileTicket(uuid4(), "u_ann", expiry(0), report), KEY)
    for place in range(len(text) - 1):
        other = "A" if text[place] != "A" else "B"
        assert read(text[:place] + other + text[place + 1 :], KEY, 0) is None


@given(st.text(max_size=2000))
def test_any_text_is_a_ticket_or_none(text: str):
    assert read(text, KEY, 0) is None


def test_a_ticket_for_a_message_is_none_for_a_report_that_its_users_name_spells():
    report = ReportOfTicket(7, uuid4(), administers=True)
    of_report = write(FileTicket(upload := uuid4(), "u_ann", expiry(0), report), KEY)
    spelled = (b"\0" * 7 + b"\7" + report.report.bytes + b"\1" + b"u_ann").decode("latin-1")
    of_message = write(FileTicket(upload, spelled, expiry(0)), KEY)
    assert read(of_message, KEY, 0) == FileTicket(upload, spelled, expiry(0))
    assert read(of_report, KEY, 0) == FileTicket(upload, "u_ann", expiry(0), report)


def test_the_same_ticket_is_made_for_a_while():
    assert expiry(0) == expiry(WINDOW - 1) != expiry(WINDOW)

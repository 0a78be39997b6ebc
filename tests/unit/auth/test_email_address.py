"""Which texts are e-mail addresses, and which are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parley.auth.email_address import is_address, mailbox_key


@pytest.mark.parametrize(
    "address",
    ["a@b.co", "First.Last+tag@mail.example.org", "o'neil@example.org", "x@xn--exmple-cua.org", "a" * 64 + "@b.co"],
)
def test_addresses_that_people_have_are_taken(address: str) -> None:
    assert is_address(address)


@given(some.text(max_size=40), some.text(max_size=40))
def test_what_is_taken_cannot_end_a_line_or_name_another_recipient(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    if is_address(address):
        assert address.isascii()
        assert address.isprintable()
        assert not set(address) & set(' ,;:<>()[]"\\\r\n')
        assert address.count("@") == 1


def test_addresses_of_one_mailbox_are_the_same() -> None:
    assert mailbox_key("Alice@Example.ORG") == mailbox_key("alice@example.org") != mailbox_key("alice@example.com")

"""Ranges of addresses: which addresses are in one, and until when."""

from __future__ import annotations

import math

import pytest

from parley.common.http.address_ranges import AddressRanges, parse_range


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.77/24", "192.0.2.1", "192.0.1.255"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.0/24", "::ffff:192.0.2.9", "::ffff:192.0.3.9"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
        ("2001:db8::1", "2001:db8::1%eth0", "2001:db8::2"),
        ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ("::/0", "2001:db8::1", "203.0.113.1"),
    ],
)
def test_an_address_is_in_a_range_in_whichever_form_it_comes(written: str, inside: str, outside: str):
    ranges = AddressRanges([(written, math.inf), ("198.51.100.0/25", math.inf)])
    assert ranges.hold(inside, 0.0)
    assert not ranges.hold(outside, 0.0)


def test_a_range_ends_at_its_moment_and_the_longest_of_the_same_counts():
    ranges = AddressRanges([("192.0.2.0/24", 10.0), ("192.0.2.0/24", 20.0), ("192.0.2.0/24", 5.0)])
    assert ranges.hold("192.0.2.1", 19.9)
    assert not ranges.hold("192.0.2.1", 20.0)


def test_what_is_no_address_is_in_no_range():
    assert not AddressRanges([("0.0.0.0/0", math.inf)]).hold("unknown", 0.0)
    assert not AddressRanges().hold("192.0.2.1", 0.0)


@pytest.mark.parametrize("written", ["", "192.0.2.0/33", "192.0.2", "example.org", "2001:db8::/129", "1.2.3.4/-1"])
def test_what_is_no_range_is_refused(written: str):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        parse_range(written)

"""Queries: words, phrases and filters, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.search.parsed_query import MAX_QUERY, parse
from parley.common.errors import Code, Reject


def test_words_phrases_and_filters():
    wanted = parse(
        'Deploy "Blue green" in:rabc from:me has:link has:file before:2026-02-01 after:2026-01-30 a:b', "u_me"
    )
    assert wanted.phrases == [["deploy"], ["blue", "green"], ["a", "b"]]
    assert (wanted.room, wanted.author, wanted.has) == ("rabc", "u_me", ("link", "file"))
    assert (wanted.since, wanted.until) == (datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert parse('from:"a user" x "', "u").author == "a user"
    assert parse('"unclosed quote', "u").phrases == [["unclosed"], ["quote"]]


@pytest.mark.parametrize(
    "query",
    ["", "   ", "%", "''''", '""', "in:rabc", "before:2026-01-01", "x before:yesterday", "x before:0001-01-01",
     "x after:9999-12-31", "x has:nothing", "x from:a from:b", "x" * (MAX_QUERY + 1), "a " * 5000, "\x00", "\ud800",
     " ".join(f"w{n}" for n in range(30)), "👍"],
)  # fmt: skip
def test_queries_that_are_refused(query: str):
    with pytest.raises(Reject) as caught:
        parse(query, "u")
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_what_the_index_finds_is_compared():
    data = {"body": "see https://example.org for the blue-green plan"}
    for query in ("plan blue", '"blue green"', "has:link", "from:u_ann plan", "https://example.org", "PLAN see"):
        assert parse(query, "u").matches("u_ann", data), query
    for query in ('"green blue"', "has:file", "from:u_ben plan", "pla", "plans"):
        assert not parse(query, "u").matches("u_ann", data), query
    assert parse("has:file", "u").matches("u_ann", {"body": "x", "attachments": [{"id": "a"}]})


@given(st.text(max_size=MAX_QUERY))
def test_any_text_is_a_query_or_refused_with_a_code(query: str):
    codes: list[Code] = []
    try:
        assert parse(query, "u").terms
    except Reject as rejection:
        codes.append(rejection.code)
    assert codes in ([], [Code.INVALID_PAYLOAD])

"""Heads of pages: plain texts of bounded length, whatever the page is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.previews.page_head import DESCRIPTION, TITLE, Preview, first_link, preview_of


@pytest.mark.parametrize(
    ("text", "link"),
    [("see https://example.org/a?b=c#d, and http://other.example", "https://example.org/a?b=c"),
     ("(https://en.example/wiki/Tree_(graph_theory)).", "https://en.example/wiki/Tree_(graph_theory)"),
     ("[x](https://example.org/y)", "https://example.org/y"), ("HTTPS://Example.org!", "https://Example.org"),
     ("https://bücher.example/größe", "https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe"), ("no link: example.org", None),
     ("javascript:alert(1) ftp://example.org", None), ("http://[::1", None), ("", None)],
)  # fmt: skip
def test_the_first_link_of_a_text(text: str, link: str | None):
    assert first_link(text) == link


def test_a_page_says_what_it_is():
    page = b"""<!doctype html><html><head><title>For the window &amp; tab</title>
      <meta name="description" content="An older one"><meta property="og:description" content="  What it\n is ">
      <meta property="og:title" content="The &lt;title&gt;"><meta property="og:site_name" content="Site">
      </head><body><title>no</title><meta property="og:title" content="not this">"""
    assert preview_of("text/html", page) == Preview("The <title>", "What it is", "Site")
    assert preview_of("text/html", b"<title>A\n page</title>") == Preview("A page")
    assert preview_of("text/html", b"<p>nothing") is None


def test_what_is_taken_is_short_and_shows_what_it_is():
    long = f'<title>{"x" * 9000}</title><meta name=description content="{"y" * 9000}">'
    found = preview_of("text/html", long.encode())
    assert found is not None
    assert (len(found.title), len(found.description)) == (TITLE, DESCRIPTION)
    assert preview_of("text/html", "<title>a\u202eb\x07c\u200b</title>".encode()) == Preview("a b c")


def test_characters_are_of_the_charset_that_the_page_names():
    assert preview_of("text/html; charset=iso-8859-1", "<title>größe</title>".encode("latin-1")) == Preview("größe")
    assert preview_of("text/html", '<meta charset="shift_jis"><title>東京</title>'.encode("shift_jis")) == Preview(
        "東京"
    )
    assert preview_of("text/html; charset=nonsense", "<title>größe</title>".encode()) == Preview("größe")


@given(st.binary(max_size=500), st.text(max_size=60))
def test_any_bytes_are_a_page_or_none(body: bytes, kind: str):
    preview_of(kind, b"<title>" + body)
    first_link(body.decode("utf-8", "replace"))

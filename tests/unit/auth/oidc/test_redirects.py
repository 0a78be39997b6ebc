"""Where a login may end, and where it may not."""

from __future__ import annotations

import pytest

from parley.auth.oidc.redirects import Destination, destination, with_query

HOME = "https://chat.example.com"
REGISTERED = [
    "com.example.app:/signed-in",
    "http://127.0.0.1/signed-in",
    "http://[::1]/in",
    "https://app.example.com/in",
]


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example.com", "/\\evil.example.com", "https://evil.example.com/", "https://chat.example.com.evil.com/",
        "https://chat.example.com/", "http://127.0.0.1@evil.example.com/signed-in", "evil.example.com", "",
        "http://127.0.0.1:80@evil.example.com/signed-in", "http://127.0.0.1:x/signed-in", "http://127.0.0.1/other",
        "https://127.0.0.1/signed-in", "http://localhost/signed-in", "http://127.0.0.1/signed-in?a=1",
        "http://127.0.0.1/signed-in#a", "com.example.app:/other", "com.example.app://signed-in", "javascript:alert(1)",
        "https://app.example.com/in/", "https://app.example.com:444/in", "https://user@app.example.com/in",
        "/a\tb", "/\t/evil.example.com", "/a\nb", " /", "/a b", "/a\x7f", f"/{'x' * 3000}", "http://[::1/in",
    ],
)  # fmt: skip
def test_a_login_ends_at_no_other_place(place: str) -> None:
    assert destination(place, HOME, REGISTERED) is None


@pytest.mark.parametrize("place", ["/", "/console?tab=1#users", "/r%C3%A4ume", "/räume"])
def test_a_path_is_one_of_our_own_pages(place: str) -> None:
    assert destination(place, HOME, REGISTERED) == Destination(f"{HOME}{place}", own=True)


@pytest.mark.parametrize("place", [*REGISTERED, "http://127.0.0.1:4711/signed-in", "http://[::1]:4711/in"])
def test_a_registered_uri_is_a_place_of_an_app_on_its_own_machine_on_any_port(place: str) -> None:
    assert destination(place, HOME, REGISTERED) == Destination(place, own=False)


def test_what_a_login_ended_with_is_added_to_the_query_that_is_there() -> None:
    told = {"code": "a&b", "state": "", "error": ""}
    assert with_query(f"{HOME}/in?tab=1&code=old#part", told) == f"{HOME}/in?tab=1&code=a%26b#part"
    assert with_query("com.example.app:/signed-in", told) == "com.example.app:/signed-in?code=a%26b"

"""Usernames that are one, names that only look so, and passwords that may be chosen."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from parley.auth.http.me import ProfileChange
from parley.auth.names import check_display_name, skeletons, username_key
from parley.auth.password_policy import weakness
from parley.auth.settings import AuthSettings
from parley.common.errors import Reject
from parley.common.http.json_input import fields_as
from parley.common.process.settings import name_refused


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("paypal", "paypa1"),
        ("paypal", "paypaI"),
        ("user0", "userO"),
        ("modern", "modem"),
        ("BILL", "BlLL"),
        ("admin", "аdmin"),  # noqa: RUF001 - Cyrillic
        ("admin", "ａｄｍｉｎ"),  # noqa: RUF001 - full width
        ("scope", "ѕсоре"),  # noqa: RUF001 - Cyrillic throughout
        ("Alice", "ALICE"),
    ],
)
def test_names_that_look_alike_share_a_skeleton(one: str, another: str) -> None:
    assert {*skeletons(one)} & {*skeletons(another)}


@pytest.mark.parametrize(("one", "another"), [("alice", "allce"), ("ann", "anna"), ("user1", "user2"), ("Ali", "All")])
def test_names_that_differ_share_none(one: str, another: str) -> None:
    assert not {*skeletons(one)} & {*skeletons(another)}


def test_a_key_is_the_same_in_every_case_and_every_locale() -> None:
    assert username_key("ADMIN.I") == username_key("admin.i") == "admin.i"


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "José-María",
        "Иван (Ivan)",
        "山田 太郎",
        "ひらがなカタカナ漢字",
        "김철수",
        "O'Brien",
        "R2-D2 🤖",
        "محمد",
        "x" * 100,
    ],
)
def test_names_of_people_are_taken(name: str) -> None:
    check_display_name(name)


@pytest.mark.parametrize(
    "name",
    ["аdmin", "Αnn", "a\u202eb", "a\u200bb", "line\nend", " ", "\u3164", "\x00", "tοm"],  # noqa: RUF001
    ids=ascii,
)
def test_names_that_show_other_than_they_are_are_refused(name: str) -> None:
    with pytest.raises(Reject):
        check_display_name(name)


@pytest.mark.parametrize("url", ["https://example.com/a.png", "https://example.com/a?b=c&d=%20#e"])
def test_avatars_over_https_are_taken(url: str) -> None:
    assert fields_as({"avatar_url": url}, ProfileChange).avatar_url == url


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a.png", "javascript:alert(1)", "https://a b", 'https://a"b', "https://a\n", "https://", 5],
    ids=str,
)
def test_other_avatars_are_refused(url: Any) -> None:
    with pytest.raises(Reject):
        fields_as({"avatar_url": url}, ProfileChange)


@pytest.mark.parametrize(
    ("password", "username", "why"),
    [
        ("short12", "ann", "at least 8"),
        ("x" * 257, "ann", "at most 256"),
        ("ANN_of_Cleves", "ann_of_cleves", "not the username"),
        ("\ufb03\ufb03\ufb03", "ann", None),  # three ligatures, nine letters
        ("correct horse", "ann", None),
    ],
)
def test_a_password_is_judged_as_it_is_hashed(password: str, username: str, why: str | None) -> None:
    found = weakness(password, username)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize("password", ["a", "short", "Administrator"])
def test_a_weak_password_of_the_administrator_stops_the_start_with_a_message(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_AUTH_ADMIN_USERNAME", "administrator")
    monkeypatch.setenv("PARLEY_AUTH_ADMIN_PASSWORD", password)
    with pytest.raises(ValidationError) as error:
        AuthSettings()
    told = name_refused(error.value)
    assert told.startswith("PARLEY_AUTH_ADMIN_PASSWORD: a password ")

"""Names people choose become exactly one NATS subject token, and no two names the same one."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.common.wire import subjects

ANY_TEXT = st.text(st.characters())
"""Lone surrogates included: JSON can carry them."""
HOSTILE = [
    "",
    "=",
    "==",
    "=2E",
    "a.b",
    "*",
    ">",
    "a b",
    "\r\n",
    "\0",
    "$SYS",
    "é",
    "日本",
    "\ud800",
    "\ud83d\ude00",
    "😀",
]
_LEGAL_TOKEN = re.compile(r"[!-~]+")


@given(ANY_TEXT)
@example("\ud800")
def test_any_name_becomes_one_legal_token_and_comes_back(name: str):
    token = subjects.encode(name)
    assert _LEGAL_TOKEN.fullmatch(token)
    assert not set(token) & set(".*>")
    assert subjects.decode(token) == name


@given(ANY_TEXT, ANY_TEXT)
def test_two_names_never_share_a_token(one: str, other: str):
    assert (subjects.encode(one) == subjects.encode(other)) == (one == other)


def test_hostile_names_are_all_told_apart():
    tokens = {subjects.encode(name) for name in HOSTILE}
    assert len(tokens) == len(HOSTILE)
    # A name that looks like another's token must not become it.
    assert len(tokens | {subjects.encode(token) for token in tokens if token not in HOSTILE}) > len(tokens)
    assert [subjects.decode(subjects.encode(name)) for name in HOSTILE] == HOSTILE


@pytest.mark.parametrize("name", ["general", "user:u_1", "A-Z_09", "0199d2c4-7b1e-7000-8000-000000000000"])
def test_plain_names_stay_readable(name: str):
    assert subjects.encode(name) == name


@given(ANY_TEXT, ANY_TEXT)
def test_a_room_subject_is_parsed_back_into_what_it_was_built_from(namespace: str, room: str):
    subject = subjects.room(namespace, room)
    assert list(map(subjects.decode, subject.split("."))) == ["room", namespace, room]


@given(ANY_TEXT, ANY_TEXT, st.text("0123456789abcdef", min_size=12, max_size=12))
def test_a_sign_of_life_is_parsed_back_and_matched_by_the_subscriptions_to_all_and_to_namesakes(
    service: str, instance: str, run: str
):
    subject = subjects.alive(service, f"{instance}:{run}")
    assert subjects.parse_alive(subject) == (service, f"{instance}:{run}")
    assert subjects.split_address(f"{instance}:{run}") == (instance, run)
    tokens = subject.split(".")
    for subscription in (subjects.ALIVE, subjects.namesakes(service, instance)):
        wanted = subscription.split(".")
        assert len(tokens) == len(wanted)
        assert all(pattern in {"*", token} for pattern, token in zip(wanted, tokens, strict=True))


@given(ANY_TEXT, st.integers(min_value=0), st.integers(min_value=1, max_value=1000))
def test_a_reply_to_a_whole_message_names_its_tags_below_the_gateways_acks(gateway: str, first: int, count: int):
    acks = subjects.acks(gateway, "/chat")
    subject = subjects.with_range(acks, range(first, first + count))
    assert subjects.parse_range(subject) == (first, first + count - 1)
    assert subject.startswith(f"{acks}.")
    assert subject.count(".") == 4


@given(ANY_TEXT, ANY_TEXT)
def test_users_do_not_share_a_room_and_no_user_reaches_a_wildcard(one: str, other: str):
    mine, theirs = (subjects.room("/chat", subjects.user_room(user)) for user in (one, other))
    assert (mine == theirs) == (one == other)
    assert not set(mine) & {"*", ">"}


@given(ANY_TEXT)
def test_the_subjects_of_a_namespace_never_meet_one_another(namespace: str):
    built = [
        subjects.commands(namespace),
        subjects.acks(namespace, namespace),
        subjects.with_range(subjects.acks(namespace, namespace), range(1, 2)),
        subjects.gateway(namespace, namespace),
        subjects.sockets(namespace),
        subjects.announcements(namespace),
        subjects.advanced_heads(namespace),
        subjects.name(namespace, namespace),
        subjects.connect(namespace),
        subjects.replay(namespace),
        subjects.memberships(namespace),
        subjects.compare(namespace),
        subjects.room_heads(namespace),
        subjects.room(namespace, namespace),
        subjects.alive(namespace, namespace),
        subjects.AUTHENTICATE,
        subjects.WELCOME,
        subjects.GATEWAYS,
        subjects.ARCHIVE_ROOM,
        subjects.LIST_ROOMS,
    ]
    assert len(set(built)) == len(built)
    assert all(token for subject in built for token in subject.split("."))

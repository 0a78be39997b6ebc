"""Which rule wins: the nearest, deny before allow, owners always; against a model that spells it out."""

from __future__ import annotations

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from parley.chat.domain.permissions import (
    DEFAULTS,
    NO_RULE,
    Permission,
    Rule,
    allows,
    may,
    permissions_in,
    permissions_text,
    read_rules,
    write_rules,
)
from parley.chat.domain.state import Member, Restrictions
from tests.support.chat.deciding import given, with_members

PERMISSIONS = st.sampled_from(list(Permission))
SOME = st.lists(PERMISSIONS, max_size=4).map(tuple)
RULES = st.builds(Rule, SOME, SOME)
BY_SUBJECT = st.dictionaries(st.sampled_from(["everyone", "member", "moderator"]), RULES)
ROLES = st.sampled_from(["owner", "moderator", "member"])


def by_the_book(permission: Permission, role: str, person: Rule, rules: dict[str, Rule]) -> bool:
    """The same, one question after the other."""
    if role == "owner":
        return True
    if permission in person.deny:
        return False
    if permission in person.allow:
        return True
    for subject in (role, "everyone"):
        if subject in rules:
            if permission in rules[subject].deny:
                return False
            if permission in rules[subject].allow:
                return True
        if subject in DEFAULTS:
            if permission in DEFAULTS[subject].deny:
                return False
            if permission in DEFAULTS[subject].allow:
                return True
    return False


@given_any(PERMISSIONS, ROLES, RULES, BY_SUBJECT)
def test_the_nearest_rule_wins(permission: Permission, role: str, person: Rule, rules: dict[str, Rule]):
    assert allows(permission, role, person, rules) is by_the_book(permission, role, person, rules)


@given_any(PERMISSIONS, ROLES, RULES, BY_SUBJECT)
def test_a_room_decides_as_its_rules_say(permission: Permission, role: str, person: Rule, rules: dict[str, Rule]):
    room = given(*with_members())
    member = Member("u_ben", "Ben", "joined", role, 2)
    room.rules = write_rules(rules)
    own = Restrictions("u_ben", allow=permissions_text(person.allow), deny=permissions_text(person.deny))
    if not own.empty:
        room.restrictions["u_ben"] = own
    assert may(room, member, permission) is by_the_book(permission, role, person, rules)


@given_any(BY_SUBJECT)
def test_rules_are_written_down_the_same_way_each_time(rules: dict[str, Rule]):
    text = write_rules(rules)
    assert read_rules(text) == {subject: rule for subject, rule in rules.items() if rule != NO_RULE}
    assert write_rules(dict(reversed(rules.items()))) == text


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("member", {"post", "react", "invite"}),
        ("moderator", {"post", "react", "invite", "mention_all", "pin", "update", "moderate"}),
        ("owner", set(Permission)),
    ],
)
def test_what_a_room_begins_with(role: str, allowed: set[str]):
    room = given(*with_members())
    member = Member("u_ben", "Ben", "joined", role, 2)
    assert {permission for permission in Permission if may(room, member, permission)} == allowed


def test_who_is_not_a_member_may_nothing():
    room = given(*with_members())
    invited = Member("u_ben", "Ben", "invited", "owner", 2)
    assert not any(may(room, one, permission) for one in (None, invited) for permission in Permission)


def test_a_permission_that_is_not_known_any_more_is_none():
    assert permissions_in("post teleport pin") == (Permission.POST, Permission.PIN)

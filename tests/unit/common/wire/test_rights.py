"""What roles, scopes and suspensions leave of a right, and what a token is good for."""

from __future__ import annotations

import pytest

from parley.common.errors import Code
from parley.common.wire.identity import READ_EVERYTHING, Identity, area_of
from parley.common.wire.rights import Right, capped


def somebody(*roles: str, suspended: bool = False, scopes: tuple[str, ...] | None = None) -> Identity:
    return Identity("u", "U", roles, suspended=suspended, scopes=scopes)


@pytest.mark.parametrize(
    ("identity", "right"),
    [
        (somebody(), None),
        (somebody("administrator", "admin:everything"), None),
        (somebody("vip", "admin:read"), Right.READ),
        (somebody("admin:read", "admin:operate"), Right.OPERATE),
        (somebody("admin"), Right.FULL),
        (somebody("admin", suspended=True), Right.READ),
        (somebody("admin", scopes=("chat:read",)), None),
        (somebody("admin", scopes=("admin:moderate", "chat:read")), Right.MODERATE),
        (somebody("admin:read", scopes=("admin:own",)), Right.READ),
        (somebody("admin", scopes=(READ_EVERYTHING,)), None),
    ],
)
def test_a_right_is_the_least_of_what_roles_scopes_and_suspension_leave(identity: Identity, right: Right | None):
    assert identity.right == right
    assert identity.is_admin == (right is Right.FULL)
    assert [identity.may(each) for each in Right] == [right is not None and each <= right for each in Right]


@pytest.mark.parametrize(
    ("identity", "reads", "writes"),
    [
        (somebody(), None, None),
        (somebody(suspended=True), None, Code.SUSPENDED),
        (somebody(scopes=("chat:read",)), None, Code.FORBIDDEN),
        (somebody(scopes=("chat:write",)), Code.FORBIDDEN, None),
        (somebody(scopes=("dice:read", "dice:write")), Code.FORBIDDEN, Code.FORBIDDEN),
        (somebody(scopes=(READ_EVERYTHING,)), None, Code.FORBIDDEN),
        (somebody(scopes=()), Code.FORBIDDEN, Code.FORBIDDEN),
        (somebody(scopes=("chat:write",), suspended=True), Code.FORBIDDEN, Code.SUSPENDED),
    ],
)
def test_reading_and_writing_are_refused_by_scope_and_suspension(
    identity: Identity, reads: Code | None, writes: Code | None
):
    refusals = [identity.refusal("chat", writes=kind) for kind in (False, True)]
    assert [refusal and refusal.code for refusal in refusals] == [reads, writes]


@pytest.mark.parametrize(
    ("identity", "refusal"),
    [
        (somebody(), None),
        (somebody(suspended=True), None),
        (somebody(scopes=("chat:read",)), None),
        (somebody(scopes=("dice:read",)), Code.FORBIDDEN),
        (somebody(scopes=(READ_EVERYTHING,)), Code.FORBIDDEN),
    ],
)
def test_what_is_ones_own_alone_is_changed_by_who_reads_only_and_not_by_who_looks_on(
    identity: Identity, refusal: Code | None
):
    refused = identity.refusal("chat", writes=False, own=True)
    assert (refused and refused.code) == refusal


@pytest.mark.parametrize(
    ("identity", "refusal"),
    [
        (somebody(), None),
        (somebody(suspended=True), None),
        (somebody(scopes=("chat:write",), suspended=True), None),
        (somebody(scopes=("chat:read",)), Code.FORBIDDEN),
        (somebody(scopes=(READ_EVERYTHING,)), Code.FORBIDDEN),
    ],
)
def test_what_protects_one_is_open_to_who_is_suspended_and_not_to_who_may_read_only(
    identity: Identity, refusal: Code | None
):
    refused = identity.refusal("chat", writes=True, own=True)
    assert (refused and refused.code) == refusal


def test_a_bot_has_no_role_that_its_owner_lacks():
    assert capped(("admin", "vip", "admin:read"), ()) == ()
    assert capped(("admin", "vip", "admin:read"), ("vip",)) == ("vip",)
    assert capped(("admin", "admin:operate", "admin:read"), ("admin:operate",)) == ("admin:operate", "admin:read")
    assert capped(("admin:moderate", "vip"), ("admin",)) == ("admin:moderate",)


def test_areas_are_named_as_namespaces_are():
    assert [area_of(namespace) for namespace in ("/chat", "/", "/a/b")] == ["chat", "main", "a/b"]


def test_what_auth_may_change_changes_the_digest():
    before = Identity("u", "Ann", ("a",))
    assert before.digest == Identity("u", "Ann", ("a",), 5.0, login="s").digest
    assert before.digest not in {Identity("u", "Anna", ("a",)).digest, Identity("u", "Ann", ("a", "b")).digest}

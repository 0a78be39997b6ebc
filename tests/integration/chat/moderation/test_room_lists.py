"""What moderators see of a room: who is banned or muted, and its links."""

from __future__ import annotations

import pytest

from parley.chat.domain.membership import InviteUser, JoinRoom, UserRef
from parley.chat.domain.people.authority import ChangePermissions, RuleFor
from parley.chat.domain.people.invites import CreateInvite
from parley.chat.domain.people.moderation import BanMember, MuteMember
from parley.chat.domain.permissions import Permission
from parley.chat.log.database import Pool
from parley.chat.moderation import room_lists
from parley.chat.moderation.room_lists import ListInvites, ListRestrictions
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.support.chat.writing import ANN, BEN, create, running_writer

ADMIN = Identity("u_root", "Root", ("admin:moderate",))


async def test_moderators_see_for_whom_something_holds(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        await writer.submit(BanMember("b", room, "u_1"), ANN, "")
        await writer.submit(BanMember("b2", room, "u_2", 3600), ANN, "")
        await writer.submit(MuteMember("m", room, "u_ben", 3600), ANN, "")
        rule = RuleFor("u_ben", deny=(Permission.INVITE,))
        await writer.submit(ChangePermissions("p", room, [rule]), ANN, "")
    for who in (ANN, ADMIN):
        found = (await room_lists.restrictions(pool, who, ListRestrictions(room))).users
        assert [(one.id, one.banned, one.banned_until is None, one.muted, one.deny) for one in found] == [
            ("u_1", True, True, False, ()), ("u_2", True, False, False, ()),
            ("u_ben", False, True, True, (Permission.INVITE,)),
        ]  # fmt: skip
    page = await room_lists.restrictions(pool, ANN, ListRestrictions(room, after="u_1", limit=1))
    assert ([one.id for one in page.users], page.more) == (["u_2"], True)
    await pool.fetch("UPDATE chat.restrictions SET banned_until = now() - interval '1 s' WHERE user_id = 'u_2'")
    found = (await room_lists.restrictions(pool, ANN, ListRestrictions(room))).users
    assert [one.id for one in found] == ["u_1", "u_ben"], "without what has ended"
    for who, code in ((BEN, Code.FORBIDDEN), (Identity("u_eve", "Eve"), Code.NOT_FOUND)):
        with pytest.raises(Reject) as caught:
            await room_lists.restrictions(pool, who, ListRestrictions(room))
        assert caught.value.code is code


async def test_members_see_their_own_links_and_moderators_all(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer, kind="private")
        await writer.submit(InviteUser("i", room, UserRef("u_ben")), ANN, "")
        with pytest.raises(Reject) as caught:
            await room_lists.invites(pool, BEN, ListInvites(room))
        assert caught.value.code is Code.NOT_A_MEMBER
        await writer.submit(JoinRoom("j", room), BEN, "")
        code = (await writer.submit(CreateInvite("l1", room, uses=3), ANN, "")).code
        own = await writer.submit(CreateInvite("l2", room, 3600), BEN, "")
        await writer.submit(JoinRoom("j", invite=code), Identity("u_cat", "Cat"), "")
    shown = (await room_lists.invites(pool, BEN, ListInvites(room))).invites
    assert [(one.invite, one.created_by) for one in shown] == [(own.sequence, "u_ben")]
    shown = (await room_lists.invites(pool, ANN, ListInvites(room))).invites
    assert [(one.created_by, one.uses_left) for one in shown] == [("u_ann", 2), ("u_ben", None)]
    await pool.fetch("UPDATE chat.invites SET expires_at = now() WHERE created_by = 'u_ben'")
    assert (await room_lists.invites(pool, BEN, ListInvites(room))).invites == []

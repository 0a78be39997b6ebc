"""What a room is to who types there: who could not send is not announced as writing."""

from __future__ import annotations

from parley.chat.domain.membership import InviteUser, JoinRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.people.authority import ChangePermissions, RuleFor
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.people.moderation import MuteMember, UnmuteMember
from parley.chat.domain.permissions import Permission
from parley.chat.log.database import Pool
from parley.chat.log.writer import Writer
from parley.chat.moderation import blocks
from parley.chat.moderation.blocks import BlockUser, UnblockUser
from parley.chat.queries.visibility import key_of
from parley.chat.signals.room_places import RoomPlace, places
from parley.common.errors import Code
from parley.common.wire.identity import Identity
from tests.support.chat.writing import ANN, BEN, create, running_writer


async def place(pool: Pool, room: str, who: Identity = BEN) -> RoomPlace:
    at = key_of(room), who.user_id
    return (await places(pool, [at]))[at]


async def joined(writer: Writer) -> str:
    room = await create(writer)
    await writer.submit(JoinRoom("j", room), BEN, "")
    return room


async def test_who_is_muted_or_may_not_post_is_silenced(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        room = await joined(writer)
        assert await place(pool, room) == RoomPlace("public", False, "joined")
        await writer.submit(MuteMember("m", room, "u_ben"), ANN, "")
        assert (await place(pool, room)).silenced is Code.MUTED
        await writer.submit(UnmuteMember("u", room, "u_ben"), ANN, "")
        assert (await place(pool, room)).silenced is None
        rule = RuleFor(role="everyone", deny=(Permission.POST,))
        await writer.submit(ChangePermissions("p", room, [rule]), ANN, "")
        assert (await place(pool, room)).silenced is Code.FORBIDDEN
        assert (await place(pool, room, ANN)).silenced is None
        own = RuleFor(user="u_ben", allow=(Permission.POST,))
        await writer.submit(ChangePermissions("q", room, [own]), ANN, "")
        assert (await place(pool, room)).silenced is None
        await writer.submit(InviteUser("i", room, UserRef("u_cat")), ANN, "")
        assert await place(pool, room, Identity("u_cat", "")) == RoomPlace("public", False, "invited")


async def test_two_of_whom_one_has_blocked_the_other_do_not_see_each_other_type(database_url: str, pool: Pool):
    async with running_writer(database_url) as (writer, _):
        opened = (await writer.submit(OpenDirect("d", ["u_ben"]), ANN, "")).room
        assert opened is not None
        await writer.submit(SendMessage("m", opened.id, "hi"), ANN, "")
        await blocks.block(pool, ANN, BlockUser("u_ben"))
        assert [(await place(pool, opened.id, who)).silenced for who in (ANN, BEN)] == [Code.FORBIDDEN] * 2
        await blocks.unblock(pool, ANN, UnblockUser("u_ben"))
        assert (await place(pool, opened.id)).silenced is None
        group = (await writer.submit(OpenDirect("g", ["u_ben", "u_cat"]), ANN, "")).room
        assert group is not None
        await writer.submit(SendMessage("m", group.id, "hi"), ANN, "")
        await blocks.block(pool, ANN, BlockUser("u_ben"))
        assert (await place(pool, group.id)).silenced is None

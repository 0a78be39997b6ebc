"""Reports: a frozen copy, a queue for moderators, silence towards the reported, and nothing left of the erased."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.messages.amending import EditMessage
from parley.chat.domain.people.authority import ChangeRole
from parley.chat.log.database import Pool
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.writer import Writer
from parley.chat.moderation import reports
from parley.chat.moderation.reports import ListReports, ReportMessage, ReportView, ResolveReport
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from tests.support.bus import rejected
from tests.support.chat.erasing import connected, erase
from tests.support.chat.writing import ANN, BEN, create, running_writer
from tests.support.waiting import until

CAT, DAN, ADMIN = Identity("u_cat", "Cat"), Identity("u_dan", "Dan"), Identity("u_root", "Root", ("admin",))


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writer]:
    """A chat process."""
    async with running_writer(database_url) as (one, _):
        yield one


@pytest.fixture
async def room(writer: Writer) -> str:
    """Ann's private-ish room: Ben writes what Cat reports, and Dan moderates it."""
    made = await create(writer)
    for who in (BEN, CAT, DAN):
        await writer.submit(JoinRoom("j", made), who, "")
    await writer.submit(ChangeRole("r", made, "u_dan", "moderator"), ANN, "")
    for number, (who, text) in enumerate([(ANN, "hello"), (BEN, "vile things"), (CAT, "x" * 1000), (DAN, "stop")]):
        await writer.submit(SendMessage(f"m{number}", made, text), who, "")
    return made


VILE = 7
"""The sequence of what Ben wrote."""


async def report(pool: Pool, place: str, who: Identity = CAT, **fields: Any) -> Any:
    said: dict[str, Any] = {"id": "r", "room": place, "message": VILE, "category": "hate", "comment": "he said it"}
    return (await reports.report(pool, who, ReportMessage(**(said | fields)))).report


async def queue(pool: Pool, who: Identity, room: str | None = None, **fields: Any) -> list[ReportView]:
    return (await reports.page(pool, who, ListReports(room, **fields))).reports


async def refused(coroutine: Any) -> Code:
    with pytest.raises(Reject) as caught:
        await coroutine
    return caught.value.code


async def test_a_report_has_the_message_and_what_was_around_it(pool: Pool, room: str):
    key = await report(pool, room)
    (view,) = await queue(pool, DAN, room)
    assert (view.report, view.message, view.category, view.comment, view.state) == (
        key, VILE, "hate", "he said it", "open",
    )  # fmt: skip
    assert [(one.actor["id"], len(one.body), one.cut) for one in view.copy] == [
        ("u_ann", 5, False), ("u_ben", 11, False), ("u_cat", 300, True), ("u_dan", 4, False),
    ]  # fmt: skip


async def test_it_is_for_moderators_who_do_not_learn_who_reported_and_not_for_the_reported(
    pool: Pool, room: str, writer: Writer
):
    await report(pool, room)
    assert (await queue(pool, DAN, room))[0].reporter is None
    assert (await queue(pool, ANN, room))[0].reporter is None
    assert (await queue(pool, ADMIN))[0].reporter == "u_cat"
    assert await refused(queue(pool, CAT, room)) is Code.FORBIDDEN
    assert await refused(queue(pool, ANN)) is Code.FORBIDDEN
    assert await refused(queue(pool, Identity("u_eve", "Eve"), room)) is Code.NOT_FOUND
    await writer.submit(ChangeRole("r2", room, "u_ben", "moderator"), ANN, "")
    assert await queue(pool, BEN, room) == [], "a moderator sees nothing of what they are reported for"
    (view,) = await queue(pool, DAN, room)
    assert await refused(reports.resolve(pool, BEN, ResolveReport(room, view.report, "dismissed"))) is Code.NOT_FOUND


async def test_a_report_is_resolved_once(pool: Pool, room: str):
    key = await report(pool, room)
    said = [(DAN, ResolveReport(room, key, "acted", "muted him")), (ANN, ResolveReport(room, key, "dismissed"))]
    first, second = await asyncio.gather(*(reports.resolve(pool, who, one) for who, one in said))
    assert (first.resolution, first.resolved_by) == (second.resolution, second.resolved_by)
    assert await queue(pool, DAN, room) == []
    (view,) = await queue(pool, DAN, room, state="resolved")
    assert (view.resolution, view.resolved_by, view.state) == (first.resolution, first.resolved_by, "resolved")
    assert await refused(reports.resolve(pool, CAT, said[0][1])) is Code.FORBIDDEN


async def test_sent_again_it_is_the_same_report_and_another_one_under_its_id_is_refused(pool: Pool, room: str):
    assert await report(pool, room) == await report(pool, room)
    assert await refused(report(pool, room, category="spam")) is Code.ID_CONFLICT
    assert len(await queue(pool, DAN, room)) == 1


async def test_of_one_user_so_many_may_be_open_whoever_asks_at_once(pool: Pool, room: str):
    outcomes = await asyncio.gather(
        *(report(pool, room, id=f"r{n}") for n in range(reports.MAX_OPEN + 8)), return_exceptions=True
    )
    refusals = [one.code for one in outcomes if isinstance(one, Reject)]
    assert refusals == [Code.LIMIT_EXCEEDED] * 8
    page = await reports.page(pool, DAN, ListReports(room, limit=30))
    assert (len(page.reports), page.more) == (30, True)
    page = await reports.page(pool, DAN, ListReports(room, after=page.reports[-1].report, limit=30))
    assert (len(page.reports), page.more) == (20, False)
    await reports.resolve(pool, DAN, ResolveReport(room, page.reports[0].report, "dismissed"))
    await report(pool, room, id="one more")


@pytest.mark.parametrize(
    ("who", "fields", "code"),
    [
        (CAT, {"message": 99}, Code.NOT_FOUND),
        (CAT, {"message": 1}, Code.NOT_FOUND),
        (BEN, {}, Code.INVALID_PAYLOAD),
        (CAT, {"room": "raaaaaaaaaaaaa"}, Code.NOT_FOUND),
        (CAT, {"comment": "nul \x00"}, Code.INVALID_PAYLOAD),
    ],
)
async def test_only_what_others_wrote_and_one_may_read_is_reported(
    pool: Pool, room: str, who: Identity, fields: dict[str, Any], code: Code
):
    assert await refused(report(pool, room, who, **fields)) is code


async def test_a_message_of_a_private_room_is_reported_by_its_members_alone(pool: Pool, writer: Writer):
    room = await create(writer, kind="private", command_id="p")
    await writer.submit(SendMessage("m", room, "secret"), ANN, "")
    assert await refused(report(pool, room, message=2)) is Code.NOT_FOUND


async def test_what_was_reported_is_hidden_once_its_erasure_is_asked_for_and_gone_when_it_is_done(
    database_url: str, pool: Pool, room: str, tmp_path: Path
):
    key = await report(pool, room)
    await reports.resolve(pool, DAN, ResolveReport(room, key, "acted", "Ben of 7 Elm Street"))
    await report(pool, room, ANN, id="2", message=9, comment="by Ann")
    for user, left in (("u_ben", ["u_ann", "u_cat", "u_dan"]), ("u_cat", ["u_ann", "u_dan"]), ("u_dan", ["u_ann"])):
        async with connected(database_url) as connection:
            requested = await erasures.request_user(connection, user)
        for done in (False, True):
            if done:
                await erase(database_url, Ledger(tmp_path / "ledger"), requested)
            (view,) = await queue(pool, ADMIN, state="resolved")
            assert [one.actor["id"] for one in view.copy] == left
            assert (view.comment == "") is ("u_cat" not in left)
            assert (view.note or "") == ("Ben of 7 Elm Street" if "u_dan" in left else "")
    for row in await pool.fetch("SELECT reports::text AS all FROM chat.reports"):
        for word in ("u_ben", "u_cat", "u_dan", "vile", "Elm Street", "he said it", "stop", "xxx"):
            assert word not in row["all"], word


async def test_one_erased_message_is_in_no_copy_any_more(database_url: str, pool: Pool, room: str, tmp_path: Path):
    await report(pool, room)
    async with connected(database_url) as connection:
        requested = await erasures.request_message(connection, room, VILE)
    assert [one.sequence for one in (await queue(pool, DAN, room))[0].copy] == [6, 8, 9]
    assert await refused(report(pool, room, id="again")) is Code.NOT_FOUND
    await erase(database_url, Ledger(tmp_path / "ledger"), requested)
    (row,) = await pool.fetch("SELECT copy::text AS copy FROM chat.reports")
    assert "vile" not in row["copy"]
    async with connected(database_url) as connection:
        requested = await erasures.request_room(connection, room)
    await erase(database_url, Ledger(tmp_path / "ledger"), requested)
    assert await pool.fetch("SELECT * FROM chat.reports") == []


async def test_what_was_edited_is_copied_as_it_was_when_it_was_reported(pool: Pool, room: str, writer: Writer):
    await writer.submit(EditMessage("e1", room, VILE, "viler things", 1), BEN, "")
    await writer.submit(EditMessage("e2", room, VILE - 1, "hello you", 1), ANN, "")
    await report(pool, room)
    await writer.submit(EditMessage("e3", room, VILE, "nothing", 2), BEN, "")
    (view,) = await queue(pool, DAN, room)
    assert [one.body for one in view.copy][:2] == ["hello you", "viler things"]


async def test_a_report_that_waits_while_its_message_is_erased_copies_nothing(
    database_url: str, pool: Pool, room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    turn = "hashtextextended('report' || 'u_cat', 0)"
    monkeypatch.setattr(reports, "_TURN", f"SELECT set_config('lock_timeout', '0', true), {reports._TURN[7:]}")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%report%'"
    async with connected(database_url) as other:
        await other.execute(f"SELECT pg_advisory_lock({turn})")
        reporting = asyncio.create_task(report(pool, room))

        async def waiting() -> bool:
            return await other.fetchval(waits) > 0

        await until(waiting, "another report of hers comes first")
        await erase(database_url, Ledger(tmp_path / "ledger"), await erasures.request_user(other, "u_ben"))
        await other.execute(f"SELECT pg_advisory_unlock({turn})")
        assert (await rejected(reporting)).code is Code.NOT_FOUND
        assert await other.fetchval("SELECT count(*) FROM chat.reports") == 0

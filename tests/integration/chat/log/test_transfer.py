"""Export and import of the log: the same again, no matter how often; and what no log has written is not believed."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from parley.chat.domain.encoding.log_lines import MAX_LINE
from parley.chat.domain.encoding.room_ids import public_room_id, room_key
from parley.chat.domain.membership import JoinRoom
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import UpdateRoom
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.ledger import Ledger
from parley.chat.log.export import Interrupted, export
from parley.chat.log.importing import Imported, Importer, ImportRefused
from parley.chat.projections import rebuild as projections
from tests.support.chat.erasing import ANN, BEN, connected, conversation, erase, say
from tests.support.chat.writing import create, running_writer
from tests.support.postgres import run_sql, with_database

Lines = list[dict[str, Any]]


@pytest.fixture
async def other_url(postgres_url: str, template_database: str, database_url: str) -> AsyncIterator[str]:
    """Another log, empty."""
    name = database_url.rpartition("/test_")[2].partition("?")[0]
    await run_sql(postgres_url, f"CREATE DATABASE other_{name} TEMPLATE {template_database}")
    secret = "UPDATE chat.log SET room_secret = decode(repeat('ab', 32), 'hex')"
    await run_sql(with_database(postgres_url, f"other_{name}"), secret)
    yield with_database(postgres_url, f"other_{name}")
    await run_sql(postgres_url, f"DROP DATABASE other_{name} WITH (FORCE)")


async def exported(url: str) -> bytes:
    output = io.BytesIO()
    async with connected(url) as connection:
        await export(connection, output.write, lambda _: None)
    return output.getvalue()


async def imported(url: str, file: bytes) -> Imported:
    async with connected(url) as connection:
        return await Importer(connection, lambda *_: None).run(io.BytesIO(file))


async def filled(url: str) -> str:
    """Some rooms, of which one is large and one has remembered commands; and one that Cat was erased from."""
    async with running_writer(url) as (writer, _):
        room = await conversation(writer)
        await writer.submit(JoinRoom("again", room), BEN, "")
        for number in range(900):
            writer.submit(SendMessage(f"m{number}", room, f"text {number} \U0001f600"), BEN, "")
        await say(writer, room, "the last one")
        await conversation_with(writer)
        return room


async def conversation_with(writer: Any) -> None:
    for number in range(3):
        room = await create(writer, BEN, f"other {number}", kind="private")
        await say(writer, room, "alone", BEN)


async def tables(url: str) -> list[Any]:
    async with connected(url) as connection:
        return [
            await connection.fetch(f"SELECT {columns} FROM chat.{table} ORDER BY 1, 2")
            for table, columns in (
                ("events", "room_id, sequence, number, event_id, type, version, actor_id, command_id, actor_name, "
                           "fingerprint, data::text, recorded_at"),
                ("rooms", "*"), ("members", "*"), ("commands", "*"),
            )
        ]  # fmt: skip


async def test_an_import_makes_the_same_log_and_a_second_one_adds_nothing(
    database_url: str, other_url: str, tmp_path: Path
):
    room = await filled(database_url)
    await erase_cat(database_url, tmp_path)
    file = await exported(database_url)
    first = await imported(other_url, file)
    assert (first.added, first.present) == (file.count(b'"line":"event"'), 0)
    assert await tables(other_url) == await tables(database_url)
    assert await exported(other_url) == file
    assert await imported(other_url, file) == Imported(0, first.added)
    # Whoever sent a command to the log it was exported from may send it again here.
    async with running_writer(other_url) as (writer, _):
        assert await say(writer, room, "my address is 7 Elm Street") == 5
        joined = await writer.submit(JoinRoom("again", room), BEN, "")
        assert joined.recorded is None
        more = await say(writer, room, "written here", BEN)
    assert await imported(other_url, file) == Imported(0, first.added)
    async with connected(other_url) as connection:
        assert await connection.fetchval("SELECT head FROM chat.rooms WHERE room_id = $1", room_key(room)) == more
        before = await tables(other_url)
        await projections.rebuild(connection)
    assert await tables(other_url) == before


async def erase_cat(url: str, tmp_path: Path) -> None:
    async with connected(url) as connection:
        asked = await erasures.request_user(connection, "u_cat")
        with pytest.raises(Interrupted):
            await export(connection, io.BytesIO().write, lambda _: None)
    await erase(url, Ledger(tmp_path / "ledger"), asked)


async def test_an_import_that_was_stopped_goes_on(database_url: str, other_url: str):
    await filled(database_url)
    file = await exported(database_url)
    lines = file.splitlines(keepends=True)
    for end in (1, 5, 700, len(lines) - 2):
        with pytest.raises(ImportRefused, match="cut off"):
            await imported(other_url, b"".join(lines[:end]))
        async with connected(other_url) as connection:
            stored = await tables(other_url)
            await projections.rebuild(connection)
            assert await tables(other_url) == stored
    done = await imported(other_url, file)
    assert done.added > 0
    assert done.present > 0
    assert await exported(other_url) == file


async def test_what_was_erased_stays_erased_whatever_an_older_export_has(
    database_url: str, other_url: str, tmp_path: Path
):
    await filled(database_url)
    file = await exported(database_url)
    ledger = Ledger(tmp_path / "ledger")
    async with connected(database_url) as connection:
        await erase(database_url, ledger, await erasures.request_user(connection, "u_ann"))
    before = await tables(database_url)
    await imported(database_url, file)
    assert await tables(database_url) == before
    # Also where the log knows of the erasure, and has no more of the room.
    async with connected(database_url) as connection:
        for table in ("events", "rooms", "members", "commands"):
            await connection.execute(f"DELETE FROM chat.{table}")
    await imported(database_url, file)
    again = await exported(database_url)
    assert not [text for text in (b"Mallory", b"my address", b"u_ann") if text in again]
    assert b"the last one" not in again
    assert b"text 7 " in again
    async with connected(database_url) as connection:
        stored = await tables(database_url)
        await projections.rebuild(connection)
        assert await tables(database_url) == stored
    # The other way round: this file is of a log in which it was erased, and here it is not.
    await imported(other_url, file)
    with pytest.raises(ImportRefused, match="is erased; erase it here first"):
        await imported(other_url, again)


async def test_an_imported_name_that_was_kept_goes_as_it_would_have_gone_there(
    database_url: str, other_url: str, tmp_path: Path
):
    async with running_writer(database_url) as (writer, _):
        room = await create(writer, ANN)
        await writer.submit(JoinRoom("join", room), BEN, "")
    async with connected(database_url) as connection:
        await erase(database_url, Ledger(tmp_path / "ledger"), await erasures.request_user(connection, "u_ann"))
    file = await exported(database_url)
    await imported(other_url, file)
    assert await tables(other_url) == await tables(database_url)
    async with running_writer(database_url) as (writer, _):
        await writer.submit(UpdateRoom("u", room, "The den"), BEN, "")
    # Also where the event that replaces it is imported.
    await imported(other_url, await exported(database_url))
    assert await tables(other_url) == await tables(database_url)
    assert b"General" not in await exported(other_url)


def decode(file: bytes) -> Lines:
    return [msgspec.json.decode(line) for line in file.splitlines()]


def at(line: int, /, **fields: Any) -> Callable[[Lines], Any]:
    return lambda lines: lines[line - 1].update(fields)


HOSTILE: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "no first line": (lambda lines: lines.pop(0), "line 1: the log's own line"),
    "two first lines": (lambda lines: lines.insert(1, lines[0]), "line 2: the log's own line"),
    "another format": (at(1, format=2), "line 1: format 2"),
    "a gap": (lambda lines: lines.pop(3), "line 4: event 4 of room"),
    "twice": (lambda lines: lines.insert(3, lines[2]), "line 4: event 2 of room"),
    "wrong order": (lambda lines: lines.insert(1, lines.pop(4)), "line 2: event 4 of room"),
    "no beginning": (at(2, type="member.joined", data={"user": {"id": "u"}}), "line 2: "),
    "another number": (at(4, number=7), "line 4: the number is 7"),
    "a forged id": (at(4, event_id="00000000-0000-8000-8000-000000000000"), "line 4: the event's id does not follow"),
    "another actor": (at(4, actor="u_eve"), "line 4: the event's id does not follow"),
    "no data": (at(4, data=None), "line 4: the data are not those of message.sent"),
    "data of another type": (at(4, data={"name": "x", "kind": "public"}), "line 4: the data are not those"),
    "a version to come": (at(4, version=9), "line 4: no event of type 'message.sent', version 9"),
    "a version before all": (at(4, version=-1), "line 4: there is no version -1"),
    "another type": (at(4, type="message.sung"), "line 4: no event of type 'message.sung'"),
    "NUL": (at(4, data={"body": "a\x00b"}), "line 4: Text may not hold NUL"),
    "no room": (at(4, room="r1"), "line 4: 'r1' is no room's id"),
    "erased with an actor": (at(4, version=0, data={}), "line 4: of an erased event no command is known"),
    "a huge number": (at(4, fingerprint=2**40), "line 4: a fingerprint has four bytes"),
    "no moment": (at(4, at="yesterday"), "line 4: not a line of a log"),
    "no zone": (at(4, at="2026-01-01T00:00:00"), "line 4: a moment has a zone"),
    "another kind of line": (at(4, line="secret"), "line 4: not a line of a log"),
    "a number for a line": (lambda lines: lines.insert(2, cast("Any", 7)), "line 3: not a line of a log"),
    "more events than there are": (lambda lines: lines[-1].update(events=1), "of 1 events and"),
    "more after the end": (lambda lines: lines.append(lines[-1]), "there is more after the last line"),
}


async def test_what_no_log_has_written_is_refused_by_its_line_and_nothing_wrong_of_it_stored(
    hostile_file: bytes, other_url: str
):
    for name, (change, message) in HOSTILE.items():
        lines = decode(hostile_file)
        change(lines)
        with pytest.raises(ImportRefused) as caught:
            await imported(other_url, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        assert message in str(caught.value), name
        # The room in hand is stored as far as it was whole, or not at all.
        stored = await tables(other_url)
        assert len(stored[0]) in {0, 11}, name
        async with connected(other_url) as connection:
            await projections.rebuild(connection)
        assert await tables(other_url) == stored, name


@pytest.fixture
async def hostile_file(database_url: str) -> bytes:
    async with running_writer(database_url) as (writer, _):
        await conversation(writer, renames=False)
    return await exported(database_url)


async def test_a_line_that_is_no_json_or_too_long_is_refused(hostile_file: bytes, other_url: str):
    start = b"".join(hostile_file.splitlines(keepends=True)[:3])
    tails = (b"{" * 5000 + b"\n", b"\xff\xfe\n", b'"' + b"x" * (MAX_LINE + 5) + b'"\n', b"\n", b"[1e400]\n", b"{")
    for tail in tails:
        opened = io.BytesIO(start + tail)
        async with connected(other_url) as connection:
            with pytest.raises(ImportRefused, match=r"^line 4: "):
                await Importer(connection, lambda *_: None).run(iter(partial(opened.readline, MAX_LINE), b""))
            assert await connection.fetchval("SELECT count(*) FROM chat.events") == 0


async def test_another_event_in_the_same_place_is_refused_by_name(
    database_url: str, other_url: str, hostile_file: bytes
):
    await imported(other_url, hostile_file)
    async with running_writer(database_url) as (here, _), running_writer(other_url) as (there, _):
        async with connected(database_url) as connection:
            room = public_room_id(await connection.fetchval("SELECT room_id FROM chat.rooms"))
        await say(here, room, "here", BEN)
        await say(there, room, "there", BEN)
    before = await tables(other_url)
    with pytest.raises(ImportRefused, match=f"room {room} has another event 12"):
        await imported(other_url, await exported(database_url))
    assert await tables(other_url) == before


async def test_a_file_of_another_log_is_refused_where_there_are_events_or_writers(
    database_url: str, other_url: str, hostile_file: bytes
):
    async with running_writer(other_url) as (writer, _):
        with pytest.raises(ImportRefused, match="stop all chats"):
            await imported(other_url, hostile_file)
        await conversation(writer)
    before = await tables(other_url)
    with pytest.raises(ImportRefused, match="of another log"):
        await imported(other_url, hostile_file)
    assert await tables(other_url) == before

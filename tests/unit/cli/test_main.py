"""The command line: expected failures are one line and exit code 1."""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version
from pathlib import Path

import asyncpg
from typer.testing import CliRunner

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.cli.main import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def execute(url: str, *statements: str) -> None:
    async def connect() -> None:
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
            for statement in statements:
                await pool.execute(statement)

    asyncio.run(connect())


def test_version_is_that_of_the_distribution() -> None:
    assert run("--version") == (0, f"parley {version('parley-cli')}\n")


def test_migrate_brings_an_empty_database_up_to_date_and_may_run_again(postgres_url: str) -> None:
    execute(postgres_url, "CREATE DATABASE to_migrate")
    url = postgres_url.replace("/postgres?", "/to_migrate?")
    for _ in range(2):
        assert run("migrate", "--database-url", url) == (0, "The database is up to date.\n")
    execute(url, "SELECT FROM chat.events", "SELECT FROM auth.users")
    execute(postgres_url, "DROP DATABASE to_migrate")


def test_rebuild_makes_the_projections_anew_and_says_how_many_rooms(postgres_url: str) -> None:
    execute(postgres_url, "CREATE DATABASE to_rebuild")
    url = postgres_url.replace("/postgres?", "/to_rebuild?")
    code, output = run("rebuild", "--database-url", url)
    assert (code, output.splitlines()[-1]) == (1, "parley: the database holds no log yet; run `parley migrate` first")
    run("migrate", "--database-url", url)
    execute(
        url,
        """INSERT INTO chat.events
           (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id, fingerprint, data,
            recorded_at)
           VALUES (1, 1, 0, gen_random_uuid(), 1, 1, 'u1', 'Ann', 'c1', 0, '{"name": "Room", "kind": "public"}',
                   now())""",
    )
    code, output = run("rebuild", "--database-url", url)
    assert (code, output.splitlines()[-1]) == (0, "Compared 1 rooms with the log, and mended 2 rows.")
    execute(url, "UPDATE chat.rooms SET head = head + 1 WHERE room_id = 1 AND head = 1 AND member_count = 1")
    execute(postgres_url, "DROP DATABASE to_rebuild")


def test_restored_gives_the_log_another_incarnation(postgres_url: str) -> None:
    execute(postgres_url, "CREATE DATABASE to_restore")
    url = postgres_url.replace("/postgres?", "/to_restore?")
    assert run("restored", "--database-url", url)[0] == 1
    run("migrate", "--database-url", url)
    outputs = {run("restored", "--database-url", url) for _ in range(2)}
    assert {code for code, _ in outputs} == {0}
    assert len(outputs) == 2
    assert all(output.startswith("The log is ") for _, output in outputs)
    execute(postgres_url, "DROP DATABASE to_restore")


def test_erase_says_what_it_erased_and_what_there_is_not(postgres_url: str, tmp_path: Path) -> None:
    execute(postgres_url, "CREATE DATABASE to_erase")
    url = postgres_url.replace("/postgres?", "/to_erase?")
    run("migrate", "--database-url", url)
    execute(
        url,
        """INSERT INTO chat.rooms (room_id, head, messages, changed, created_at, name, kind, created_by)
           VALUES (1, 1, 1, 1, now(), 'R', 'public', 'u1')""",
        """INSERT INTO chat.events
           (room_id, sequence, number, event_id, type, version, actor_id, actor_name, command_id, fingerprint, data,
            recorded_at)
           VALUES (1, 1, 1, gen_random_uuid(), 5, 1, 'u1', 'Ann', 'c1', 0, '{"body": "secret"}', now())""",
    )
    room = public_room_id(1)
    ledger = tmp_path / "erasures.jsonl"
    where = ("--database-url", url, "--ledger", str(ledger))
    assert run("erase", "message", room, "2", *where) == (1, "parley: There is no such message.\n")
    assert run("erase", "room", "r1", *where) == (1, "parley: There is no such room.\n")
    nowhere = ("--database-url", url, "--ledger", str(tmp_path / "no" / "ledger"))
    code, output = run("erase", "user", "u1", *nowhere)
    assert (code, "does not exist" in output) == (1, True)
    assert not ledger.exists()
    code, output = run("erase", "message", room, "1", *where)
    assert (code, output.splitlines()[-1]) == (0, "Erased 1 events.")
    code, output = run("erase", "user", "u1", *where)
    assert (code, output.splitlines()[-1]) == (0, "Erased 0 events.")
    assert len(ledger.read_text().splitlines()) == 2
    # A database that knows of none of that: it was restored.
    execute(url, "DELETE FROM chat.erasures")
    code, output = run("restored", "--database-url", url, "--ledger", str(ledger))
    assert (code, output.splitlines()[-1]) == (0, "Executed 2 erasures again.")
    ledger.write_text("not JSON\n")
    code, output = run("restored", "--database-url", url, "--ledger", str(ledger))
    assert (code, output.startswith("parley: line 1 of the erasure ledger ")) == (1, True)
    assert all(what in run("erase", "--help")[1] for what in ("user", "message", "room"))
    execute(postgres_url, "DROP DATABASE to_erase")


def test_migrate_says_in_one_line_that_no_database_answers(tmp_path: Path) -> None:
    code, output = run("migrate", "--wait", "0", "--database-url", f"postgresql://postgres@/x?host={tmp_path}")
    assert code == 1
    assert output.startswith("parley: the database did not answer within 0 s: ")
    assert output.count("\n") == 1


def test_migrate_does_not_wait_for_a_database_that_refuses(postgres_url: str) -> None:
    code, output = run("migrate", "--database-url", postgres_url.replace("/postgres?", "/missing?"))
    assert code == 1
    assert output == 'parley: the database refuses: database "missing" does not exist\n'


def test_a_migration_needs_a_name() -> None:
    code, output = run("migration", " ")
    assert code == 1
    assert output.startswith("parley: say what the migration does")


def test_up_on_a_taken_port_starts_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run("up", "--port", str(port), "--data", str(tmp_path / "data"))
    assert code == 1
    assert output == f"parley: cannot listen on 127.0.0.1 port {port}: Address already in use; --port takes another\n"
    assert not (tmp_path / "data" / "postgres").exists()

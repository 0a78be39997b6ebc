"""What errors of Postgres mean: few are a statement's own fault, and an outage is told once, not once per request."""

from __future__ import annotations

import socket
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from parley.auth import database as auth_database
from parley.chat.log import database as chat_database
from parley.common.process import outage_log
from parley.common.process.dead_peers import notice_dead_peer
from parley.common.process.outage_log import OutageLog
from parley.common.sqlstate import Fault, fault_of_state

STATEMENT, CONFLICT, OUTAGE = Fault.STATEMENT, Fault.CONFLICT, Fault.OUTAGE
ERRORS: list[tuple[Exception, Fault]] = [
    (asyncpg.CharacterNotInRepertoireError(), STATEMENT),
    (asyncpg.NumericValueOutOfRangeError(), STATEMENT),
    (asyncpg.CheckViolationError(), STATEMENT),
    (asyncpg.ProgramLimitExceededError(), STATEMENT),
    (asyncpg.DataError("an argument of another type"), STATEMENT),
    (asyncpg.UniqueViolationError(), CONFLICT),
    (asyncpg.SerializationError(), CONFLICT),
    (asyncpg.DeadlockDetectedError(), CONFLICT),
    (asyncpg.CannotConnectNowError("the database system is in recovery mode"), OUTAGE),
    (asyncpg.QueryCanceledError(), OUTAGE),
    (asyncpg.LockNotAvailableError(), OUTAGE),
    (asyncpg.ReadOnlySQLTransactionError(), OUTAGE),
    (asyncpg.DiskFullError(), OUTAGE),
    (asyncpg.OutOfMemoryError(), OUTAGE),
    (asyncpg.IdleInTransactionSessionTimeoutError(), OUTAGE),
    (asyncpg.AdminShutdownError(), OUTAGE),
    (asyncpg.InvalidPasswordError(), OUTAGE),
    (asyncpg.UndefinedTableError(), OUTAGE),
    (asyncpg.InternalClientError("cannot switch to state 15"), OUTAGE),
    (asyncpg.InterfaceError("connection is closed"), OUTAGE),
    (ConnectionResetError(), OUTAGE),
    (TimeoutError(), OUTAGE),
]


@pytest.mark.parametrize(("error", "fault"), ERRORS, ids=lambda each: type(each).__name__)
def test_only_data_constraints_and_limits_are_a_statements_own_fault(error: Exception, fault: Fault):
    assert isinstance(error, chat_database.DATABASE_ERRORS)
    assert chat_database.fault_of(error) is fault
    assert auth_database.fault_of(error) is fault
    # As SQLAlchemy wraps it: its own error holds its adapter's, which was raised from the driver's.
    adapter = Exception()
    adapter.__cause__ = error
    assert auth_database.fault_of(DBAPIError("", None, adapter)) is fault


def test_an_error_that_is_not_the_databases_is_nobodys_fault_there():
    assert auth_database.fault_of(KeyError()) is None


def test_a_future_class_of_errors_is_an_outage_until_somebody_knows_better():
    assert fault_of_state("Z9999") is OUTAGE
    assert fault_of_state(None) is OUTAGE


class RecordingLog:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, message: str, **fields: Any) -> None:
        self.lines.append({"message": message, **fields})


def test_an_outage_is_logged_at_once_and_then_now_and_then(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(outage_log.time, "monotonic", lambda: now)
    log = RecordingLog()
    outages = OutageLog(log, "away")
    for _ in range(500):
        outages.note(ConnectionResetError("reset"), commands=2)
    now += 11
    outages.note("still")
    assert log.lines == [
        {"message": "away", "error": "ConnectionResetError: reset", "unsaid": 0, "commands": 2},
        {"message": "away", "error": "still", "unsaid": 499},
    ]


def test_the_kernel_asks_a_silent_peer_within_seconds_whether_it_is_there():
    with socket.socket() as tcp:
        notice_dead_peer(tcp)
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 11_000
    with socket.socket(socket.AF_UNIX) as local:
        notice_dead_peer(local)
    notice_dead_peer(None)

"""What is published on a subject is done to what that subject stands for, and to nothing else."""

from __future__ import annotations

import pytest

from parley.common.wire import subjects
from parley.common.wire.operations import (
    AnyOperation,
    Disconnect,
    Emit,
    Kick,
    ListConnections,
    Recheck,
    RenewAddressBans,
    Selection,
)
from parley.gateway.operations.operations import _misdirected

INBOX = subjects.inbox("poll", subjects.GATEWAY_ANSWERS)


def name_of(value: object) -> str:
    """Name a case without its inbox, which is another one in every process."""
    return value if isinstance(value, str) else type(value).__name__


POLL, CHAT, ALL = (Selection(namespace) for namespace in ("/poll", "/chat", ""))


@pytest.mark.parametrize(
    ("namespace", "operation"),
    [
        ("/poll", Emit(POLL, "", "event", b"[]")),
        ("/poll", Disconnect(POLL, INBOX, close=True)),
        ("", Kick(ALL, INBOX, "kicked", "spam")),
        ("", Kick(ALL, subjects.kicked("k_1"), "kicked", "spam")),
        ("", ListConnections(ALL, INBOX, 10)),
        ("", Recheck(ALL, INBOX)),
    ],
    ids=name_of,
)
def test_what_a_subject_stands_for_is_done(namespace: str, operation: AnyOperation):
    assert _misdirected(operation, namespace) is None


@pytest.mark.parametrize(
    ("namespace", "operation"),
    [
        ("/poll", Emit(CHAT, "", "event", b"[]")),
        ("/poll", Disconnect(CHAT, INBOX, close=True)),
        ("/poll", Kick(ALL, INBOX, "kicked", "spam")),
        # They look at no namespace, so its name is no excuse.
        ("/poll", Kick(Selection("/poll", user_id="ann"), INBOX, "kicked", "spam")),
        ("/poll", ListConnections(POLL, INBOX, 10)),
        ("/poll", Recheck(POLL, INBOX)),
        ("/poll", RenewAddressBans(POLL, INBOX)),
        ("", ListConnections(ALL, subjects.kicked("k_1"), 10)),
        ("", Kick(ALL, subjects.KICK_REPORTS, "kicked", "spam")),
        ("", Emit(CHAT, "", "event", b"[]")),
        # A gateway may publish commands; whoever asks it for something may not have it do so.
        ("/poll", Disconnect(POLL, subjects.commands("/chat"), close=True)),
        ("/poll", Disconnect(POLL, subjects.inbox("gateway", "auth"), close=True)),
    ],
    ids=name_of,
)
def test_anything_else_is_not(namespace: str, operation: AnyOperation):
    assert _misdirected(operation, namespace) is not None

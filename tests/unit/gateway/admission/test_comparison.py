"""Which connections a service is told to be gone, and whom it has given up on without cause."""

from __future__ import annotations

from typing import Any, cast

from parley.common.wire.connections import CompareConnections
from parley.common.wire.disconnects import DisconnectReason
from parley.common.wire.identity import Identity
from parley.gateway.admission.comparison import Comparison
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry


async def test_who_is_not_here_is_gone_and_who_is_here_though_seen_off_is_ended():
    registry, end_presumed_gone = ConnectionRegistry(), list[str]()
    for sid, namespace, ended in (
        ("here", "/chat", None), ("other", "/p2p", None), ("over", "/chat", DisconnectReason.SHUTDOWN),
        ("left", "/chat", None),
    ):  # fmt: skip
        connection = Connection(sid, cast("Any", None), namespace, Identity(f"u_{sid}", sid), 0.0)
        connection.end_reason = ended
        registry.add(connection)
    comparison = Comparison(cast("Any", None), registry, lambda connection: end_presumed_gone.append(connection.sid))
    question = CompareConnections("/chat", ["here", "other", "over", "nobody"], ["left", "never"])
    answer = await comparison._compare(question)
    assert answer.gone == ["other", "over", "nobody"]
    assert end_presumed_gone == ["left"]

"""Commands in the input budget: a connection's few small ones are free, all others count until they are settled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from parley.common.wire.identity import Identity
from parley.engineio.reading import InputBudget
from parley.gateway.commands.command_budget import COMMAND_OVERHEAD, UNCOUNTED_COMMAND_BYTES, CommandBudget
from parley.gateway.connections.connection import Connection


def connection(address: str = "192.0.2.1") -> Connection:
    session = cast("Any", SimpleNamespace(address=address))
    return Connection("sid", session, "/chat", Identity("u", "U"), 0.0)


def test_a_few_small_commands_are_not_counted():
    budget, one = InputBudget(2**20, 0), connection()
    commands = CommandBudget(budget)
    for _ in range(UNCOUNTED_COMMAND_BYTES // (COMMAND_OVERHEAD + 100)):
        assert commands.take(one, 100)
    assert budget.held == 0


def test_many_small_commands_are_counted():
    budget, one = InputBudget(2**20, 0), connection()
    commands = CommandBudget(budget)
    taken = 0
    while commands.take(one, 0):
        taken += 1
    # Half of the share of an address, which is an eighth.
    assert taken * COMMAND_OVERHEAD <= 2**20 // 16
    assert budget.held == taken * COMMAND_OVERHEAD


def test_one_address_leaves_room_for_others():
    commands = CommandBudget(InputBudget(2**20, 0))
    while commands.take(connection(), 20_000):
        pass
    assert commands.take(connection("192.0.2.2"), 20_000)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40_000), st.booleans())))
def test_nothing_is_counted_when_all_is_settled(commands_taken: list[tuple[int, int, bool]]):
    budget = InputBudget(2**20, 0)
    commands, connections = CommandBudget(budget), [connection(), connection(), connection("192.0.2.2")]
    waiting: list[tuple[Connection, int]] = []
    for index, size, own in commands_taken:
        one = connections[index]
        if own:
            commands.add(one, size)
        elif not commands.take(one, size):
            continue
        waiting.append((one, size))
        assert budget.held == sum(one.held for one in connections)
        assert all(one.held <= one.unsettled for one in connections)
    for one, size in waiting:
        commands.give_back(one, size)
        assert budget.held == sum(one.held for one in connections)
    assert budget.held == 0
    assert all(one.unsettled == one.held == 0 for one in connections)

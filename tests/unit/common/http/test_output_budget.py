"""What clients leave unread has a bound in sum: who fills it loses it, and slow clients elsewhere stay."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from parley.common.http.output_budget import AT_ONCE, SHARES, SMALL_UNREAD_BYTES, OutputBudget

KIB = 1024
MIB = 1024 * KIB


class Slow:
    """A client that reads slowly, or not at all."""

    def __init__(self, owner: Owner, address: str) -> None:
        self.owner = owner
        self.address = address
        self.size = 0
        self.over = False

    def gets(self, size: int) -> None:
        self.size += size
        self.owner.budget.count(self, self.address, self.size)

    def unread(self) -> int:
        return self.size

    def cut_off(self) -> None:
        self.over, self.size = True, 0
        # Transports report once more when they are closed.
        self.owner.budget.count(self, self.address, 0)


class Owner:
    """The budget, and a loop."""

    def __init__(self, total: int, largest: int = MIB) -> None:
        self.soon: list[Callable[[], None]] = []
        self.cut = 0
        self.budget = OutputBudget(total, largest=largest, call_soon=self.soon.append, cut=self.count_cut)

    def count_cut(self) -> None:
        self.cut += 1

    def turn(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()

    def turns(self) -> None:
        while self.soon:
            self.turn()


def test_an_address_that_leaves_more_than_its_share_unread_loses_its_largest_and_nobody_else_does():
    owner = Owner(128 * MIB)
    honest, neighbour = Slow(owner, "honest"), Slow(owner, "attacker")
    honest.gets(900 * KIB)
    neighbour.gets(300 * KIB)
    attackers = [Slow(owner, "attacker") for _ in range(500)]
    for attacker in attackers:
        attacker.gets(MIB)
    owner.turns()
    assert not honest.over
    assert not neighbour.over, "of one address, who leaves most goes first"
    left = [attacker for attacker in attackers if not attacker.over]
    assert len(left) == 128 // SHARES - 1
    assert owner.cut == 500 - len(left)
    assert owner.budget.held <= 128 * MIB // SHARES + MIB


def test_of_many_addresses_those_that_leave_most_pay_for_the_whole():
    owner = Owner(16 * MIB)
    honest = [Slow(owner, f"honest {number}") for number in range(8)]
    for each in honest:
        each.gets(200 * KIB)
    attackers = [Slow(owner, f"attacker {number // 3}") for number in range(60)]
    for attacker in attackers:
        attacker.gets(MIB)
    owner.turns()
    assert not any(each.over for each in honest)
    assert owner.budget.held <= 16 * MIB


def test_who_has_read_meanwhile_is_not_cut_off():
    owner = Owner(16 * MIB)
    reading = [Slow(owner, "here") for _ in range(20)]
    for each in reading:
        each.gets(MIB)
        each.size = 0
    owner.turns()
    assert not any(each.over for each in reading)
    assert owner.budget.held == 0


def test_modest_holders_are_not_counted():
    owner = Owner(16 * MIB)
    for number in range(5000):
        Slow(owner, f"{number % 3}").gets(SMALL_UNREAD_BYTES)
    assert owner.budget.held == 0
    assert not owner.soon


def test_nobody_is_cut_off_in_the_middle_of_sending_and_not_all_in_one_turn():
    owner = Owner(4 * MIB)
    attackers = [Slow(owner, "attacker") for _ in range(200)]
    for attacker in attackers:
        attacker.gets(MIB)
    assert not owner.cut
    owner.turn()
    assert 0 < owner.cut <= AT_ONCE
    owner.turns()
    assert owner.budget.held <= 4 * MIB


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2 * MIB), st.booleans()), max_size=60))
def test_after_every_turn_nothing_exceeds_its_bound(steps: list[tuple[int, int, bool]]):
    owner = Owner(6 * MIB, largest=MIB // 2)
    clients = [Slow(owner, f"{number % 4}") for number in range(12)]
    for number, size, reads in steps:
        client = clients[number]
        if client.over:
            continue
        if reads:
            client.size = 0
        client.gets(size)
        owner.turns()
        counted = [each for each in clients if each.size > SMALL_UNREAD_BYTES]
        assert owner.budget.held == sum(each.size for each in counted) <= 6 * MIB
        for address in ("0", "1", "2", "3"):
            assert sum(each.size for each in counted if each.address == address) <= 2 * MIB

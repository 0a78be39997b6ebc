"""Parts that are cut off, stand still or come back under their old name: afterwards everything is right within 5 s.

Meanwhile who asks is told truthfully what is not known. Faults of half a minute are tried with `TEST_LONG_FAULTS=1`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from parley.framework.serving.held_connections import GATEWAY_TIMEOUTS
from tests.support.clients.conversation import make_room
from tests.support.clients.people import HasUrl, People
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.ledger import Ledger, Person
from tests.support.proxy import Proxy
from tests.support.readiness import is_not_ready
from tests.support.services.presence_service import NAMESPACE as PRESENCE
from tests.support.stack.fault_stack import FaultStack, sleep_until
from tests.support.stack.stack import Process
from tests.support.waiting import until

SILENT_AFTER = GATEWAY_TIMEOUTS.silent_after
HEALING = 5.0
"""Seconds after a fault in which all must be right again."""
LONG = pytest.mark.skipif(not os.environ.get("TEST_LONG_FAULTS"), reason="takes a minute: TEST_LONG_FAULTS=1")


@pytest.fixture(scope="module")
async def running(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FaultStack]:
    async with FaultStack.running(postgres_url, template_database, tmp_path_factory.mktemp("faults")) as stack:
        yield stack


@pytest.fixture
async def stack(running: FaultStack) -> AsyncIterator[FaultStack]:
    """The stack without faults, before and after."""
    await running.healed()
    yield running
    await running.healed()


@pytest.fixture
async def crowd(stack: FaultStack) -> AsyncIterator[People]:
    everybody = People(stack, registered=False)
    yield everybody
    await everybody.stop()


async def person(people: People, name: str, gateway: HasUrl, kind: str = "python") -> Person:
    """A user with a connected client."""
    client, account = await people.join(name, gateway=gateway, kind=kind)
    return Person(client, account)


async def room_of(owner: Person, *members: Person) -> Ledger:
    """A room, and its ledger from now on."""
    room = await make_room(owner.client, *(member.client for member in members))
    for member in (owner, *members):
        member.member = True
    return Ledger(room, [owner, *members])


@dataclass(frozen=True)
class Fault:
    """How long a gateway is away from NATS, or stands still, and after what time things happen to its users."""

    kind: str
    seconds: float
    acts_after: float

    @property
    def seen_off(self) -> bool:
        """Whether services take the gateway for gone: nobody listens at its address. Its clients come back then."""
        return self.kind != "stopped" and self.acts_after >= SILENT_AFTER

    @asynccontextmanager
    async def of(self, stack: FaultStack, gateway: Process) -> AsyncGenerator[None]:
        """Make it, let the block happen, and heal when its time is over."""
        until = time.monotonic() + self.seconds
        if self.kind == "cut":
            stack.proxy(gateway).cut()
        elif self.kind == "frozen":
            stack.proxy(gateway).freeze()
        else:
            stack.stall(gateway)
        try:
            await asyncio.sleep(self.acts_after)
            yield
            await sleep_until(until)
        finally:
            if self.kind == "stopped":
                stack.resume(gateway)
            else:
                stack.proxy(gateway).mend()


FAULTS = [
    pytest.param(Fault("cut", 2, 0.2), id="NATS cut for 2 s"),
    pytest.param(Fault("cut", 5, 3.2), id="NATS cut for 5 s"),
    pytest.param(Fault("frozen", 3, 0.2), id="NATS frozen for 3 s"),
    pytest.param(Fault("stopped", 4, 3.2), id="stopped for 4 s"),
    pytest.param(Fault("cut", 30, 15), id="NATS cut for 30 s", marks=LONG),
    pytest.param(Fault("frozen", 30, 15), id="NATS frozen for 30 s", marks=LONG),
    # python-engineio gives up after 30 s in which it had nothing to send.
    pytest.param(Fault("stopped", 25, 15), id="stopped for 25 s", marks=LONG),
]


async def ended(someone: Person, code: str, healed_at: float) -> None:
    """Wait until a client was told why and was parted from."""
    client = someone.client
    left = max(0.1, healed_at + HEALING - time.monotonic())
    await client.until(lambda: client.of("kicked"), f"kicked {code}, {HEALING} s after the fault", left)
    assert client.of("kicked")[0]["code"] == code
    await client.until(lambda: client.disconnects, "the end", max(1.0, healed_at + HEALING - time.monotonic()))


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_happened_to_the_users_of_a_gateway_that_was_away_is_true_within_5_seconds(
    stack: FaultStack, crowd: People, fault: Fault
):
    away, here = stack.gateways
    owner = await person(crowd, "owner", here)
    ann, bob, cid, dan = await asyncio.gather(*(person(crowd, n, away) for n in ("ann", "bob", "cid", "dan")))
    ledger = await room_of(owner, dan)
    ledger.people.append(cid)
    present = await asyncio.gather(
        *(
            crowd.join(name, gateway=at, namespace=PRESENCE)
            for name, at in (("eve", away), ("fay", away), ("gil", here))
        )
    )
    (eve, _), (fay, _), (gil, _) = present
    await stack.presence.shows([eve, fay, gil], timeout=2)

    async with fault.of(stack, away):
        answers = await asyncio.gather(
            stack.admin("POST", f"/users/{ann.user}/ban", reason="spam"),
            stack.admin("POST", f"/users/{bob.user}/kick", reason="loud"),
            stack.admin("GET", f"/users/{ann.user}/connections"),
        )
        for _ in range(3):
            await ledger.say(owner)
        joins = await stack.rest(stack.chats[0], cid.account, "POST", f"/rooms/{ledger.room}/join")
        leaves = await stack.rest(stack.chats[1], dan.account, "POST", f"/rooms/{ledger.room}/leave")
        cid.member, dan.member = True, False
        ledger.joined |= {"cid": joins["sequence"], "dan": leaves["sequence"]}
        await ledger.say(owner)
        await eve.stop()
    healed_at = time.monotonic()
    unanswered = [answer["unanswered"] for answer in answers]
    faults: list[str] = [] if unanswered == [[away.name]] * 3 else [f"unanswered: {unanswered}"]
    for check in (
        ended(ann, "banned", healed_at),
        ended(bob, "kicked", healed_at),
        stack.presence.shows([fay, gil], absent=[eve], timeout=HEALING),
        ledger.agrees(timeout=HEALING),
    ):
        try:
            await check
        except AssertionError as error:
            faults.append(str(error)[:400])
    assert not faults, "\n".join(faults)
    assert not gil.disconnects
    assert len(fay.connects) == (2 if fault.seen_off else 1)


async def test_a_ban_that_no_gateway_hears_names_them_all_and_takes_effect_afterwards(stack: FaultStack, crowd: People):
    ann = await person(crowd, "ann", stack.gateways[0])
    for gateway in stack.gateways:
        stack.proxy(gateway).cut()
    answer = await stack.admin("POST", f"/users/{ann.user}/ban", reason="spam")
    for gateway in stack.gateways:
        stack.proxy(gateway).mend()
    assert (answer["disconnected"], len(answer["unanswered"])) == (0, 2)
    await ended(ann, "banned", time.monotonic())


async def test_services_that_stand_still_lose_nothing_and_declare_nobody_gone(stack: FaultStack, crowd: People):
    one = await person(crowd, "one", stack.gateways[0])
    two = await person(crowd, "two", stack.gateways[1], kind="js" if HAS_JS_CLIENT else "python")
    ledger = await room_of(one, two)
    present = await asyncio.gather(
        *(crowd.join(f"here{n}", gateway=stack.gateways[n % 2], namespace=PRESENCE) for n in range(4))
    )
    left, *staying = [client for client, _ in present]
    await stack.presence.shows([left, *staying], timeout=2)
    late = await crowd.account("late")

    still = [stack.chats[0], stack.auth, stack.presence]
    for process in still:
        stack.stall(process)
    until = time.monotonic() + 4
    attempt = asyncio.create_task(crowd.attempt({"token": late["access_token"]}))
    talking = [asyncio.create_task(ledger.say(who)) for who in (one, two) for _ in range(5)]
    await left.stop()
    await sleep_until(until)
    for process in still:
        stack.resume(process)

    await stack.presence.shows(staying, absent=[left], timeout=HEALING)
    await asyncio.gather(*talking)
    await (await attempt).connected()
    await ledger.agrees()
    for client in staying:
        assert not client.disconnects
        answer = await client.emit("slow", 0)
        assert answer["ok"], answer
    await stack.presence.shows(staying, absent=[left], timeout=1)


async def test_no_ack_of_an_earlier_run_reaches_a_client_of_the_next_one(stack: FaultStack, crowd: People):
    gateway = stack.gateways[0]
    # Two young runs, so that whatever is counted in each would have the same numbers.
    await gateway.restart(signal.SIGKILL)
    before = len(stack.presence.notes("slow"))
    alices = [(await crowd.join("alice", gateway=gateway, namespace=PRESENCE))[0] for _ in range(3)]
    lost = [asyncio.create_task(alice.emit("slow", 3.5, timeout=4)) for alice in alices]
    await until(
        lambda: len(stack.presence.notes("slow")) >= before + len(lost),
        "the service begins with all of them",
        seconds=5,
    )
    await gateway.restart(signal.SIGKILL)
    for alice in alices:
        await alice.stop()
    mallories = [await crowd.join("mallory", gateway=gateway, namespace=PRESENCE) for _ in range(3)]
    answers = await asyncio.gather(*(client.emit("slow", 3, timeout=10) for client, _ in mallories for _ in range(2)))
    assert answers == [{"ok": True, "user": account["user_id"]} for _, account in mallories for _ in range(2)]
    for task in lost:
        task.cancel()
    await asyncio.gather(*lost, return_exceptions=True)


async def test_a_second_gateway_under_the_same_name_is_refused_and_the_first_goes_on(stack: FaultStack, crowd: People):
    first = stack.gateways[0]
    client, _ = await crowd.join(gateway=first, namespace=PRESENCE)
    second = Process("gateway", dict(first._environment), stack.directory, first.name)
    second.start()
    try:
        code = await asyncio.wait_for(asyncio.to_thread(second._process.wait, 8), 10)  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - it goes on, under whatever error
        code = None
    finally:
        second.kill()
    assert (await client.emit("slow", 0))["ok"]
    assert not client.disconnects
    assert code, f"a second {first.name} runs: {code}"
    assert first.name in second.log()


@asynccontextmanager
async def stale_answer(stack: FaultStack, users: list[Person]) -> AsyncGenerator[None]:
    """During the block the first gateway has asked for memberships anew, and the answer of before is on its way."""
    first, second = (stack.proxy(chat) for chat in stack.chats)
    second.cut()
    await until(lambda: is_not_ready(stack.chats[1].url), "the second chat has noticed")
    first.forget()
    first.hold("up")
    stack.proxy(stack.gateways[0]).flap()
    for someone in users:
        await first.carries("down", someone.user.encode())
    second.mend()
    await stack.chats[1].ready()
    yield
    first.release("up")
    await first.passed("up")
    # Time for it to do its harm: some round trips through the gateway that it came to.
    for someone in users * 5:
        await someone.client.emit("rooms", {})


async def moves_on_time(stack: FaultStack, ledger: Ledger, user: Person, how: str) -> None:
    """A user joins or leaves by the second chat, and the first gateway is told so at once."""
    link = stack.proxy(stack.gateways[0])
    link.forget()
    answer = await stack.rest(stack.chats[1], user.account, "POST", f"/rooms/{ledger.room}/{how}")
    ledger.joined[user.user], user.member = answer["sequence"], how == "join"
    await link.carries("down", ledger.room.encode())


async def test_an_old_answer_does_not_undo_a_join(stack: FaultStack, crowd: People):
    owner = await person(crowd, "owner", stack.gateways[1])
    users = await asyncio.gather(*(person(crowd, "late", stack.gateways[0]) for _ in range(4)))
    ledger = await room_of(owner)
    ledger.people += users
    async with stale_answer(stack, users):
        for user in users:
            await moves_on_time(stack, ledger, user, "join")
    await ledger.say(owner)
    await ledger.agrees()


async def test_an_old_answer_does_not_undo_a_leave(stack: FaultStack, crowd: People):
    owner = await person(crowd, "owner", stack.gateways[1])
    users = await asyncio.gather(*(person(crowd, "gone", stack.gateways[0]) for _ in range(4)))
    ledger = await room_of(owner, *users)
    for _ in range(3):
        await ledger.say(owner)
    async with stale_answer(stack, users):
        for user in users:
            await moves_on_time(stack, ledger, user, "leave")
    for _ in range(3):
        await ledger.say(owner)
    await ledger.agrees()


async def test_a_late_notice_of_a_join_does_not_let_in_who_has_left(stack: FaultStack, crowd: People):
    owner = await person(crowd, "owner", stack.gateways[1])
    gone = await person(crowd, "gone", stack.gateways[0])
    ledger = await room_of(owner)
    ledger.people.append(gone)
    link = stack.proxy(stack.chats[0])
    link.hold_from("up", b"member.joined")
    joins = await stack.rest(stack.chats[0], gone.account, "POST", f"/rooms/{ledger.room}/join")
    await until(lambda: link.held("up"), "the join is held up", seconds=3)
    link.detach()
    leaves = await stack.rest(stack.chats[1], gone.account, "POST", f"/rooms/{ledger.room}/leave")
    ledger.joined |= {"join": joins["sequence"], "leave": leaves["sequence"]}
    await gone.client.stop()
    again = await crowd.attempt({"token": gone.account["access_token"]}, gateway=stack.gateways[0])
    await again.connected()
    await link.deliver()
    for _ in range(20):  # Time for it to do its harm.
        await again.emit("rooms", {})
    await ledger.say(owner)
    await owner.client.until(lambda: ledger.heard(owner)[-1:] == [max(ledger.acked.values())], "the message")
    await again.emit("rooms", {})
    # The join and the leave themselves were theirs to see; nothing after them is.
    assert {event["sequence"] for event in again.logged(ledger.room)} <= set(ledger.joined.values()), "not a member"


async def test_a_client_that_only_polls_gets_what_it_missed(stack: FaultStack, crowd: People):
    owner = await person(crowd, "owner", stack.gateways[1])
    away = await person(crowd, "away", stack.gateways[0])
    ledger = await room_of(owner, away)
    seen = away.client.cursors()
    await away.client.stop()
    for _ in range(40):
        await ledger.say(owner)
    auth = {"token": away.account["access_token"], "cursors": seen}
    back = await crowd.attempt(auth, gateway=stack.gateways[0], transports=["polling"])
    await back.connected()
    last = max(ledger.acked.values())
    await back.until(lambda: [e["sequence"] for e in back.logged(ledger.room)][-1:] == [last], "all that it missed", 8)
    assert [e["sequence"] for e in back.logged(ledger.room)] == list(range(last - 39, last + 1))
    assert not back.disconnects


async def test_links_to_clients_and_to_postgres_that_break_or_hang_lose_nothing(stack: FaultStack, crowd: People):
    async with Proxy.running(stack.gateways[0].url) as broken, Proxy.running(stack.gateways[0].url) as hanging:
        owner = await person(crowd, "owner", stack.gateways[1])
        one = await person(crowd, "one", broken)
        two = await person(crowd, "two", hanging, kind="js" if HAS_JS_CLIENT else "python")
        ledger = await room_of(owner, one, two)
        over = asyncio.Event()

        async def talk(someone: Person) -> None:
            while not over.is_set():
                await ledger.say(someone)
                await asyncio.sleep(0.02)

        talking = [asyncio.create_task(talk(someone)) for someone in ledger.people]
        for break_it in (broken.cut, hanging.freeze, *(link.cut for link in stack.databases.values())):
            break_it()
            await asyncio.sleep(0.3)
            await stack.healed()
            for link in (broken, hanging):
                link.mend()
        stack.databases["chat1"].freeze()
        await asyncio.sleep(1)
        await stack.healed()
        over.set()
        await asyncio.gather(*talking)
        await ledger.agrees()
        assert len(one.client.connects) == 2
        assert len(owner.client.connects) == len(two.client.connects) == 1
        await asyncio.gather(one.client.stop(), two.client.stop())

"""What a gateway makes of announcements: it compares what it missed, lets in who joined, begins a restored log anew."""

from __future__ import annotations

from parley.common.wire import subjects
from parley.common.wire.rooms import Announcement, Membership, MembershipChange, RoomEvent, RoomHead
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms.announcement_log import AnnouncementGap, AnnouncementLog, Notices
from tests.support.gateway.rooms import ROOM, Gateway, Log
from tests.support.waiting import until


def announcement(after: str, name: str = "", *, log: str = "one", namespace: str = "/n") -> Announcement:
    """An announcement of no heads."""
    return Announcement(namespace, log, after, name)


async def announce(log: Log, told: Announcement) -> None:
    """Publish an announcement."""
    await log.bus.publish(subjects.announcements(log.namespace), told.encode())
    await log.bus.flush()


def test_a_chain_that_is_heard_whole_has_nothing_missing():
    heard = AnnouncementLog()
    chain = [("a", "b"), ("b", ""), ("b", "c"), ("b", "c"), ("c", ""), ("c", "d")]
    assert [heard.hear(announcement(after, name)) for after, name in chain] == [AnnouncementGap()] * len(chain)
    assert heard.hear(announcement("z", "y", namespace="/other")) == AnnouncementGap()


def test_what_follows_something_else_says_that_it_was_missed():
    heard = AnnouncementLog()
    heard.hear(announcement("a", "b"))
    assert heard.hear(announcement("c", "d")) == AnnouncementGap(missed=True)
    assert heard.hear(announcement("d")) == AnnouncementGap()
    assert heard.hear(announcement("e")) == AnnouncementGap(missed=True), "nothing new since one that was not heard"
    # Two processes said what comes after "e", and only what the one that was replaced said was heard.
    assert heard.hear(announcement("e", "of the stale")) == AnnouncementGap()
    assert heard.hear(announcement("of the other", "next")) == AnnouncementGap(missed=True)


def test_another_log_is_another_history():
    heard = AnnouncementLog()
    heard.hear(announcement("a", "b"))
    assert heard.hear(announcement("b", log="two")) == AnnouncementGap(missed=True, restored=True)
    assert heard.hear(announcement("b", log="two")) == AnnouncementGap()


def test_a_notice_is_given_once_and_not_remembered_for_ever():
    notices = Notices(most=2)
    assert [notices.take("/n", "user:ben", name) for name in ("a", "b", "a")] == [True, True, False]
    assert notices.take("/n", "user:cat", "a")
    assert notices.take("/n", "user:ben", "a"), "the oldest is forgotten"


async def test_a_head_that_is_announced_is_repaired(log: Log, gateway: Gateway, namespace: str):
    log.append(3)
    member = await gateway.member(head=3)
    log.append(2)
    await announce(log, Announcement(namespace, "one", "a", "b", [RoomHead(ROOM, 5), RoomHead("unknown here", 9)]))
    await gateway.receives(member, [4, 5])


async def test_who_missed_an_announcement_compares_all_rooms_and_asks_who_is_where(
    log: Log, gateway: Gateway, namespace: str
):
    asked: list[str] = []
    gateway.fanout.on_missed = lambda: asked.append("memberships")
    log.append(3)
    member = await gateway.member(head=3)
    await announce(log, announcement("a", "b", namespace=namespace))
    log.append(1)  # announced as "c", which is lost
    await announce(log, announcement("c", namespace=namespace))
    await gateway.receives(member, [4])
    assert asked == ["memberships"]


async def test_a_join_that_was_never_published_is_announced_to_who_joined(log: Log, gateway: Gateway, namespace: str):
    """It may be long over, so the service is asked whether its user is a member now."""
    answers = [[Membership(ROOM, 5, 4)]]

    def ask(connection: Connection) -> None:
        mark = gateway.fanout.count_question()
        gateway.fanout.apply_memberships([connection], answers.pop(), asked_at=mark)

    gateway.fanout.hints.on_uncertain_join = ask
    log.append(3)
    connection = await gateway.connect()
    user = connection.identity.user_id
    log.append(1, joins=user)
    log.append(1)
    await announce(log, Announcement(namespace, "one", "", "a", [], [(user, MembershipChange(ROOM, True, 4))]))
    await gateway.receives(connection, [4, 5])
    await announce(log, Announcement(namespace, "one", "a", "b", [], [(user, MembershipChange(ROOM, True, 4))]))
    log.append(1)
    await log.publish(6)
    await gateway.receives(connection, [4, 5, 6])
    assert not answers


async def test_an_old_join_that_is_announced_late_brings_nobody_back(log: Log, gateway: Gateway, namespace: str):
    asked: list[Connection] = []
    gateway.fanout.hints.on_uncertain_join = asked.append
    connection = await gateway.connect()
    user = connection.identity.user_id
    log.append(1, joins=user)
    log.append(1)
    log.append(1, leaves=user)
    changes = [(user, MembershipChange(ROOM, True, 1)), (user, MembershipChange(ROOM, False, 3))]
    await announce(log, Announcement(namespace, "one", "", "a", [RoomHead(ROOM, 3)], changes))
    await until(lambda: bool(asked))
    await gateway.settled()
    assert asked == [connection]
    assert not gateway.sockets.written[connection]


async def test_a_notice_that_is_published_and_announced_is_sent_once(log: Log, gateway: Gateway, namespace: str):
    connection = await gateway.connect()
    user = connection.identity.user_id
    notice = RoomEvent("member.invited", b'{"n": 1}', notice="one")
    await log.deliver(subjects.user_room(user), notice)
    await log.deliver(subjects.user_room(user), RoomEvent("signal", b"{}"), RoomEvent("signal", b"{}"))
    await announce(log, Announcement(namespace, "one", "", "a", notices=[(user, notice)]))
    lost = RoomEvent("member.invited", b'{"n": 2}', notice="two")
    await announce(log, Announcement(namespace, "one", "a", "b", notices=[(user, lost), ("u_elsewhere", lost)]))
    await until(lambda: len(gateway.sockets.written[connection]) >= 4)
    assert [(event, data) for _, event, data in gateway.sockets.written[connection]] == [
        ("member.invited", {"n": 1}), ("signal", {}), ("signal", {}), ("member.invited", {"n": 2}),
    ]  # fmt: skip


async def test_a_restored_log_begins_anew_also_where_its_head_is_higher(log: Log, gateway: Gateway, namespace: str):
    restored: list[str] = []
    gateway.fanout.on_restored = restored.append
    log.append(3)
    member = await gateway.member(head=3)
    await announce(log, announcement("a", "b", namespace=namespace))
    log.append(5)  # of another history: 1, 2 and 3 are others as well
    await announce(log, announcement("b", log="two", namespace=namespace))
    await until(lambda: gateway.sockets.written[member])
    assert gateway.sockets.written[member] == [(namespace, "reset", {"room": ROOM, "sequence": 8})]
    log.append(1)
    await log.publish(9)
    await gateway.receives(member, [9])
    assert restored == [namespace]

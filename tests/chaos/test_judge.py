"""The judge by histories in which something is wrong on purpose: each fault is found, and called by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.history import Answer, Ban, Command, History, Reading, Receipt, Stay, Verified
from tests.chaos.judge import judge
from tests.chaos.story import ROOM, Story, bad
from tests.chaos.streams import judge_stays
from tests.support.room_log import Logged, Member


@pytest.fixture
def story() -> Story:
    """Ann makes a room (1), Ben joins (2), both talk (3-5), Ben leaves (6), Ann talks on (7, 8)."""
    told = Story()
    told.happens("ann", "room.create")
    told.happens("ben", "room.join")
    for user in ("ann", "ben", "ann"):
        told.happens(user, "message.send")
    told.happens("ben", "room.leave")
    for _ in range(2):
        told.happens("ann", "message.send")
    return told


def test_what_is_as_it_must_be_is_good(story: Story):
    verdict = judge(story.history(story.stay("ann", range(1, 9)), story.stay("ben", range(2, 7))))
    assert verdict.good, verdict.findings
    assert verdict.counts["delivery", "good"] == 13
    assert verdict.counts["command", "good"] == 8


def test_an_acked_message_that_is_not_in_the_log_is_lost(story: Story):
    story.commands["x"] = Command("x", "ann", ROOM, "message.send", 8.5, "gone")
    story.answers["x"] = [Answer("x", 8.6, ok=True, sequence=9, event_id="e9")]
    assert bad(judge(story.history())) == {("command", "lost")}


def test_a_message_that_is_twice_in_the_log_is_doubled(story: Story):
    story.log.append(replace(story.log[-1], sequence=9, event_id="e9", number=6))
    assert bad(judge(story.history())) == {("command", "doubled")}


def test_what_is_acked_before_and_logged_after_is_out_of_order(story: Story):
    (seven,), (eight,) = story.answers["c7"], story.answers["c8"]
    story.answers["c7"] = [replace(seven, sequence=8, event_id="e8")]
    story.answers["c8"] = [replace(eight, sequence=7, event_id="e7")]
    story.log[6:] = [
        replace(story.log[7], sequence=7, event_id="e7", number=4),
        replace(story.log[6], sequence=8, event_id="e8", number=5),
    ]
    assert bad(judge(story.history())) == {("command", "out of order")}


def test_what_takes_long_with_nothing_broken_is_late_and_a_fault_excuses_it(story: Story):
    story.answers["c8"] = [replace(story.answers["c8"][0], at=25.0)]
    assert bad(judge(story.history())) == {("command", "late")}
    assert not bad(judge(story.history(faults=[(9.0, 16.0)])))
    assert bad(judge(story.history(faults=[(9.0, 14.0)]))) == {("command", "late")}


def test_what_is_never_answered_is_late(story: Story):
    del story.answers["c8"]
    assert bad(judge(story.history())) == {("command", "late")}


def test_what_was_refused_and_is_in_the_log_is_contradicted(story: Story):
    story.answers["c8"] = [Answer("c8", 8.1, ok=False, code="forbidden")]
    assert bad(judge(story.history())) == {("command", "contradicted")}


def test_an_ack_that_names_another_place_is_contradicted(story: Story):
    story.answers["c8"] = [replace(story.answers["c8"][0], sequence=7)]
    assert bad(judge(story.history())) == {("command", "contradicted")}


def test_another_text_than_was_sent_is_contradicted(story: Story):
    story.log[7] = replace(story.log[7], body="something else", data={"body": "something else"})
    assert bad(judge(story.history())) == {("command", "contradicted")}


def test_a_join_that_is_no_news_must_name_the_one_that_was(story: Story):
    story.commands["x"] = Command("x", "ann", ROOM, "room.join", 8.5)
    story.answers["x"] = [Answer("x", 8.6, ok=True, sequence=1)]
    assert judge(story.history()).good
    story.answers["x"] = [Answer("x", 8.6, ok=True, sequence=2)]
    assert bad(judge(story.history())) == {("command", "contradicted")}


def test_an_event_that_nobody_meant_is_foreign(story: Story):
    story.log.append(Logged(9, "e9", "message.sent", "ann", "who?", "ann", "hello", 6, data={"body": "hello"}))
    assert bad(judge(story.history())) == {("log", "foreign")}


def test_a_gap_in_the_log_is_a_loss(story: Story):
    story.log[7] = replace(story.log[7], sequence=9)
    story.answers["c8"] = [replace(story.answers["c8"][0], sequence=9)]
    assert ("log", "lost") in bad(judge(story.history()))


def test_a_wrong_number_of_a_message_is_contradicted(story: Story):
    story.log[7] = replace(story.log[7], number=9)
    assert bad(judge(story.history())) == {("log", "contradicted")}


def test_an_event_id_that_is_there_twice_is_doubled(story: Story):
    story.log[7] = replace(story.log[7], event_id="e7")
    story.answers["c8"] = [replace(story.answers["c8"][0], event_id="e7")]
    assert bad(judge(story.history())) == {("log", "doubled")}


@pytest.mark.parametrize(
    ("sequences", "outcome"),
    [
        ([1, 2, 3, 5, 6, 7, 8], "lost"),
        ([1, 2, 3, 4, 5, 6, 7], "lost"),
        ([1, 2, 3, 4, 4, 5, 6, 7, 8], "doubled"),
        ([1, 2, 3, 5, 4, 6, 7, 8], "out of order"),
    ],
    ids=["a hole", "deaf at the end", "twice", "swapped"],
)
def test_a_live_stream_that_is_wrong_is_found(story: Story, sequences: list[int], outcome: str):
    assert bad(judge(story.history(story.stay("ann", sequences)))) == {("delivery", outcome)}


def test_a_member_who_hears_nothing_at_all_is_deaf(story: Story):
    assert judge(story.history(story.stay("ann", []))).counts["delivery", "lost"] == 8
    # One who comes late and names no cursor is owed what was said from then on.
    assert judge(story.history(story.stay("ann", [], opened=6.5))).counts["delivery", "lost"] == 2


def test_who_has_left_and_reads_on_is_found(story: Story):
    assert bad(judge(story.history(story.stay("ben", range(2, 8))))) == {("delivery", "foreign")}


def test_who_reads_what_came_before_their_join_is_found(story: Story):
    assert bad(judge(story.history(story.stay("ben", range(1, 7))))) == {("delivery", "foreign")}


def test_who_never_hears_of_their_own_leave_is_found(story: Story):
    assert bad(judge(story.history(story.stay("ben", range(2, 6))))) == {("delivery", "lost")}


def test_a_connection_owes_what_follows_its_cursor_and_the_one_before_owes_nothing_more(story: Story):
    first = story.stay("ann", range(1, 4), closed=4.5)
    assert judge(story.history(first, story.stay("ann", range(4, 9), opened=5.6, cursors={ROOM: 3}))).good
    again = story.stay("ann", range(3, 9), opened=5.6, cursors={ROOM: 3})
    assert bad(judge(story.history(first, again))) == {("delivery", "doubled")}
    short = story.stay("ann", range(5, 9), opened=5.6, cursors={ROOM: 3})
    assert bad(judge(story.history(first, short))) == {("delivery", "lost")}


def test_a_hole_is_found_on_a_connection_that_ended(story: Story):
    first = story.stay("ann", [1, 2, 4], closed=4.9)
    second = story.stay("ann", range(5, 9), opened=5.6, cursors={ROOM: 4})
    assert bad(judge(story.history(first, second))) == {("delivery", "lost")}


def test_a_cursor_brings_what_was_said_while_its_owner_was_no_member_only_after_they_came_back(story: Story):
    story.happens("ben", "room.join")
    first = story.stay("ben", range(2, 6), closed=5.9)
    back = story.stay("ben", range(6, 10), opened=9.2, cursors={ROOM: 5})
    late = [replace(receipt, at=9.3) for receipt in back.receipts]
    assert judge(story.history(first, replace(back, receipts=late))).good
    early = [replace(receipt, at=7.5 + receipt.sequence / 100) for receipt in back.receipts]
    assert ("delivery", "foreign") in bad(judge(story.history(first, replace(back, receipts=early))))
    recovered = replace(back, receipts=late, recovered=True)
    assert bad(judge(story.history(first, recovered))) == {("delivery", "foreign")}


def test_an_invitation_is_for_who_is_no_member_and_may_come_again(story: Story):
    story.happens("ann", "room.invite", subject="ben")
    assert judge(story.history(story.stay("ben", [*range(2, 7), 9, 9]))).good
    assert bad(judge(story.history(story.stay("cid", [9])))) == {("delivery", "foreign")}


def test_another_event_than_the_log_has_at_that_place_is_contradicted(story: Story):
    stay = story.stay("ann", range(1, 9))
    swapped = [*stay.receipts[:-1], replace(stay.receipts[-1], event_id="e0")]
    assert bad(judge(story.history(replace(stay, receipts=swapped)))) == {("delivery", "contradicted")}


def test_a_delivery_that_takes_long_with_nothing_broken_is_late(story: Story):
    stay = story.stay("ann", range(1, 9))
    late = replace(stay, receipts=[*stay.receipts[:-1], replace(stay.receipts[-1], at=20.0)])
    assert bad(judge(story.history(late))) == {("delivery", "late")}
    assert judge(story.history(late, faults=[(8.5, 15.0)])).good


def test_what_comes_only_with_the_next_event_of_its_room_is_late(story: Story):
    last = replace(story.commands["c8"], began=20.0)
    story.commands["c8"], story.answers["c8"] = last, [replace(story.answers["c8"][0], at=20.1)]
    stay = story.stay("ann", range(1, 9))
    held = replace(stay, receipts=[*stay.receipts[:6], replace(stay.receipts[6], at=20.2), stay.receipts[7]])
    faults = [(0.0, 15.0)]
    assert judge(story.history(stay, faults=faults, last_words=19.9)).good
    assert judge(story.history(held, faults=faults)).good
    assert bad(judge(story.history(held, faults=faults, last_words=19.9))) == {("delivery", "late")}
    back = replace(held, opened=18.0, cursors={ROOM: 6}, receipts=held.receipts[6:])
    before = story.stay("ann", range(1, 7), closed=17.0)
    assert judge(story.history(before, back, faults=faults, last_words=19.9)).good


def test_who_is_banned_hears_nothing_of_what_is_said_until_it_is_lifted(story: Story):
    stay = story.stay("ann", range(1, 9))
    ban = Ban("ann", began=6.4, answered=6.5, lifted=7.7, over=7.8)
    assert bad(judge(story.history(stay, bans=[ban]))) == {("delivery", "foreign")}
    assert judge(story.history(stay, bans=[replace(ban, unanswered=True)])).good
    assert judge(story.history(stay, bans=[replace(ban, sure=False)])).good


def test_who_is_ended_by_an_administrator_was_meant_to_be(story: Story):
    kicked = story.stay("ann", range(1, 9), closed=9.0, kicked=8.9)
    back = story.stay("ann", [], opened=9.1, cursors={ROOM: 8})
    assert bad(judge(story.history(kicked, back))) == {("kick", "foreign")}
    kick = Ban("ann", began=8.7, answered=8.8, lifted=8.8, over=8.8)
    assert judge(story.history(kicked, back, bans=[kick])).counts["kick", "good"] == 1
    again = replace(back, closed=9.5, kicked=9.4), story.stay("ann", [], opened=9.6, cursors={ROOM: 8})
    assert bad(judge(story.history(kicked, *again, bans=[kick]))) == {("kick", "foreign")}


def test_a_kick_means_who_was_being_let_in_and_who_comes_back_as_who_they_were(story: Story):
    kick = Ban("ann", began=3.0, answered=3.1, lifted=3.1, over=3.1, unanswered=True)
    slow = story.stay("ann", range(1, 9), opened=6.0, closed=9.0, kicked=8.9, asked=2.9)
    back = story.stay("ann", [], opened=9.1, asked=9.0, cursors={ROOM: 8})
    assert not bad(judge(story.history(slow, back, bans=[kick])))
    assert bad(judge(story.history(replace(slow, asked=3.2), back, bans=[kick]))) == {("kick", "foreign")}
    first = story.stay("ann", [], opened=1.0, closed=2.0, asked=0.9)
    recovered = [replace(slow, asked=asked, recovered=True, receipts=()) for asked in (3.2, 5.2)]
    ended = replace(recovered[0], closed=7.0, kicked=None), replace(recovered[1], opened=7.1)
    assert not bad(judge(story.history(first, *ended, back, bans=[kick])))
    assert ("kick", "foreign") in bad(
        judge(story.history(first, replace(ended[0], recovered=False), ended[1], back, bans=[kick]))
    )


def test_who_was_kicked_and_is_still_there_is_found(story: Story):
    stay = story.stay("ann", range(1, 9))
    kick = Ban("ann", began=8.0, answered=8.1, lifted=8.1, over=8.1)
    assert bad(judge(story.history(stay, bans=[kick], ended=18.2))) == {("kick", "late")}
    assert not bad(judge(story.history(stay, bans=[kick], ended=18.0)))
    assert not bad(judge(story.history(stay, bans=[replace(kick, sure=False)], ended=18.2)))


def test_a_room_that_had_to_be_loaded_anew_is_a_loss(story: Story):
    assert bad(judge(story.history(story.stay("ann", range(1, 9), resets=[ROOM])))) == {("delivery", "lost")}


def test_a_client_that_does_not_come_back_is_late(story: Story):
    assert bad(judge(story.history(story.stay("ann", range(1, 9), closed=9.0)))) == {("connection", "late")}


def test_a_client_that_is_never_connected_is_late_and_without_its_ledger_unverified(story: Story):
    history = story.history(clients={"ben#1": "ben"})
    assert bad(judge(history)) == {("connection", "late")}
    assert bad(judge(replace(history, broken=frozenset({"ben"})))) == {("connection", "unverified")}


def test_who_left_a_private_room_may_read_it_only_if_they_were_asked_in_again(story: Story):
    reading = Reading("ben", ROOM, began=8.1, ended=8.2, left=6, last=8)
    assert bad(judge(story.history(readings=[reading]))) == {("reading", "foreign")}
    assert judge(story.history(readings=[replace(reading, last=0)])).good
    story.happens("ann", "room.invite", subject="ben")
    assert bad(judge(story.history(readings=[reading]))) == {("reading", "foreign")}
    assert judge(story.history(readings=[replace(reading, began=9.1, ended=9.2)])).good


def test_projections_that_a_replay_does_not_come_to_are_found(story: Story):
    history = story.history()
    room = history.rooms[ROOM]
    for wrong, subject in (
        (replace(room, members={}), "membership"),
        (replace(room, members={**room.members, "ben": Member("joined", "member")}), "membership"),
        (replace(room, members={"ann": Member("joined", "member")}), "membership"),
        (replace(room, head=7), "room"),
        (replace(room, member_count=2), "room"),
    ):
        assert bad(judge(replace(history, rooms={ROOM: wrong}))) == {(subject, "contradicted")}


@pytest.mark.parametrize(
    ("verified", "outcome"),
    [
        (Verified(1, 2, "chat.rooms (room_id = 1)"), "contradicted"),
        (Verified(0), "unverified"),
        (None, "unverified"),
        (Verified(3), "good"),
    ],
)
def test_projections_that_verify_finds_to_differ_or_has_not_seen_are_not_good(
    story: Story, verified: Verified | None, outcome: str
):
    verdict = judge(story.history(verified=verified))
    assert verdict.counts["projections", outcome] == 1
    assert verdict.good == (outcome == "good")
    if outcome == "contradicted":
        assert "2 rows" in verdict.findings[0].why
        assert "chat.rooms (room_id = 1)" in verdict.findings[0].why


@pytest.mark.parametrize(
    ("room", "came", "outcomes"),
    [
        ("user:ben", [(1, "n1"), (2, "n2")], {"good"}),
        ("user:ann", [(1, "n1")], {"foreign"}),
        ("user:ben", [(1, "n2")], {"contradicted"}),
        ("user:ben", [(3, "n3")], {"contradicted"}),
        ("user:ben", [(1, "n1"), (1, "n1")], {"good", "doubled"}),
        ("user:ben", [(2, "n2"), (1, "n1")], {"good", "doubled"}),
        ("user:ben", [(0, "")], {"contradicted"}),
    ],
)
def test_notifications_come_to_their_user_once_and_in_order(room: str, came: list[tuple[int, str]], outcomes: set[str]):
    receipts = [Receipt(1.0, room, sequence, event_id) for sequence, event_id in came]
    stay = Stay("c1", "ben", 0.0, receipts=receipts)
    history = History(
        clients={"c1": "ben"}, stays=[stay], notified={"user:ben": {1: "n1", 2: "n2"}, "user:ann": {1: "n1"}}
    )
    found = [finding.outcome for finding in judge_stays(history, 5.0) if finding.subject == "notification"]
    assert set(found) == outcomes
    gap = replace(stay, cursors={"user:ben": 0}, receipts=[Receipt(1.0, "user:ben", 2, "n2")])
    assert [
        one.outcome for one in judge_stays(replace(history, stays=[gap]), 5.0) if one.subject == "notification"
    ] == ["lost"]


def test_lost_evidence_is_never_good(story: Story):
    del story.answers["c8"]
    history = story.history(story.stay("ann", range(1, 7)), broken=frozenset({"ann"}))
    verdict = judge(history)
    assert bad(verdict) == {("command", "unverified"), ("delivery", "unverified")}
    assert not verdict.good
    nothing = judge(replace(history, rooms={}, verified=None))
    assert set(nothing.counts) == {(subject, "unverified") for subject in ("command", "delivery", "projections")}


def test_the_longest_time_without_an_ack_is_told_and_more_than_ten_seconds_are_not_good(story: Story):
    verdict = judge(story.history(story.stay("ann", range(1, 9)), ended=18.0))
    assert (round(verdict.longest_stall, 1), round(verdict.stalled_at, 1)) == (9.9, 8.1)
    assert verdict.good
    assert not judge(story.history(story.stay("ann", range(1, 9)), ended=18.2)).good


def test_acks_after_a_resend_are_counted(story: Story):
    story.answers["c8"] = [replace(story.answers["c8"][0], attempts=3)]
    assert judge(story.history()).resent == 1

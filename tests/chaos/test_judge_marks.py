"""The judge of read marks: each fault is found, and a mark near a fault proves only how far it may have come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.history import History, Mark
from tests.chaos.judge import judge
from tests.chaos.story import ROOM, Story, bad


@pytest.fixture
def story() -> Story:
    """Ann makes a room (1), Ben joins (2), Ann writes (3 to 8)."""
    told = Story()
    told.happens("ann", "room.create")
    told.happens("ben", "room.join")
    for _ in range(6):
        told.happens("ann", "message.send")
    return told


def mark(asked: int, began: float, unread: int, sequence: int = 0) -> Mark:
    return Mark("ben", ROOM, began, asked, began + 0.1, sequence or asked, unread)


def history(story: Story, *marks: Mark, **changes: Any) -> History:
    read = max((one.sequence for one in marks), default=2)
    own = changes.pop("standings", [story.standing("ben", read), story.standing("ann", 8)])
    clients = {"ann#1": "ann", "ben#1": "ben"}
    stays = [story.stay("ann", range(1, 9)), story.stay("ben", range(2, 9))]
    return story.history(*stays, marks=marks, standings=own, **{"clients": clients, **changes})


def test_marks_that_move_forward_with_what_is_unread_are_good(story: Story):
    verdict = judge(history(story, mark(4, 5.5, 1), mark(7, 9.2, 1), mark(5, 12.5, 1, sequence=7)))
    assert verdict.good, verdict.findings
    assert verdict.counts["read", "good"] == 5


def test_a_mark_that_goes_back_is_lost_unless_something_broke_before_it_was_stored(story: Story):
    back = mark(7, 9.2, 1), mark(5, 12.5, 3)
    standings = [story.standing("ben", 7), story.standing("ann", 8)]
    assert bad(judge(history(story, *back, standings=standings))) == {("read", "lost")}
    assert judge(history(story, *back, standings=standings, faults=[(10.0, 11.0)])).good
    assert judge(history(story, back[0], replace(back[1], began=9.4, answered=9.5), standings=standings)).good


def test_a_mark_that_is_not_where_anybody_read_to_is_found(story: Story):
    assert bad(judge(history(story, mark(4, 9.2, 1, sequence=7)))) == {("read", "foreign"), ("read", "contradicted")}
    assert ("read", "contradicted") in bad(judge(history(story, mark(7, 9.2, 3, sequence=5))))


@pytest.mark.parametrize("unread", [0, 2, 5])
def test_a_mark_with_another_number_of_unread_messages_is_contradicted(story: Story, unread: int):
    assert bad(judge(history(story, mark(7, 9.2, unread)))) == {("read", "contradicted")}


def test_what_is_written_while_a_mark_is_answered_may_count_or_not(story: Story):
    for unread in (0, 1):
        assert judge(history(story, mark(7, 8.0, unread))).good
    assert bad(judge(history(story, mark(7, 8.0, 2)))) == {("read", "contradicted")}


@pytest.mark.parametrize("change", [{"read": 5}, {"read": 8}, {"unread": 2}, {"mentions": 1}])
def test_where_somebody_stands_in_the_end_is_what_their_marks_say(story: Story, change: dict[str, int]):
    wrong = [replace(story.standing("ben", 7), **change), story.standing("ann", 8)]
    assert bad(judge(history(story, mark(7, 9.2, 1), standings=wrong))) == {("read", "contradicted")}


def test_mentions_after_the_cursor_are_counted_and_those_of_deleted_messages_are_not(story: Story):
    story.log[7] = replace(story.log[7], data={**story.log[7].data, "mentions": ["ben"]})
    ann = story.standing("ann", 8)
    assert judge(history(story, mark(7, 9.2, 1), standings=[story.standing("ben", 7, 1), ann])).good
    assert bad(judge(history(story, mark(7, 9.2, 1)))) == {("read", "contradicted")}


def test_what_one_writes_oneself_is_read(story: Story):
    behind = [story.standing("ben", 2), story.standing("ann", 5)]
    assert bad(judge(history(story, standings=behind))) == {("read", "contradicted")}


def test_a_member_of_whom_nobody_knows_where_they_stand_is_unverified(story: Story):
    assert bad(judge(history(story, standings=[story.standing("ann", 8)]))) == {("read", "unverified")}
    elsewhere = replace(mark(7, 9.2, 1), room="r2")
    assert bad(judge(history(story, elsewhere, standings=[story.standing("ben", 2), story.standing("ann", 8)]))) == {
        ("read", "unverified")
    }

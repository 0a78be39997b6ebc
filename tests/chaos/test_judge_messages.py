"""The judge of messages: edits, deletions, reactions, pins, moderation and views that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.deleted_texts import deleted_texts, present_texts
from tests.chaos.history import Answer, Receipt, Stay, Texts
from tests.chaos.judge import judge
from tests.chaos.present import messages_of
from tests.chaos.story import ROOM, Story, bad
from tests.chaos.streams import judge_stays


@pytest.fixture
def story() -> Story:
    """Ann makes a room (1), Ben joins (2); Ann writes (3) and edits it (4), Ben writes (5) and reacts to 3 (6).

    Ann pins 5 (7), writes (8), edits that (9) and deletes it (10).
    """
    told = Story()
    told.happens("ann", "room.create")
    told.happens("ben", "room.join")
    told.happens("ann", "message.send")
    told.happens("ann", "message.edit", message=3, version=2)
    told.happens("ben", "message.send")
    told.happens("ben", "reaction.add", message=3, emoji="x")
    told.happens("ann", "message.pin", message=5)
    told.happens("ann", "message.send")
    told.happens("ann", "message.edit", message=8, version=2)
    told.happens("ann", "message.delete", message=8)
    return told


def test_what_is_as_it_must_be_is_good(story: Story):
    name = story.refused("ann", "message.edit", "conflict", 2, message=3, version=1, body="late")
    verdict = judge(story.history(views=[story.view("ann"), story.view("ben")]))
    assert verdict.good, verdict.findings
    assert verdict.counts["message", "good"] == 3
    assert verdict.counts["view", "good"] == 2
    assert verdict.counts["refusal", "good"] == 1
    assert name not in {event.command for event in story.log}


@pytest.mark.parametrize("sequence", [4, 6, 7, 9, 10])
def test_an_acked_change_that_is_not_in_the_log_is_lost(story: Story, sequence: int):
    name = f"c{sequence}"
    story.commands["y"] = replace(story.commands[name], id="y", began=10.5)
    story.answers["y"] = [Answer("y", 10.6, ok=True, sequence=11, event_id="e11")]
    assert ("command", "lost") in bad(judge(story.history()))


@pytest.mark.parametrize("sequence", [4, 6, 7])
def test_a_change_that_is_twice_in_the_log_is_doubled(story: Story, sequence: int):
    story.log.append(replace(story.log[sequence - 1], sequence=11, event_id="e11"))
    assert {("command", "doubled"), ("right", "foreign")} <= bad(judge(story.history()))


def test_a_refused_change_that_is_in_the_log_is_contradicted(story: Story):
    story.answers["c6"] = [Answer("c6", 6.1, ok=False, code="forbidden")]
    assert bad(judge(story.history())) == {("command", "contradicted")}


@pytest.mark.parametrize(
    ("sequence", "said"),
    [(4, {"message": 5, "body": "text 4", "version": 2}), (6, {"message": 3, "emoji": "y"}), (7, {"message": 3})],
)
def test_a_change_of_something_else_than_was_meant_is_contradicted(story: Story, sequence: int, said: dict[str, Any]):
    story.log[sequence - 1] = replace(story.log[sequence - 1], data=said)
    assert ("command", "contradicted") in bad(judge(story.history()))


def test_two_edits_of_the_same_version_that_are_both_accepted_are_found(story: Story):
    story.happens("ann", "message.edit", message=3, version=2)
    assert bad(judge(story.history())) == {("right", "foreign")}


@pytest.mark.parametrize(
    ("user", "event", "data"),
    [
        ("ben", "message.edit", {"message": 3, "version": 3}),
        ("ben", "message.delete", {"message": 3}),
        ("ben", "message.pin", {"message": 3}),
        ("ben", "member.role", {"role": "moderator"}),
        ("ann", "message.pin", {"message": 5}),
        ("ben", "reaction.add", {"message": 3, "emoji": "x"}),
        ("ann", "reaction.add", {"message": 8, "emoji": "x"}),
        ("ann", "reaction.add", {"message": 7, "emoji": "x"}),
        ("cid", "reaction.add", {"message": 3, "emoji": "x"}),
        ("cid", "message.send", {}),
        ("ann", "room.join", {}),
    ],
)
def test_what_nobody_was_allowed_to_do_is_foreign(story: Story, user: str, event: str, data: dict[str, Any]):
    story.happens(user, event, **data)
    assert ("right", "foreign") in bad(judge(story.history()))


def test_who_is_muted_writes_nothing_until_it_ends_and_who_is_banned_does_not_come_in(story: Story):
    story.happens("ann", "member.mute", "ben", until="2026-01-01T00:00:14Z")
    quiet = len(story.log)
    story.happens("ben", "message.send")
    assert bad(judge(story.history())) == {("right", "foreign")}
    del story.log[quiet:], story.commands["c12"], story.answers["c12"]
    story.numbers -= 1
    for _ in range(3):
        story.happens("ann", "message.send")
    story.happens("ben", "message.send")
    assert judge(story.history()).good
    story.happens("ann", "member.ban", "ben")
    story.happens("ann", "member.remove", "ben")
    assert judge(story.history()).good
    story.happens("ben", "room.join")
    assert bad(judge(story.history())) == {("right", "foreign")}


def test_who_was_removed_and_hears_on_or_writes_on_is_found(story: Story):
    story.happens("ann", "member.remove", "ben")
    story.happens("ann", "message.send")
    assert judge(story.history(story.stay("ben", range(2, 12)))).good
    assert bad(judge(story.history(story.stay("ben", range(2, 13))))) == {("delivery", "foreign")}
    assert bad(judge(story.history(story.stay("ben", range(2, 11))))) == {("delivery", "lost")}
    story.happens("ben", "reaction.add", message=3, emoji="y")
    assert bad(judge(story.history())) == {("right", "foreign")}


@pytest.mark.parametrize(
    ("message", "change", "outcome"),
    [
        (3, {"body": "text 3"}, "contradicted"),
        (3, {"version": 1}, "contradicted"),
        (3, {"reactions": []}, "contradicted"),
        (3, {"reactions": [{"emoji": "x", "count": 2, "users": [{"id": "ben"}]}]}, "contradicted"),
        (5, {"pinned": False}, "contradicted"),
        (8, {"body": "text 9"}, "contradicted"),
        (5, None, "lost"),
        (6, {}, "foreign"),
    ],
)
def test_a_message_that_is_answered_otherwise_than_the_log_has_it_is_found(
    story: Story, message: int, change: dict[str, Any] | None, outcome: str
):
    history = story.history()
    room = history.rooms[ROOM]
    messages = [dict(event) for event in room.messages]
    place = {event["sequence"]: number for number, event in enumerate(messages)}
    if change is None:
        del messages[place[message]]
    elif message in place:
        changed = messages[place[message]]
        changed["data"] = {**changed["data"], **change}
    else:
        messages.append({**messages[0], "sequence": message})
    wrong = replace(history, rooms={ROOM: replace(room, messages=messages)})
    assert bad(judge(wrong)) == {("message", outcome)}


def test_a_thread_that_counts_other_replies_than_the_log_is_found(story: Story):
    story.happens("ben", "message.send", thread=3)
    history = story.history(views=[story.view("ben")])
    assert judge(history).good
    room = history.rooms[ROOM]
    for place, thread in ((0, {"replies": 2}), (0, None), (-1, 5)):
        messages = [dict(event) for event in room.messages]
        messages[place]["data"] = {**messages[place]["data"], "thread": thread}
        wrong = replace(history, rooms={ROOM: replace(room, messages=messages)})
        assert bad(judge(wrong)) == {("message", "contradicted")}


def test_a_reaction_that_is_taken_back_is_none_any_more(story: Story):
    before = story.history().rooms[ROOM].messages
    story.happens("ben", "reaction.remove", message=3, emoji="x")
    history = story.history()
    assert judge(history).good
    wrong = replace(history, rooms={ROOM: replace(history.rooms[ROOM], messages=before)})
    assert bad(judge(wrong)) == {("message", "contradicted")}


@pytest.mark.parametrize(
    ("about", "outcome"),
    [
        ((ROOM, 8, 0), "good"),
        ((ROOM, 9, 8), "good"),
        (("", 0, 0), "good"),
        ((ROOM, 3, 5), "contradicted"),
        (None, "contradicted"),
    ],
)
def test_a_notification_is_gone_with_its_message_and_no_other_is(
    story: Story, about: tuple[str, int, int] | None, outcome: str
):
    stay = Stay("b1", "ben", 0.0, receipts=[Receipt(9.0, "user:ben", 1, "n1", about)])
    history = story.history(stay, clients={"b1": "ben"}, notified={"user:ben": {2: "n2"}})
    found = [one.outcome for one in judge_stays(history, 5.0) if one.subject == "notification"]
    assert found == [outcome]


@pytest.mark.parametrize("sequence", [8, 9])
def test_a_text_that_is_left_in_the_log_after_its_deletion_is_found(story: Story, sequence: int):
    story.log[sequence - 1] = story.before[sequence]
    assert ("text", "contradicted") in bad(judge(story.history()))


def test_a_text_that_is_gone_without_a_deletion_is_lost(story: Story):
    story.log[2] = replace(story.log[2], body="", data={}, erased=True)
    assert ("text", "lost") in bad(judge(story.history()))


def test_deleted_texts_that_are_found_somewhere_and_present_ones_that_are_not_are_told(story: Story):
    assert deleted_texts(story.history()) == {"text 8": ROOM, "text 9": ROOM}
    assert present_texts(story.history()) == {"text 4": ROOM, "text 5": ROOM}
    assert bad(judge(story.history(texts=Texts(2, {"text 8": ["chat.search"]}, 2)))) == {("text", "contradicted")}
    assert bad(judge(story.history(texts=Texts(2, {}, 2, ["text 4"])))) == {("text", "lost")}
    assert bad(judge(story.history(texts=None))) == {("text", "unverified")}
    assert judge(story.history(texts=Texts(2, {}, 2))).counts["text", "good"] == 4


def test_a_view_that_is_not_what_would_be_loaded_is_found(story: Story):
    view = story.view("ben")
    assert bad(judge(story.history(views=[replace(view, head=9)]))) == {("view", "late")}
    assert bad(judge(story.history(views=[replace(view, events=view.events[:-1])]))) == {("view", "contradicted")}
    for change in ({"body": "text 3"}, {"reactions": []}):
        events = [dict(event) for event in view.events]
        events[2]["data"] = {**events[2]["data"], **change}
        assert bad(judge(story.history(views=[replace(view, events=events)]))) == {("view", "contradicted")}
    assert bad(judge(story.history(views=[replace(view, room="r2")]))) == {("view", "unverified")}


def test_of_a_crowd_that_reacts_a_view_may_name_fewer():
    story = Story()
    story.happens("ann", "room.create")
    story.happens("ann", "message.send")
    for number in range(6):
        story.happens(f"u{number}", "room.join")
        story.happens(f"u{number}", "reaction.add", message=2, emoji="x")
    story.happens("u0", "reaction.remove", message=2, emoji="x")
    view = story.view("ann")
    named = messages_of(story.log)[2].reactions["x"]
    loaded = [dict(event) for event in view.loaded]
    loaded[1] = {**loaded[1], "data": {**loaded[1]["data"]}}
    loaded[1]["data"]["reactions"] = [{"emoji": "x", "count": 5, "users": [{"id": user} for user in named]}]
    messages = [event for event in loaded if event["type"] == "message.sent"]
    history = story.history(views=[replace(view, loaded=loaded)])
    room = replace(history.rooms[ROOM], messages=messages)
    assert view.events != loaded
    assert judge(replace(history, rooms={ROOM: room})).good


@pytest.mark.parametrize(
    ("user", "event", "code", "newer", "fields"),
    [
        ("ann", "message.edit", "conflict", 2, {"message": 3, "version": 2}),
        ("ann", "message.edit", "conflict", 7, {"message": 3, "version": 2}),
        ("ann", "message.edit", "not_found", 0, {"message": 3, "version": 2}),
        ("ben", "reaction.add", "not_a_member", 0, {"message": 3, "emoji": "y"}),
        ("ben", "message.send", "muted", 0, {}),
        ("ben", "room.join", "banned", 0, {}),
        ("ben", "message.send", "id_conflict", 0, {}),
        ("ann", "member.role", "invalid_payload", 0, {"subject": "ben"}),
    ],
)
def test_a_refusal_for_which_there_was_no_reason_is_contradicted(
    story: Story, user: str, event: str, code: str, newer: int, fields: dict[str, Any]
):
    if code == "conflict" and newer > 2:
        # An edit whose text is gone may have been of any message; here none is.
        del story.log[7:]
    story.refused(user, event, code, newer, **fields)
    assert ("refusal", "contradicted") in bad(judge(story.history()))


def test_refusals_with_a_reason_are_good(story: Story):
    story.refused("ben", "reaction.add", "not_found", message=8, emoji="x")
    story.refused("cid", "message.send", "not_a_member")
    story.happens("ann", "member.mute", "ben")
    story.refused("ben", "message.send", "muted")
    story.happens("ann", "member.ban", "cid")
    story.refused("cid", "room.join", "banned")
    story.refused("ann", "member.role", "invalid_payload", subject="cid")
    verdict = judge(story.history())
    assert verdict.good, verdict.findings
    assert verdict.counts["refusal", "good"] == 5

"""What gateways said of rooms, put together."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from parley.common.wire.presence import PresencePart, PresentUser, shown_state
from parley.framework.remote.presence_requests import merged

Said = tuple[str, str, int]


def part(room: str, *users: Said) -> PresencePart:
    return PresencePart("/chat", room, [PresentUser(*user) for user in users], whole=True)


def test_a_user_on_several_gateways_counts_once_and_the_latest_choice_counts():
    found = merged(
        ["r", "empty"],
        [
            part("r", ("ann", "away", 0), ("ben", "dnd", 5), ("eve", "invisible", 7), ("cem", "online", 0)),
            part("r", ("ann", "online", 0), ("ben", "online", 6), ("eve", "online", 3)),
            part("another", ("dan", "online", 0)),
        ],
        partial=True,
    )
    assert found["r"].shown() == {"ann": "online", "ben": "online", "cem": "online"}
    assert found["r"].entries["eve"] == PresentUser("eve", "invisible", 7)
    assert found["r"].partial
    assert found["empty"].entries == {}
    assert found.keys() == {"r", "empty"}


entries = st.tuples(st.sampled_from(["ann", "ben"]), st.sampled_from(["online", "away"]), st.just(0)) | st.tuples(
    # One choice has one time on all gateways.
    st.sampled_from(["ann", "ben"]), st.just("dnd"), st.sampled_from([2, 4])
) | st.tuples(st.sampled_from(["ann", "ben"]), st.just("invisible"), st.sampled_from([3, 5]))  # fmt: skip


@given(st.lists(st.lists(entries, unique_by=lambda one: one[0]), max_size=5), st.randoms())
def test_in_whichever_order_gateways_answer_the_same_is_shown(gateways: list[list[Said]], order: Random):
    parts = [part("r", *said) for said in gateways]
    before = merged(["r"], parts, partial=False)["r"].shown()
    order.shuffle(parts)
    assert merged(["r"], parts, partial=False)["r"].shown() == before
    for user in ("ann", "ben"):
        of_user = [entry for each in parts for entry in each.users if entry.user_id == user]
        assert before.get(user, "offline") == shown_state(of_user)

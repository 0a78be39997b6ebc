"""What a user is shown as, by what several gateways say."""

from __future__ import annotations

import pytest

from parley.common.wire.presence import PresentUser, shown_state


def entry(state: str, since: int = 0) -> PresentUser:
    return PresentUser("ann", state, since)


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        ([], "offline"),
        ([entry("away")], "away"),
        ([entry("away"), entry("online")], "online"),
        ([entry("online"), entry("away")], "online"),
        ([entry("dnd", 5), entry("online")], "dnd"),
        ([entry("online"), entry("dnd", 5)], "dnd"),
        ([entry("dnd", 5), entry("online", 6)], "online"),
        ([entry("online", 6), entry("dnd", 5)], "online"),
        ([entry("invisible", 7), entry("online", 6), entry("online")], "offline"),
        ([entry("invisible", 5), entry("away", 6)], "away"),
    ],
)
def test_the_latest_choice_counts_and_without_one_the_busiest_device(entries: list[PresentUser], shown: str):
    assert shown_state(entries) == shown

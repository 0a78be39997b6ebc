"""The protocol document has the table of disconnect reasons as the code has it."""

from __future__ import annotations

import re

from parley.common.errors import Code
from parley.common.wire.disconnects import DISCONNECTS, KICK_REASONS, RECOVERABLE, DisconnectReason, reason_of
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "protocol.md"
ROW = re.compile(r"^\| `([a-z_ ]+)` \| (yes|no) \| (.+?) \|$", re.MULTILINE)


def test_the_table_of_reasons_is_that_of_the_code() -> None:
    expected = [
        (str(reason), "yes" if disconnect.recoverable else "no", disconnect.meaning)
        for reason, disconnect in DISCONNECTS.items()
    ]
    assert ROW.findall(DOCUMENT.read_text("utf-8")) == expected
    assert set(DISCONNECTS) == set(DisconnectReason)


def test_a_kick_is_final_and_has_a_code() -> None:
    assert not KICK_REASONS & RECOVERABLE
    assert all(Code(reason) for reason in KICK_REASONS)
    assert reason_of("no such reason", DisconnectReason.KICKED) is DisconnectReason.KICKED

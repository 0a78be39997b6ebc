"""The protocol document has the table of codes as the code has it."""

from __future__ import annotations

import re

from parley.common.errors import MEANINGS
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "protocol.md"
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (yes|no) \| (.+?) \|$", re.MULTILINE)


def test_the_table_of_codes_is_that_of_the_code() -> None:
    expected = [
        (str(code), str(meaning.status), "yes" if meaning.retryable else "no", meaning.message)
        for code, meaning in MEANINGS.items()
    ]
    assert ROW.findall(DOCUMENT.read_text("utf-8")) == expected

"""Ranges of files (RFC 9110, section 14)."""

from __future__ import annotations

import pytest

from parley.chat.attachments.downloads import part_of


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-3", (0, 3)), ("bytes=5-", (5, 9)), ("bytes=-3", (7, 9)), ("bytes=-30", (0, 9)), ("bytes=8-99", (8, 9)),
     ("bytes=0-1,4-5", None), ("bytes=-", None), ("bytes=5-2", None), ("items=0-3", None), ("bytes=a-b", None),
     ("bytes=0-99999999999999999999", None), ("", None)],
)  # fmt: skip
def test_a_range_is_understood_or_the_whole_file_is_meant(asked: str, part: tuple[int, int] | None):
    assert part_of(asked, 10) == part


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_that_the_file_does_not_have(asked: str):
    with pytest.raises(ValueError, match="bytes"):
        part_of(asked, 10)

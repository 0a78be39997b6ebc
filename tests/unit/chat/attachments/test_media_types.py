"""Types of files: the bytes decide, and nothing that a browser would run is shown."""

from __future__ import annotations

import pytest

from parley.chat.attachments.media_types import HEAD_BYTES, allowed, disposition, is_what_it_says, named, served_as
from parley.chat.settings import ChatSettings

UPLOAD_TYPES = ChatSettings().upload_types

PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
ZIP = b"PK\x03\x04" + bytes(300)


def test_bytes_that_are_what_they_say():
    for kind, head in (
        ("image/png", PNG), ("application/zip", ZIP), ("application/pdf", b"%PDF-1.7\n" + bytes(300)),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ZIP),
        ("text/plain", b"hello"), ("text/csv", "a;ü".encode()), ("application/json", b"{}"),
        ("text/plain", ("x" * (HEAD_BYTES - 1) + "ü").encode()[:HEAD_BYTES]), ("text/html", b"<script>"),
        ("application/octet-stream", b"\x00\x01"),
    ):  # fmt: skip
        assert is_what_it_says(kind, head), kind


def test_bytes_that_are_something_else():
    for kind, head in (
        ("image/png", b"<svg onload=alert(1)>"), ("image/jpeg", PNG), ("image/png", b"MZ" + bytes(300)),
        ("text/plain", PNG), ("text/plain", b"a\x00b"), ("text/plain", b"\xff\xfe\xfa"), ("image/png", ZIP),
        ("video/mp4", b"hello"), ("application/pdf", ZIP), ("application/json", ZIP), ("image/gif", b""),
    ):  # fmt: skip
        assert not is_what_it_says(kind, head), kind


@pytest.mark.parametrize("given", ["", "image", "image/", "/png", "image/png/x", "a b/c", "image/*", "../x", "x" * 300])
def test_what_is_no_type(given: str):
    assert named(given) is None


def test_types_have_one_name_and_are_taken_by_patterns():
    assert named("Image/JPG; charset=x") == "image/jpeg"
    for kind in ("image/png", "video/mp4", "application/pdf", "application/vnd.ms-excel"):
        assert allowed(kind, UPLOAD_TYPES)
    for kind in ("text/html", "image/svg+xml", "application/x-msdownload", "application/javascript", "font/woff"):
        assert not allowed(kind, UPLOAD_TYPES), kind


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml", "text/javascript"]
)
def test_what_a_browser_would_run_is_bytes_to_be_saved(kind: str):
    assert served_as(kind) == ("application/octet-stream", False)


def test_images_are_shown_and_documents_saved():
    assert served_as("image/png") == ("image/png", True)
    assert served_as("application/pdf") == ("application/pdf", False)
    assert served_as("text/plain") == ("text/plain; charset=utf-8", False)


def test_a_name_cannot_leave_its_header():
    assert disposition("a.txt", shown=False) == "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"
    header = disposition('x"; filename=y\r\nset-cookie: a=b\\é%41.png', shown=True)
    assert "\r" not in header
    assert "\n" not in header
    assert header.isascii()
    assert header.count('"') == 2
    assert header.endswith("%C3%A9%2541.png")

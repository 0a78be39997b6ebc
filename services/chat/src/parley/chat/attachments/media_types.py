"""Types of files: which are taken, whether the bytes are what the type says, and which a browser may show. Pure.

Whatever a file is called and said to be, its first bytes decide. `filetype` knows them; what it does not know may be
text, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, cast
from urllib.parse import quote

import filetype

HEAD_BYTES = 8192
"""Bytes of a file that tell its type."""
DRAWN = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
"""Types of images that get a thumbnail, and that browsers show without running anything; by Pillow's names."""
PLAYED = frozenset(
    ("audio/mpeg", "audio/mp4", "audio/ogg", "audio/aac", "audio/x-wav", "audio/x-flac", "video/mp4", "video/webm",
     "video/ogg", "video/quicktime")
)  # fmt: skip
"""Types that browsers play."""
_SYNTAX = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,126}")
_OTHER_NAMES = {
    "audio/mp3": "audio/mpeg", "audio/m4a": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/wav": "audio/x-wav",
    "audio/wave": "audio/x-wav", "audio/flac": "audio/x-flac", "application/x-zip-compressed": "application/zip",
    "image/jpg": "image/jpeg", "application/x-gzip": "application/gzip", "video/x-m4v": "video/mp4",
    "text/rtf": "application/rtf", "audio/opus": "audio/ogg",
}  # fmt: skip
# Containers whose first bytes do not tell what is in them.
_SAME_CONTAINER = (
    frozenset(("audio/mp4", "video/mp4", "video/quicktime", "video/3gpp")),
    frozenset(("audio/ogg", "video/ogg")),
    frozenset(("video/webm", "video/x-matroska", "audio/webm")),
    frozenset(("image/png", "image/apng")),
    frozenset(("application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint")),
)
_IN_ZIP = ("application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument.", "application/epub")
_TEXT = ("text/", "application/json", "application/xml", "application/yaml", "image/svg+xml")


def named(given: str) -> str | None:
    """Return a media type under the one name that it has here, without parameters; None for a text that is none."""
    plain = given.partition(";")[0].strip().lower()
    return _OTHER_NAMES.get(plain, plain) if _SYNTAX.fullmatch(plain) else None


def allowed(kind: str, patterns: Iterable[str]) -> bool:
    """Return whether a type matches one of these, as in `image/*`."""
    return any(fnmatchcase(kind, pattern) for pattern in patterns)


def is_what_it_says(kind: str, head: bytes) -> bool:
    """Return whether a file that begins with these bytes may be of this type."""
    guess = cast("Any", filetype).guess(head)
    found: str | None = named(guess.mime) if guess is not None else None
    if kind == "application/octet-stream":
        return True
    if found is None:
        return kind.startswith(_TEXT) and _is_text(head)
    if found == kind or any({found, kind} <= same for same in _SAME_CONTAINER):
        return True
    # Office's files are archives, and `filetype` does not know all of them.
    return found == "application/zip" and kind.startswith(_IN_ZIP)


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The head may end within a character.
        return error.start >= HEAD_BYTES - 4
    return True


def served_as(kind: str) -> tuple[str, bool]:
    """Return the type that a file is handed out as, and whether a browser may show it rather than save it.

    What a browser would run, as HTML and SVG, is bytes to be saved, whatever is allowed to be uploaded.
    """
    if kind in DRAWN or kind in PLAYED:
        return kind, True
    if kind == "text/plain":
        return "text/plain; charset=utf-8", False
    if kind.startswith(("text/", "image/svg", "application/xhtml", "application/xml", "application/javascript")):
        return "application/octet-stream", False
    return kind, False


def disposition(name: str, *, shown: bool) -> str:
    """Return the header Content-Disposition (RFC 6266) of a file with this name."""
    how = "inline" if shown else "attachment"
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%;' else "_" for char in name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"

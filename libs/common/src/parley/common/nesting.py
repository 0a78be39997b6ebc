"""Finds out how deeply JSON is nested, without decoding it. Pure.

Clients choose the nesting, and decoders recurse. Everything that decodes a client's JSON asks `too_deep` first; code
that recurses over a payload later, in any process, may rely on it. All loops over bytes are in C (`bytes.translate`,
`bytes.replace`, `accumulate`), so that a megabyte of hostile JSON costs a few milliseconds.
"""

from __future__ import annotations

from array import array
from itertools import accumulate

MAX_DEPTH = 100
"""How many arrays and objects may be inside each other, the outermost included."""
SLICE = 4096
"""Brackets that are counted before the loop looks whether they were too deep."""
RUN = 8
"""Equal brackets in a row that are counted as one step."""

_NOT_STRUCTURE = bytes(code for code in range(256) if code not in b'[]{}"')
_OPEN, _CLOSE = b"\x01", b"\xff"
_AS_STEPS = bytes.maketrans(b"[{]}", _OPEN * 2 + _CLOSE * 2)


def too_deep(encoded: bytes) -> bool:
    """Whether JSON is nested deeper than `MAX_DEPTH`. For bytes that are not JSON either answer may come."""
    # Nearly every payload is too short, or has too few brackets, to be looked at closely.
    if len(encoded) <= 2 * MAX_DEPTH or encoded.count(b"[") + encoded.count(b"{") <= MAX_DEPTH:
        return False
    steps = _steps(encoded)
    removed = 0
    while steps.count(_OPEN) + removed > MAX_DEPTH:
        size = len(steps)
        # Takes away the innermost level, which is most of the brackets in an array of small objects.
        steps = steps.replace(_OPEN + _CLOSE, b"")
        removed += 1
        # The brackets that are left are deep rather than many: taking levels away one by one would take too long.
        if len(steps) > size // 2:
            return _rises_above(MAX_DEPTH - removed, steps)
    return False


def _rises_above(limit: int, steps: bytes) -> bool:
    """Whether the sum of the steps, as signed bytes, ever exceeds the limit."""
    # A run of opening brackets has its maximum at its end, so it may be added at once; a closing run has none.
    steps = steps.replace(_OPEN * RUN, bytes([RUN])).replace(_CLOSE * RUN, bytes([256 - RUN]))
    depth = 0
    for start in range(0, len(steps), SLICE):
        depths = list(accumulate(array("b", steps[start : start + SLICE]), initial=depth))
        if max(depths) > limit:
            return True
        depth = depths[-1]
    return False


def _steps(encoded: bytes) -> bytes:
    """Return a signed byte for each bracket outside of strings: 1 for an opening one, -1 for a closing one."""
    # Escapes first, so that every quote that is left begins or ends a string.
    if b"\\" in encoded:
        encoded = encoded.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = encoded.translate(_AS_STEPS, _NOT_STRUCTURE).replace(b'""', b"")
    return b"".join(structure.split(b'"')[::2]) if b'"' in structure else structure

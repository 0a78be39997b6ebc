"""How deeply JSON is nested, pure: found out without decoding it, in C, so that hostile JSON costs a few milliseconds.

Whatever recurses over a payload later, in any process, may rely on this bound.
"""

from __future__ import annotations

from array import array
from itertools import accumulate

MAX_DEPTH = 100
"""How many arrays and objects may stand inside each other, the outermost included."""
SLICE = 4096
"""Brackets looked at before it is seen whether that was deep enough to stop."""
RUN = 8

_NOT_STRUCTURE = bytes(code for code in range(256) if code not in b'[]{}"')
_OPEN, _CLOSE = b"\x01", b"\xff"
_AS_STEPS = bytes.maketrans(b"[{]}", _OPEN * 2 + _CLOSE * 2)


def too_deep(encoded: bytes) -> bool:
    """Whether some JSON is nested deeper than `MAX_DEPTH`. What is no JSON may be either."""
    # Nearly everything is too short, or has too few brackets, to be looked at closely.
    if len(encoded) <= 2 * MAX_DEPTH or encoded.count(b"[") + encoded.count(b"{") <= MAX_DEPTH:
        return False
    steps = _steps(encoded)
    removed = 0
    while steps.count(_OPEN) + removed > MAX_DEPTH:
        size = len(steps)
        # The innermost level is taken away, which is nearly everything in arrays of small things.
        steps = steps.replace(_OPEN + _CLOSE, b"")
        removed += 1
        if len(steps) > size // 2:
            return _rises_above(MAX_DEPTH - removed, steps)
    return False


def _rises_above(limit: int, steps: bytes) -> bool:
    steps = steps.replace(_OPEN * RUN, bytes([RUN])).replace(_CLOSE * RUN, bytes([256 - RUN]))
    depth = 0
    for start in range(0, len(steps), SLICE):
        depths = list(accumulate(array("b", steps[start : start + SLICE]), initial=depth))
        if max(depths) > limit:
            return True
        depth = depths[-1]
    return False


def _steps(encoded: bytes) -> bytes:
    """A signed byte for each bracket that stands outside of strings: one level down, or up."""
    if b"\\" in encoded:
        encoded = encoded.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = encoded.translate(_AS_STEPS, _NOT_STRUCTURE).replace(b'""', b"")
    return b"".join(structure.split(b'"')[::2]) if b'"' in structure else structure

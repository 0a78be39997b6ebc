"""JSON lines with binary data in them, as `node/json_lines.mjs` has them: `{"$binary": base64}`."""

from __future__ import annotations

import base64
from typing import Any


def packed(value: Any) -> Any:
    """With the binary data written as text."""
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: packed(item) for key, item in value.items()}
    return [packed(item) for item in value] if isinstance(value, list | tuple) else value


def unpacked(value: Any) -> Any:
    """With the text of binary data read again."""
    if isinstance(value, dict):
        if "$binary" in value:
            return base64.b64decode(value["$binary"])
        return {key: unpacked(item) for key, item in value.items()}
    return [unpacked(item) for item in value] if isinstance(value, list) else value

"""Where the tests of files keep them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of the store."""
    return tmp_path / "uploads"

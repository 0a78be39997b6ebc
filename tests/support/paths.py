"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
CLIENTS = Path(__file__).parent / "node"
"""Programs for Node that drive the stock clients of npm."""

"""What `parley up` says while it starts and afterwards."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from parley.cli.stack import stack
from parley.cli.stack.apps import Endpoints
from parley.cli.stack.dev_services import DevProcesses, DevServices
from parley.cli.stack.stop_signals import StopSignals


async def test_a_service_that_comes_up_late_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    output = io.StringIO()
    console = Console(file=output)
    project = DevServices({"/a": "a", "/b": "b"}, ("a", "b"), (), {"a", "b"})
    looks: list[set[str]] = []

    async def look(project: DevServices, _processes: Any, _url: str, _stop: Callable[[], bool], _most: float) -> None:
        looks.append(set(project.not_ready))
        project.not_ready -= {"a"} if len(looks) == 1 else {"b"} if len(looks) == 3 else set()

    monkeypatch.setattr(stack, "wait_until_served", look)
    monkeypatch.setattr(stack, "LATE_SECONDS", 0.0)
    endpoints = Endpoints({}, {"up": ""}, "", tmp_path, tmp_path, None)
    processes = DevProcesses(console, {}, {}, tmp_path / "services")
    await stack._tell_when_served(console, project, processes, endpoints, StopSignals())
    assert looks == [{"a", "b"}, {"b"}, {"b"}]
    assert output.getvalue().splitlines() == ["✓ a on /a answers now", "✓ b on /b answers now"]

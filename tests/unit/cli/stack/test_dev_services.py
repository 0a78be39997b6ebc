"""The project in the working directory: which of its services are here, and what a killed run leaves behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parley.cli import bundled_files
from parley.cli.failure import CommandFailure
from parley.cli.scaffold.namespaces_file import choose
from parley.cli.stack.dev_services import end_left_behind, find_services
from parley.gateway.namespaces import Namespace
from tests.support.paths import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own, as a service has."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


def test_a_service_is_here_as_a_package_or_a_module(folder: Path) -> None:
    for path in ("a/__init__.py", "b/service.py", "c.py", "d/other.py"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    named = {f"/{name}": Namespace(name) for name in ("a", "b", "c", "d", "chat")} | {"/a2": Namespace("a")}
    project = find_services(named)
    assert (project.here, project.elsewhere) == (("a", "b", "c"), ("d",))
    assert project.of("a") == ["/a", "/a2"]


def test_the_projects_namespaces_are_read_unless_others_are_configured(folder: Path) -> None:
    assert choose(None) is None
    Path("namespaces.toml").touch()
    assert choose(None) == Path("namespaces.toml")
    assert choose(Path("/etc/other.toml")) == Path("/etc/other.toml")


def test_a_process_left_behind_is_ended(tmp_path: Path, leader: subprocess.Popen[bytes]) -> None:
    record = tmp_path / "services"
    record.write_text(f"{leader.pid} {psutil.Process(leader.pid).create_time()}")
    end_left_behind(record)
    assert leader.wait(10) == -9
    assert not record.exists()
    end_left_behind(record)


def test_a_process_that_has_the_number_by_now_is_left_alone(tmp_path: Path, leader: subprocess.Popen[bytes]) -> None:
    record = tmp_path / "services"
    record.write_text(f"{leader.pid} {psutil.Process(leader.pid).create_time() - 60}")
    end_left_behind(record)
    leader.communicate(b"\n", timeout=10)
    assert leader.returncode == 0


def test_files_come_from_the_checkout_and_elsewhere_from_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundled_files.find("alembic.ini") == ROOT / "alembic.ini"
    monkeypatch.setattr(bundled_files, "ROOTS", (tmp_path / "checkout", tmp_path / "wheel"))
    with pytest.raises(CommandFailure, match=r"this installation lacks alembic\.ini; install the wheel of parley-cli"):
        bundled_files.find("alembic.ini")
    page = tmp_path / "wheel" / "web" / "public"
    page.mkdir(parents=True)
    (page / "index.html").touch()
    assert bundled_files.page() is None, "without the client it is of no use"
    (page / "socket.io.min.js").touch()
    assert bundled_files.page() == page
    assert bundled_files.find("web/public") == page

"""What the one-command stack keeps, and that nobody else gets at it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parley.cli.failure import CommandFailure
from parley.cli.stack.data_directory import DataDirectory

TRY_TO_HOLD = """
import pathlib, sys
from parley.cli.stack.data_directory import DataDirectory
with DataDirectory(pathlib.Path(sys.argv[1])).hold():
    pass
"""


def hold_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TRY_TO_HOLD, str(path)], capture_output=True, text=True, check=False, timeout=30
    )


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with DataDirectory(tmp_path).hold():
        second = hold_elsewhere(tmp_path)
        assert second.returncode != 0
        assert "another parley runs on" in second.stderr
    assert hold_elsewhere(tmp_path).returncode == 0


def test_a_directory_that_cannot_be_made_is_a_failure_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailure, match="cannot keep state in"), DataDirectory(tmp_path / "file" / "data").hold():
        pass


def test_the_admin_password_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    password, is_new = directory.read_or_make_password()
    assert is_new
    assert len(password) >= 20
    assert stat.S_IMODE(directory.admin_password.stat().st_mode) == 0o600
    assert directory.read_or_make_password() == (password, False)


def test_git_sees_nothing_of_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    directory = DataDirectory(tmp_path / ".parley")
    with directory.hold():
        directory.read_or_make_password()
    seen = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout == ""


def test_a_directory_that_was_there_before_keeps_its_own_gitignore(tmp_path: Path) -> None:
    with DataDirectory(tmp_path).hold():
        assert not (tmp_path / ".gitignore").exists()

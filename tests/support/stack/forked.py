"""Services' processes that are forked from one that has imported them already.

To import a service takes a second of a processor, which is most of a start, and tests start some hundred. What is
forked goes on as `python -m` would: with a module's `__main__`, an environment and output of its own, and no memory
shared. How `parley up` starts, `parley run` and faults by a seed are tested with processes started from nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.paths import ROOT

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["__main__", "tests.support.stack.forked_modules"])


class ForkedProcess:
    """A module that runs as a program, for the tests what a `subprocess.Popen` is."""

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str], log: Path, directory: Path = ROOT
    ) -> None:
        self._module = module
        # A daemon: it ends with who started it, whatever a test forgot.
        self._process = _FORKING.Process(
            target=_run, args=(module, arguments, dict(environment), str(log), str(directory)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return the same. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(self._module, timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: str, directory: str) -> None:
    """Become the program, in the forked process."""
    os.chdir(directory)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

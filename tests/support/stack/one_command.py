"""`parley up` as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support.stack.forked import ForkedProcess
from tests.support.waiting import until_blocking

PARLEY = str(Path(sys.executable).with_name("parley"))
START_SECONDS = 60.0


class OneCommand:
    """A `parley up` on a data directory, started at once; by default on a port that it finds itself.

    It is forked from what is imported already; `from_nothing` starts the command as a user does.
    """

    def __init__(
        self, data: Path, *, port: int = 0, settings: Mapping[str, str] | None = None, from_nothing: bool = False
    ) -> None:
        self._output = data.with_suffix(".out")
        self._output.write_text("")
        arguments = ["up", "--port", str(port), "--data", str(data)]
        environment = os.environ | {"PARLEY_AUTH_REGISTER_RATE_ADDRESS": "1000/minute", **(settings or {})}
        self.process: ForkedProcess | subprocess.Popen[str]
        if not from_nothing:
            self.process = ForkedProcess(
                "parley.cli", *arguments, environment=environment, log=self._output, directory=data.parent
            )
            return
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [PARLEY, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
                cwd=data.parent, env=environment,
            )  # fmt: skip

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> OneCommand:
        until_blocking(
            lambda: "Ctrl-C stops" in self.printed or self.process.poll() is not None, "a ready stack", START_SECONDS
        )
        assert self.process.poll() is None, self.printed
        return self

    @property
    def url(self) -> str:
        return self.find(r"ready at (http://\S+)")

    @property
    def token(self) -> str:
        return self.find(r"(?m)^(ey\S+)$")

    def find(self, pattern: str) -> str:
        found = re.search(pattern, self.printed)
        assert found, self.printed
        return found[1]

    def family(self) -> list[psutil.Process]:
        """The process and its servers."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

"""`parley up` as a process on a port of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.acceptance.stack import free_port

START_SECONDS = 60.0


class OneCommand:
    """The one-command stack on a data directory; it may be stopped and started again under the same address."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = data.with_suffix(".out")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        command = [
            str(Path(sys.executable).with_name("parley")),
            "up",
            "--port",
            str(self.port),
            "--data",
            str(self.data),
        ]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.data.parent
            )
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops" not in self.printed():
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop it as Ctrl-C does and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)

    def printed(self) -> str:
        """What it printed since it was started."""
        return self._output.read_text(errors="replace")

    @property
    def admin_token(self) -> str:
        """The token it printed."""
        found = re.search(r"(?m)^(ey\S+)$", self.printed())
        assert found, self.printed()
        return found[1]

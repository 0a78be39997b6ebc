"""Wall clocks that can be set, each of one process: a small library that is compiled where it is needed."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")
SKIPPED = "no C compiler (cc) was found, so that no clock jumps"
"""Why no clock jumps, where none does."""


def compiled(directory: Path) -> Path | None:
    """The library, or None where there is nothing to compile it with."""
    if COMPILER is None:
        return None
    library = directory / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(
        [COMPILER, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    library.chmod(0o755)
    return library


class Clock:
    """The wall clock of a process and of its children."""

    def __init__(self, library: Path | None, file: Path) -> None:
        self._library = library
        self._file = file
        self.set(0)
        file.chmod(0o644)

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be started with."""
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be so far ahead, or behind if that is negative."""
        # In place, since whoever has mapped it looks at this very file.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

"""The production layout under `docker compose`."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.stack.stack import SECRET

GATEWAYS = 3


class Compose:
    """A compose project of its own name, on a free port."""

    def __init__(self, directory: Path) -> None:
        no_settings = directory / "empty.env"
        no_settings.touch()
        self._options = ["--project-name", f"parley-test-{uuid.uuid4().hex[:8]}", "--env-file", str(no_settings)]
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")} | {
            "PARLEY_PUBLISH": "127.0.0.1:0",
            "PARLEY_IMAGE": "parley-test",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            "PARLEY_AUTH_REGISTER_RATE_ADDRESS": "1000/minute",
        }
        self.url = ""

    def try_run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *self._options, *arguments],
            cwd=ROOT,
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        result = self.try_run(*arguments)
        assert result.returncode == 0, f"{arguments}:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        return result.stdout.strip()

    def start(self) -> None:
        self.run("build", "auth")
        self.run("up", "--detach", "--no-build", "--wait", "--scale", f"gateway={GATEWAYS}")
        self.url = f"http://{self.run('port', 'nginx', '80')}"

    def container_ids(self, service: str) -> list[str]:
        """The short ids of a service's containers."""
        return [line[:12] for line in self.run("ps", "--quiet", service).splitlines()]


def why_not() -> str | None:
    """What keeps these tests from running here."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode:
        return "no Docker engine answers"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30).returncode:
        return "there is no `docker compose`"
    for image in ("python:3.13-slim", "postgres:17", "nats:2.15", "nginx:1.26"):
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode and (
            subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, check=False).returncode
        ):
            return f"the image {image} is neither here nor can it be pulled"
    return None

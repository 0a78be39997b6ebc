"""A project's compose file: adding a service and leaving all else byte for byte, and writing the whole layout anew."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from parley.cli import bundled_files
from parley.cli.failure import CommandFailure

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""The file names that Compose looks for, in its order."""
WRITTEN = Path("docker-compose.yml")
NATS_URL = "nats://nats:4222"
SECRETS = "secrets-services"
"""The volume that holds the secrets of a project's services."""
_HEADER = """\
# The production layout on http://localhost:8080. Parley's image is made once, with `docker compose build` in a
# checkout of Parley; then `docker compose up --build` here. What must be secret is made by `secrets` and kept in
# volumes. Copy .env.example to .env for what is to be different.

"""


def find() -> Path | None:
    """Return the compose file of the working directory, or None."""
    return next((Path(name) for name in NAMES if Path(name).is_file()), None)


def layout() -> str:
    """Return the production layout for a project: as bundled, but with a ready image and the project's namespaces."""
    text = bundled_files.find("docker-compose.yml").read_text("utf-8")
    text = _HEADER + text[text.index("# No process may") :]
    text = re.sub(r"(?m)^ *build: (\*build|&build(\n    .*)+)\n", "", text)
    return text.replace("./deploy/namespaces.toml:", "./namespaces.toml:")


def services(text: str, where: Path) -> Any:
    """Return the services of a compose file with their merge keys resolved. Raises `CommandFailure` if it has none."""
    return _load(text, where)["services"]


def mounted_namespaces(text: str, where: Path) -> Path | None:
    """Return the file from which the gateway's namespaces are mounted, or None if none of the host's is."""
    gateway: Any = services(text, where).get("gateway") or {}
    inside = _environment(gateway).get("PARLEY_NAMESPACES_FILE")
    for volume in gateway.get("volumes") or ():
        if isinstance(volume, str):
            source, _, target = volume.partition(":")
            target = target.partition(":")[0]
        else:
            source, target = str(volume.get("source", "")), volume.get("target")
        if inside and target and PurePosixPath(target) == PurePosixPath(inside):
            return Path(source)
    return None


def with_service(text: str, name: str, where: Path) -> str:
    """Return a file's text with a service added after the others. Raises `CommandFailure` if that is not possible."""
    document = _load(text, where)
    if name in document["services"]:
        raise CommandFailure(f"{where} has a service {name} already; nothing was written")
    entry = _entry(document, name)
    indent = " " * (document["services"].lc.col or 2)
    # Lines are inserted into the text, because dumping the document again would lose its layout.
    lines = text.splitlines()
    place = _end_of_services(document, lines)
    lines[place:place] = ["", *(f"{indent}{line}".rstrip() for line in entry)]
    written = "\n".join(lines) + "\n"
    # Read back, because flow style or odd indentation may have swallowed the lines.
    if name not in services(written, where):
        raise CommandFailure(
            f"{where}: its services are written in a way that takes no further one; nothing was written"
        )
    return written


def _entry(document: Any, name: str) -> list[str]:
    """Return the lines of the service, which refer to what the file shares among its services."""
    environment: Any = document.get("x-environment")
    gateway: Any = document["services"].get("gateway") or {}
    lines = [
        f"{name}:",
        "  build:",
        f"    context: ./{name}",
        "    args:",
        "      PARLEY_IMAGE: ${PARLEY_IMAGE:-parley}",
        "  restart: unless-stopped",
        "  stop_grace_period: 15s",
        "  environment:",
    ]
    # The anchor of Parley's own layout has what all services need; a project's own file may lack it.
    if environment is not None and "PARLEY_NATS_URL" in environment and environment.anchor.value:
        lines.append(f"    <<: *{environment.anchor.value}")
    else:
        lines.append(f"    PARLEY_NATS_URL: {_environment(gateway).get('PARLEY_NATS_URL', NATS_URL)}")
    lines.append('    PARLEY_PORT: "8000"')
    if SECRETS in (document.get("volumes") or {}):
        # Of its own directory in the volume that the project's services share.
        lines.append(f"    PARLEY_NATS_PASSWORD_FILE: /run/parley/{name}/nats-password")
        lines.append(f'  volumes: ["{SECRETS}:/run/parley:ro"]')
    hardened = document.get("x-hardened")
    if hardened is not None and hardened.anchor.value:
        lines[1:1] = [f"  <<: *{hardened.anchor.value}"]
        lines.remove("  restart: unless-stopped")
    if "bus" in (document.get("networks") or {}):
        lines.append("  networks: [bus]")
    if "nats" in document["services"]:
        checked = "healthcheck" in document["services"]["nats"]
        lines += ["  depends_on:", "    nats:", f"      condition: service_{'healthy' if checked else 'started'}"]
    if hardened is None and (logging := gateway.get("logging")) is not None:
        anchor = logging.anchor.value
        lines.append(f"  logging: *{anchor}" if anchor else f"  logging: {json.dumps(logging)}")
    return lines


def _end_of_services(document: Any, lines: list[str]) -> int:
    """Return the line before which another service goes. Comments above the next section belong to that section."""
    begin = document.lc.key("services")[0]
    later = [line for line in (document.lc.key(key)[0] for key in document) if line > begin]
    place = min(later, default=len(lines))
    while place > begin + 1 and (not lines[place - 1].strip() or (later and lines[place - 1].startswith("#"))):
        place -= 1
    return place


def _environment(service: Any) -> dict[str, Any]:
    """Return a service's environment, which may be written as a mapping or as a list of assignments."""
    written: Any = service.get("environment") or {}
    if not isinstance(written, Mapping):
        written = {name: value for name, _, value in (str(assignment).partition("=") for assignment in written)}
    return cast("dict[str, Any]", written)


def _load(text: str, where: Path) -> Any:
    try:
        document: Any = YAML().load(text)
    except YAMLError as error:
        raise CommandFailure(f"{where}: {str(error).splitlines()[0]}; nothing was written") from error
    if not isinstance(document, Mapping) or not isinstance(document.get("services"), Mapping):
        raise CommandFailure(f"{where} has no services; nothing was written")
    return document  # pyright: ignore[reportUnknownVariableType]

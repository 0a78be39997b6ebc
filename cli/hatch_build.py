"""What the wheel carries of the repository besides the package, so that the command works outside of a checkout."""  # noqa: INP001 - hatchling runs it as a file

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("alembic.ini", "migrations", "docker-compose.yml", "deploy/nginx/nginx.conf", ".env.example")
PAGE = "web/public"


class ShippedFiles(BuildHookInterface[Any]):
    """Puts the files below `parley/cli/repository/`, where `parley.cli.bundled_files` finds them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add those that are there: the image is built without the files that only `parley new` writes."""
        if version == "editable":
            return
        repository = Path(self.root).parent
        shipped = [name for name in SHIPPED if (repository / name).exists()]
        # The page needs one file from npm, and is useless without it.
        if (repository / PAGE / "socket.io.min.js").exists():
            shipped.append(PAGE)
        for name in shipped:
            build_data["force_include"][str(repository / name)] = f"parley/cli/repository/{name}"

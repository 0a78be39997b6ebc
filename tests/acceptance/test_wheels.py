"""The wheels: every package has one, and the command's carries what it needs where there is no checkout."""

from __future__ import annotations

import email
import subprocess
import zipfile

import pytest

from tests.support.paths import ROOT

PACKAGES = ("auth", "chat", "cli", "common", "engineio", "framework", "gateway", "testing")
CARRIED = "parley/cli/repository/"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    """What `make wheels` builds, by package."""
    directory = tmp_path_factory.mktemp("dist")
    result = subprocess.run(
        ["make", "--no-print-directory", "wheels", f"DIST={directory}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = {path.name.split("-")[0].removeprefix("parley_"): zipfile.ZipFile(path) for path in directory.iterdir()}
    assert tuple(sorted(found)) == PACKAGES
    return found


def files(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def in_repository(directory: str) -> set[str]:
    """The files below a directory of the repository, without what Python leaves there."""
    found = (path for path in (ROOT / directory).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)) for path in found}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_its_package_whole_and_no_other(wheels: dict[str, zipfile.ZipFile], package: str) -> None:
    (source,) = (path for depth in ("*", "*/*") for path in ROOT.glob(f"{depth}/src/parley/{package}"))
    expected = {
        f"parley/{package}/{path.relative_to(source)}"
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in files(wheels[package]) if not name.startswith(CARRIED)} == expected


def test_the_command_carries_migrations_layout_and_templates(wheels: dict[str, zipfile.ZipFile]) -> None:
    held = {name.removeprefix(CARRIED) for name in files(wheels["cli"]) if name.startswith(CARRIED)}
    expected = {"alembic.ini", "docker-compose.yml", "deploy/nginx/nginx.conf", ".env.example"}
    expected |= in_repository("migrations")
    if (ROOT / "web" / "public" / "socket.io.min.js").exists():
        expected |= in_repository("web/public")
    assert held == expected
    carried = wheels["cli"].read(f"{CARRIED}docker-compose.yml")
    assert carried == (ROOT / "docker-compose.yml").read_bytes()


def test_only_the_command_carries_something(wheels: dict[str, zipfile.ZipFile]) -> None:
    others = set().union(*(files(wheel) for package, wheel in wheels.items() if package != "cli"))
    assert not [name for name in others if name.startswith(CARRIED)]


def test_the_command_is_installed_and_what_it_needs_is_named(wheels: dict[str, zipfile.ZipFile]) -> None:
    def read(name: str) -> str:
        wheel = wheels["cli"]
        return wheel.read(next(path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))).decode()

    assert "parley = parley.cli.main:app" in read("entry_points.txt")
    required = email.message_from_string(read("METADATA")).get_all("Requires-Dist") or []
    needed = {f"parley-{package}" for package in ("common", "framework", "gateway", "auth", "chat")} | {"ruamel-yaml"}
    assert needed <= {requirement.split(">")[0] for requirement in required}

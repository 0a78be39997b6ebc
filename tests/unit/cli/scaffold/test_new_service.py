"""`parley new service`: what it writes, what it adds to, and that it refuses before it writes anything."""

from __future__ import annotations

import difflib
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from parley.cli.main import app
from parley.gateway.namespaces import load
from tests.support.paths import ROOT

WRITTEN = {
    ".gitignore",
    "dice/__init__.py", "dice/service.py", "dice/Dockerfile", "tests/test_dice.py", "pyproject.toml",
    "namespaces.toml", "docker-compose.yml", "deploy/nginx/nginx.conf", ".env.example",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(name: str = "dice") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["new", "service", name])
    return result.exit_code, result.output


def everything(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def composed(path: str = "docker-compose.yml") -> dict[str, Any]:
    return YAML(typ="safe").load(Path(path))


def test_an_empty_folder_becomes_a_project(folder: Path) -> None:
    code, output = new()
    assert code == 0
    assert set(everything(folder)) == WRITTEN
    said = output.split("\nNext:\n")[0].splitlines()
    assert {line.removeprefix("Wrote").strip() for line in said} == WRITTEN
    for command in ("parley up", "pytest tests/test_dice.py", "docker compose up --build"):
        assert f"\n  {command}  " in output
    assert {name: space.service for name, space in load(Path("namespaces.toml")).items()} == {
        "/chat": "chat", "/dice": "dice"
    }  # fmt: skip
    assert len(Path("dice/service.py").read_text().splitlines()) < 40


def test_the_layout_is_the_shipped_one_with_the_service_in_it() -> None:
    new()
    shipped, written = composed(str(ROOT / "docker-compose.yml")), composed()
    dice = written["services"].pop("dice")
    assert set(written["services"]) == set(shipped["services"])
    assert [name for name, service in written["services"].items() if "build" in service] == []
    assert "./namespaces.toml:/etc/parley/namespaces.toml:ro" in written["services"]["gateway"]["volumes"]
    chat = written["services"]["chat"]
    assert chat["image"] == "${PARLEY_IMAGE:-parley}"
    assert dice["build"] == {"context": "./dice", "args": {"PARLEY_IMAGE": chat["image"]}}
    assert (dice["logging"], dice["networks"]) == (chat["logging"], ["bus"])
    assert dice["environment"]["PARLEY_NATS_URL"] == chat["environment"]["PARLEY_NATS_URL"]
    assert "PARLEY_DATABASE_URL" not in dice["environment"]
    assert "name" not in written, "the volumes of two projects must not be the same"
    for volume in written["services"]["nginx"]["volumes"]:
        assert Path(volume.split(":")[0]).is_file()


def test_a_second_service_is_added_and_nothing_else_changes() -> None:
    new()
    before = everything(Path.cwd())
    Path("dice/service.py").write_text("changed\n")
    code, output = new("word_game")
    assert code == 0
    assert "Added to docker-compose.yml\nAdded to namespaces.toml\n" in output
    after = everything(Path.cwd())
    assert after["dice/service.py"] == "changed\n"
    assert after["pyproject.toml"] == before["pyproject.toml"]
    for path in ("docker-compose.yml", "namespaces.toml"):
        removed = [
            line for line in difflib.ndiff(before[path].splitlines(), after[path].splitlines()) if line[0] == "-"
        ]
        assert removed == []
    assert set(load(Path("namespaces.toml"))) == {"/chat", "/dice", "/word_game"}
    assert {"dice", "word_game"} <= set(composed()["services"])


def test_this_repositorys_own_compose_file_takes_one(folder: Path) -> None:
    """Its gateway reads deploy/namespaces.toml, so that gets the namespace too."""
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", "deploy")
    before = Path("docker-compose.yml").read_text()
    assert new()[0] == 0
    after = Path("docker-compose.yml").read_text()
    added = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] != " "]
    assert {line[0] for line in added} == {"+"}
    assert "+   dice:" in added
    for path in ("deploy/namespaces.toml", "namespaces.toml"):
        assert set(load(Path(path))) == {"/chat", "/dice"}


@pytest.mark.parametrize("name", ["compose.yaml", "docker-compose.yml"])
def test_a_compose_file_of_another_style_keeps_everything(name: str) -> None:
    text = (
        "# ours\nnetworks:\n    default: {}   # one\nservices:\n    gateway:\n        image: parley # pinned\n"
        "        environment:\n            - PARLEY_NATS_URL=nats://broker:4222\n"
        "            - PARLEY_NAMESPACES_FILE=/ns.toml\n        volumes:\n            - type: bind\n"
        "              source: ./namespaces.toml\n              target: /ns.toml\n"
        "        logging: {driver: journald}\n\n# below\nvolumes:\n    data:\n"
    )
    Path(name).write_text(text)
    assert new()[0] == 0
    written = Path(name).read_text()
    for part in text.split("\n\n"):
        assert part in written
    assert written.index("# below") > written.index("    dice:\n")
    service = composed(name)["services"]["dice"]
    assert service["environment"] == {"PARLEY_NATS_URL": "nats://broker:4222", "PARLEY_PORT": "8000"}
    assert service["logging"] == {"driver": "journald"}
    assert {"networks", "depends_on"}.isdisjoint(service)


def test_services_at_the_end_of_the_file_take_one_too() -> None:
    Path("compose.yaml").write_text("services:\n  web:\n    image: web\n  # the last line\n")
    code, output = new()
    assert code == 0
    assert "The gateway in compose.yaml is given no namespaces file: mount ./namespaces.toml into it" in output
    assert set(composed("compose.yaml")["services"]) == {"web", "dice"}
    assert "  # the last line\n" in Path("compose.yaml").read_text()


def test_comments_and_order_of_the_namespaces_stay() -> None:
    text = '# ours\n[namespaces."/b"] # first\nservice = "b"\n\n[namespaces."/a"]\nservice = "a"\nrecovery = 5 # s'
    Path("namespaces.toml").write_text(text)
    assert new()[0] == 0
    assert Path("namespaces.toml").read_text() == (
        f'{text}\n\n[namespaces."/dice"]\nservice = "dice"\nauth = "required"\n'
    )


def test_an_own_pyproject_is_left_alone_and_told_what_is_missing() -> None:
    Path("pyproject.toml").write_text('[project]\nname = "ours"\n')
    code, output = new()
    assert code == 0
    assert 'pyproject.toml is left as it is; the test needs asyncio_mode = "auto", pythonpath = ["."]' in output
    assert tomllib.loads(Path("pyproject.toml").read_text()) == {"project": {"name": "ours"}}


@pytest.mark.parametrize(
    "name", ["Dice", "2dice", "dice-box", "dice_", "d__x", "a.b", "../x", "", "class", "x" * 65, "würfel"]
)
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    code, output = new(name)
    assert (code, everything(folder)) == (1, {})
    assert output.startswith(f"parley: {name!r} cannot be a service's name: ")
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [("chat", "is a part of Parley"), ("json", "installed Python module"), ("msgspec", "installed Python module")],
)
def test_a_name_that_something_has(folder: Path, name: str, why: str) -> None:
    code, output = new(name)
    assert (code, everything(folder)) == (1, {})
    assert output.startswith(f"parley: {name} ")
    assert why in output


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("dice/notes.txt", "mine", "dice exists already"),
        ("dice.py", "mine", "dice.py exists already"),
        ("tests/test_dice.py", "mine", "tests/test_dice.py exists already"),
        ("namespaces.toml", '[namespaces."/dice"]\nservice = "x"', "namespaces.toml has the namespace /dice already"),
        ("namespaces.toml", "[namespaces", "namespaces.toml: "),
        ("namespaces.toml", 'namespaces = {"/a" = {service = "a"}}', "namespaces.toml: "),
        ("compose.yaml", "services: {dice: {image: x}}", "compose.yaml has a service dice already"),
        ("compose.yaml", "services: {web: {image: x}}", "compose.yaml: "),
        ("compose.yaml", "services: [", "compose.yaml: "),
        ("compose.yaml", "volumes: {}", "compose.yaml has no services"),
    ],
)
def test_what_stands_in_the_way_is_named_and_nothing_is_written(folder: Path, path: str, text: str, said: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)
    code, output = new()
    assert code == 1
    assert output.startswith(f"parley: {said}")
    assert output.endswith("; nothing was written\n")
    assert output.count("\n") == 1
    assert everything(folder) == {path: text}


def test_secrets_and_state_are_kept_out_of_git(folder: Path) -> None:
    assert new()[0] == 0
    assert {".parley/", ".env"} <= set(Path(".gitignore").read_text().splitlines())


def test_an_own_gitignore_is_left_alone_and_told_what_is_missing(folder: Path) -> None:
    Path(".gitignore").write_text(".env\n")
    code, said = new()
    assert code == 0
    assert ".gitignore is left as it is; add .parley, which hold secrets." in said
    assert Path(".gitignore").read_text() == ".env\n"

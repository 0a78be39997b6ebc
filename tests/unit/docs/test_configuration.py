"""The configuration document names every setting of every service, with its default."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr

from parley.auth.settings import AuthSettings
from parley.chat.settings import ChatSettings
from parley.common.process.settings import ServiceSettings
from parley.gateway.settings import GatewaySettings
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "configuration.md"
SECTIONS: dict[str, type[ServiceSettings]] = {
    "Every service": ServiceSettings,
    "Gateway": GatewaySettings,
    "Auth": AuthSettings,
    "Chat": ChatSettings,
}
ROW = re.compile(r"^\| `(PARLEY_\w+)` \| ([^|]+?) \|", re.MULTILINE)


def documented(section: str) -> dict[str, str]:
    """The settings of a section with what stands in the column of defaults."""
    text = DOCUMENT.read_text("utf-8").split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return dict(ROW.findall(text))


def declared(settings: type[ServiceSettings]) -> dict[str, object]:
    """The settings a class adds to the shared ones, with their defaults."""
    shared = set(ServiceSettings.model_fields) if settings is not ServiceSettings else set[str]()
    return {
        f"PARLEY_{name.upper()}": field.get_default(call_default_factory=True)
        for name, field in settings.model_fields.items()
        if name not in shared
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_documented_and_nothing_else_is(section: str) -> None:
    assert sorted(documented(section)) == sorted(declared(SECTIONS[section]))


@pytest.mark.parametrize("section", SECTIONS)
def test_documented_defaults_are_the_real_ones(section: str) -> None:
    defaults = documented(section)
    for name, default in declared(SECTIONS[section]).items():
        if name == "PARLEY_PORT" or default is None or default == "" or isinstance(default, SecretStr):
            continue
        said = defaults[name].strip("`")
        expected = f"{default:g}" if isinstance(default, float) else str(default)
        assert said == (expected.lower() if isinstance(default, bool) else expected), name


def test_documented_ports_are_the_real_ones() -> None:
    said = documented("Every service")["PARLEY_PORT"]
    for service, settings in (("gateway", GatewaySettings), ("auth", AuthSettings), ("chat", ChatSettings)):
        assert f"{service} `{settings.model_fields['port'].default}`" in said

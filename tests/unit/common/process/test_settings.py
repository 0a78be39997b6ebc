"""Settings that are misspelt are named, with the one that was meant."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from parley.auth.settings import AuthSettings
from parley.chat.settings import ChatSettings
from parley.common.process.settings import ServiceSettings, misspelt_settings
from parley.gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PARLEY_GATEWAY_MAX_MESAGE", "PARLEY_GATEWAY_MAX_MESSAGE"),
        ("PARLEY_NATS_URI", "PARLEY_NATS_URL"),
        ("PARLY_LOG_LEVEL", "PARLEY_LOG_LEVEL"),
    ],
)
def test_a_misspelt_setting_is_found_in_the_environment_and_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "1")
    assert misspelt_settings(GatewaySettings) == {name: meant}
    monkeypatch.delenv(name)
    assert misspelt_settings(GatewaySettings) == {}
    Path(".env").write_text(f"{name.lower()}=1\n")
    assert misspelt_settings(GatewaySettings) == {name: meant}


@pytest.mark.parametrize(("own", "other"), list(permutations((AuthSettings, ChatSettings, GatewaySettings), 2)))
def test_settings_of_other_services_and_of_compose_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: type[ServiceSettings], other: type[ServiceSettings]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*other.model_fields, "image", "publish"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", "1")
    assert misspelt_settings(own) == {}

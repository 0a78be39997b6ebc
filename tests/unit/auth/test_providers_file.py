"""The file of providers: what it may hold, and that what is wrong with it is told without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from parley.auth.providers_file import InvalidProviders, load
from parley.auth.settings import AuthSettings
from parley.common.process.settings import UnsafeSettings
from tests.support.paths import ROOT

SECRET = "a secret of more than thirty-two bytes"
ISSUER = 'issuers.shop = {issuer = "https://shop.example.com", jwks_url = "https://shop.example.com/jwks"}'
OPENID = 'oidc.company = {issuer = "https://id.example.com", client_id = "parley"}'


def written(directory: Path, text: str) -> Path:
    path = directory / "providers.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("issuers.shop = {}", "issuers.shop"),
        ("issuers = 7", "issuers"),
        ("other.shop = {}", "other"),
        ('issuers.Shop = {issuer = "a"}', "issuers"),
        ('issuers.shop = {issuer = "a"}', "either jwks_url or a secret"),
        (
            f'issuers.shop = {{issuer = "a", secret = "{SECRET}", jwks_url = "https://a"}}',
            "either jwks_url or a secret",
        ),
        ('issuers.shop = {issuer = "a", secret = "secret-too-short"}', "32 bytes"),
        ('issuers.shop = {issuer = "a", secret_file = "/nowhere"}', "/nowhere"),
        ('issuers.shop = {issuer = "a", jwks_url = "ftp://a"}', "jwks_url"),
        (f"{ISSUER}\n{ISSUER.replace('issuers.shop', 'issuers.two')}", "the same issuer"),
        (ISSUER.replace("shop = ", "guest = "), "issuers.guest"),
        ("oidc.company = {}", "oidc.company"),
        (OPENID.replace("https", "http"), "https"),
        (OPENID.replace("}", ', scopes = ["email"]}'), "openid"),
        (OPENID.replace("}", ', parameters = {redirect_uri = "https://evil.example.com"}}'), "redirect_uri"),
        (OPENID.replace("}", ', unknown = "secret-of-mine"}'), "unknown"),
        (OPENID.replace("}", ', client_secret = ["secret-of-mine"]}'), "client_secret"),
        ("not toml", "providers.toml"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_without_secrets(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InvalidProviders) as refusal:
        load(written(tmp_path, text))
    assert where in str(refusal.value)
    assert not any(secret in str(refusal.value) for secret in (SECRET, "secret-too-short", "secret-of-mine"))


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    file = tmp_path / "secret"
    text = f'issuers.shop = {{issuer = "a", secret_file = "{file}"}}\n' + OPENID.replace(
        "}", f', client_secret_file = "{file}"}}'
    )
    found = load(written(tmp_path, text))
    assert found.issuers["shop"].secret == found.oidc["company"].client_secret == SECRET
    assert found.oidc["company"].label == "Company"


def test_a_missing_file_stops_the_process_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no such file"):
        AuthSettings(auth_providers_file=tmp_path / "none.toml")


def test_production_with_logins_elsewhere_needs_to_know_its_own_address(tmp_path: Path) -> None:
    production = {
        "environment": "production",
        "auth_admin_password": "a long password",
        "database_url": "postgresql:///a",
    }
    file = written(tmp_path, OPENID)
    with pytest.raises(UnsafeSettings, match="PARLEY_AUTH_PUBLIC_URL"):
        AuthSettings.model_validate({**production, "auth_providers_file": file}).refuse_unsafe()
    here = {**production, "auth_providers_file": file, "auth_public_url": "https://chat.example.com/"}
    assert AuthSettings.model_validate(here).auth_public_url == "https://chat.example.com"


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "http://example.com/", "app:/in", "https://", "https://a.example.com/#b", "/in"]
)
def test_a_redirect_uri_that_others_could_read_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        AuthSettings(auth_redirect_uris=[uri])


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    example = text.split("### Sign-in elsewhere", 1)[1].split("```toml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "company").write_text("secret")
    found = load(written(tmp_path, example.replace("/run/secrets/company", str(tmp_path / "company"))))
    assert list(found.issuers) == ["shop"]
    assert found.oidc["company"].roles == {"chat-admins": ("admin",)}


def test_an_empty_path_is_none_as_compose_passes_it_on() -> None:
    assert AuthSettings.model_validate({"auth_providers_file": ""}).providers.oidc == {}

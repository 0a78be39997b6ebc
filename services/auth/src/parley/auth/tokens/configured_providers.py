"""Whose tokens are accepted, by configuration: our own first, then each issuer that is named."""

from __future__ import annotations

from collections.abc import Callable

from parley.auth.outbound import Outbound
from parley.auth.settings import AuthSettings
from parley.auth.tokens.claims import ExternalUsers, RoleRule
from parley.auth.tokens.issuer_keys import IssuerKeys
from parley.auth.tokens.providers.own import OwnTokens
from parley.auth.tokens.providers.published_keys import PublishedKeys
from parley.auth.tokens.providers.shared_secret import SharedSecret
from parley.auth.tokens.signing import Signer
from parley.auth.tokens.verifier import Provider, Verifier


def make_verifier(
    settings: AuthSettings, signer: Signer, outbound: Outbound, now: Callable[[], float]
) -> tuple[Verifier, list[IssuerKeys]]:
    """Return the verifier, and the key sets that somebody has to keep fresh; `now` is the time our own tokens go by."""
    key_sets: list[IssuerKeys] = []

    def published(url: str) -> IssuerKeys:
        key_sets.append(IssuerKeys(url, outbound))
        return key_sets[-1]

    # Those of the file name their issuer, so they come before those of the environment, which need not.
    providers = [OwnTokens(signer, now), *_of_file(settings, published), *_of_environment(settings, published)]
    return Verifier(providers, now), key_sets


def _of_file(settings: AuthSettings, published: Callable[[str], IssuerKeys]) -> list[Provider]:
    found: list[Provider] = []
    for name, issuer in settings.providers.issuers.items():
        users = ExternalUsers(_prefix(name), rule=RoleRule(issuer.roles_claim, issuer.roles))
        if issuer.secret:
            found.append(SharedSecret(issuer.secret, users, issuer=issuer.issuer, audience=issuer.audience))
        else:
            keys = published(issuer.jwks_url)
            found.append(PublishedKeys(keys, users, issuer=issuer.issuer, audience=issuer.audience))
    return found


def _of_environment(settings: AuthSettings, published: Callable[[str], IssuerKeys]) -> list[Provider]:
    found: list[Provider] = []
    # Issuers of the environment have no prefix, or their users would be others after an upgrade. So their subjects must
    # not begin like an id of somebody else's user.
    reserved = tuple(_prefix(name) for name in settings.providers.issuers)
    users = ExternalUsers(reserved=reserved, rule=RoleRule(settings.auth_roles_claim, settings.auth_roles))
    expected = {"issuer": settings.auth_issuer, "audience": settings.auth_audience}
    # Both may be set, for as long as adopters go from one to the other.
    if secret := settings.auth_hs256_secret.get_secret_value():
        found.append(SharedSecret(secret, users, **expected))
    if settings.auth_jwks_url:
        found.append(PublishedKeys(published(settings.auth_jwks_url), users, **expected))
    return found


def _prefix(name: str) -> str:
    return f"{name}:"

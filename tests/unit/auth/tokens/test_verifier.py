"""Which tokens are accepted, and that no token can choose how it is checked."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parley.auth.tokens import decoding
from parley.auth.tokens import verifier as verification
from parley.auth.tokens.claims import ExternalUsers, RoleRule
from parley.auth.tokens.providers.own import OwnTokens
from parley.auth.tokens.providers.published_keys import PublishedKeys
from parley.auth.tokens.providers.shared_secret import SharedSecret
from parley.auth.tokens.verifier import Verifier
from parley.common.errors import Code
from tests.support.auth.issuer import (
    KEY,
    RSA_KEY,
    SECRET,
    SIGNER,
    Issuer,
    claims,
    code_of,
    forged,
    hs256,
    own,
    verifier,
)
from tests.support.waiting import until


async def test_own_token_is_accepted_and_keeps_the_fraction_of_its_issue_time() -> None:
    moment = datetime.now(UTC).replace(microsecond=123456)
    found = await verifier().verify(SIGNER.sign("u_1", "Alice", ["admin"], moment, 60))
    assert (found.user_id, found.name, found.roles) == ("u_1", "Alice", ("admin",))
    assert found.issued_at == moment.timestamp()


async def test_own_expired_token_is_expired() -> None:
    assert await code_of(verifier(), own(ttl=-1)) == Code.EXPIRED_TOKEN


@pytest.mark.parametrize("made", [own, lambda ttl: hs256(exp=int(time.time()) + ttl)], ids=["own", "shared secret"])
async def test_a_token_that_was_valid_before_is_refused_once_it_has_expired(
    made: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LEEWAY", 0)
    checked, token = verifier(), made(2)
    expires_at = (await checked.verify(token)).expires_at
    assert await checked.verify(token)
    await until(lambda: time.time() >= expires_at, "it has expired")
    assert await code_of(checked, token) == Code.EXPIRED_TOKEN


async def test_a_token_that_comes_again_costs_no_second_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = jwt.decode

    def count(token: str, *arguments: Any, **options: Any) -> Any:
        decoded.append(token)
        return decode(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", count)
    monkeypatch.setattr(verification, "MAX_VERIFIED", 3)
    checked = verifier(Issuer().published())
    tokens = [own(), *(hs256(sub=f"user-{number}") for number in range(4))]
    for token in tokens:
        assert await checked.verify(token) == await checked.verify(token)
    assert decoded == tokens
    await checked.verify(tokens[0])
    assert decoded == [*tokens, tokens[0]], "no more than a bound are remembered"
    published = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    for _ in range(2):
        await checked.verify(published)
    assert decoded[-2:] == [published, published], "an issuer may withdraw its key"


async def test_a_public_key_as_shared_secret_is_refused_at_the_start() -> None:
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(jwt.InvalidKeyError):
        verifier(secret=public)


async def test_tampered_own_token_is_refused() -> None:
    header, _, signature = own().split(".")
    payload = forged({}, claims(sub="u_2")).split(".")[1]
    assert await code_of(verifier(), f"{header}.{payload}.{signature}") == Code.INVALID_TOKEN


async def test_token_of_the_shared_secret_is_accepted_with_roles_that_mean_nothing_here() -> None:
    found = await verifier().verify(hs256(roles=["admin", "admin:read", "guest", "bot", "staff"]))
    assert (found.user_id, found.name, found.roles) == ("alice@example.com", "Alice", ("staff",))


async def test_a_mapping_gives_roles_of_ours_for_those_of_the_issuer() -> None:
    granting = verifier(rule=RoleRule("realm_access.roles", {"chat-admins": ("admin", "admin:read")}))
    for given, roles in (
        ({"realm_access": {"roles": ["chat-admins", "staff"]}}, ("admin", "admin:read", "chat-admins", "staff")),
        ({"realm_access": {"roles": ["admin"]}, "roles": ["chat-admins"]}, ()),
        ({"realm_access.roles": ["chat-admins"]}, ("admin", "admin:read", "chat-admins")),
        ({"realm_access": "chat-admins"}, ()),
        ({}, ()),
    ):
        assert (await granting.verify(hs256(**given))).roles == roles


async def test_name_defaults_to_the_subject() -> None:
    assert (await verifier().verify(hs256(name=None))).name == "alice@example.com"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 1])
@pytest.mark.parametrize("kid", [None, KEY.kid, "rsa"], ids=["none", "own", "rsa"])
async def test_unsigned_token_is_refused(algorithm: Any, kid: str | None) -> None:
    header = {"alg": algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
    token = forged(header, claims(iss="parley", roles=["admin"]))
    assert await code_of(verifier(Issuer().published()), token) == Code.INVALID_TOKEN


async def test_public_key_cannot_serve_as_shared_secret() -> None:
    """The classic confusion: HS256 with the published key as its secret."""
    ours, theirs = KEY.private.public_key(), RSA_KEY.public_key()
    known = [
        (KEY.kid, ours.public_bytes(Encoding.Raw, PublicFormat.Raw)),
        (KEY.kid, ours.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        (KEY.kid, KEY.jwk["x"].encode()),
        ("rsa", theirs.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        ("rsa", theirs.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    ]
    for kid, secret in known:
        unsigned = forged({"alg": "HS256", "kid": kid}, claims(iss="parley", roles=["admin"])).rsplit(".", 1)[0]
        signature = base64.urlsafe_b64encode(hmac.digest(secret, unsigned.encode(), "sha256")).rstrip(b"=").decode()
        for checked in (verifier(Issuer().published()), verifier(Issuer().published(), secret="")):
            assert await code_of(checked, f"{unsigned}.{signature}") == Code.INVALID_TOKEN


async def test_shared_secret_cannot_forge_our_own_users() -> None:
    for kid in (KEY.kid, None):
        headers = {"kid": kid} if kid else None
        token = jwt.encode(claims(sub="u_1", iss="parley"), SECRET, "HS256", headers=headers)
        assert await code_of(verifier(), token) == Code.INVALID_TOKEN


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_other_hmac_algorithms_are_refused(algorithm: str) -> None:
    token = jwt.encode(claims(), SECRET * 2, algorithm)
    assert await code_of(verifier(secret=SECRET * 2), token) == Code.INVALID_TOKEN


async def test_shared_secret_is_refused_where_none_is_configured() -> None:
    assert await code_of(verifier(secret=""), hs256()) == Code.INVALID_TOKEN


async def test_expired_external_token_is_expired_and_one_without_expiry_is_invalid() -> None:
    assert await code_of(verifier(), hs256(exp=int(time.time()) - 60)) == Code.EXPIRED_TOKEN
    assert await code_of(verifier(), hs256(exp=None)) == Code.INVALID_TOKEN


async def test_audience_and_issuer_are_checked_where_configured() -> None:
    strict = verifier(audience="chat", issuer="https://id.example.com")
    right = {"aud": ["chat", "other"], "iss": "https://id.example.com"}
    assert (await strict.verify(hs256(**right))).name == "Alice"
    for wrong in ({"aud": "other"}, {"aud": None}, {"iss": "https://evil.example.com"}, {"iss": None}):
        assert await code_of(strict, hs256(**{**right, **wrong})) == Code.INVALID_TOKEN
    assert (await verifier().verify(hs256(**right))).name == "Alice"


@pytest.mark.parametrize(
    "wrong",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 129},
        {"sub": "u_0190"},
        {"sub": "guest:1"},
        {"sub": "a\x00b"},
        {"sub": "a\ud800"},
        {"name": ""},
        {"name": 7},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": ["x"] * 33},
        {"roles": [""]},
        {"roles": {"staff": True}},
        {"iat": True},
        {"iat": "yesterday"},
        {"iat": float("inf")},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": []},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
    ],
    # Times of now differ between the processes that share a run.
    ids=lambda wrong: re.sub(r"\d{6,}", "later", str(wrong)),
)
async def test_malformed_claims_are_refused(wrong: dict[str, Any]) -> None:
    payload = claims() | wrong
    token = jwt.api_jws.encode(json.dumps(payload).encode(), SECRET, "HS256")
    assert await code_of(verifier(), token) == Code.INVALID_TOKEN


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\ud800.x.y", "x" * 9000, forged({"alg": "HS256", "kid": 5}, {}), "e30.e30.e30"],
    ids=lambda token: ascii(token[:12]),
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert await code_of(verifier(Issuer().published()), token) == Code.INVALID_TOKEN


async def test_deeply_nested_token_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    assert await code_of(verifier(), f"{deep}.e30.e30") == Code.INVALID_TOKEN


async def test_each_of_several_issuers_is_asked_about_its_own_tokens_alone() -> None:
    one, two = "https://one.example.com", "https://two.example.com"
    checked = Verifier(
        [
            OwnTokens(SIGNER),
            SharedSecret("one" + SECRET, ExternalUsers("one:"), issuer=one),
            PublishedKeys(Issuer().published(), ExternalUsers("two:"), issuer=two),
            SharedSecret(SECRET, ExternalUsers(reserved=("one:", "two:"))),
        ]
    )
    signed = jwt.encode(claims(iss=two), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert (await checked.verify(signed)).user_id == "two:alice@example.com"
    assert (
        await checked.verify(jwt.encode(claims(iss=one), "one" + SECRET, "HS256"))
    ).user_id == "one:alice@example.com"
    assert (await checked.verify(hs256())).user_id == "alice@example.com"
    for refused in (
        jwt.encode(claims(iss=one), SECRET, "HS256"),
        jwt.encode(claims(iss=one), RSA_KEY, "RS256", headers={"kid": "rsa"}),
        hs256(sub="two:alice@example.com"),
    ):
        assert await code_of(checked, refused) == Code.INVALID_TOKEN


@pytest.mark.parametrize("skew", [-120, 120])
async def test_an_issuer_whose_clock_differs_by_two_minutes_is_believed(skew: int) -> None:
    there = int(time.time()) + skew
    token = hs256(iat=there, nbf=there, exp=there + 3600)
    assert (await verifier().verify(token)).issued_at == there

"""Which tokens are accepted, and that no token can choose how it is checked."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from parley.auth.outbound import Outbound
from parley.auth.tokens import decoding, issuer_keys
from parley.auth.tokens import verifier as verification
from parley.auth.tokens.claims import ExternalUsers, RoleRule
from parley.auth.tokens.issuer_keys import IssuerKeys
from parley.auth.tokens.providers.own import OwnTokens
from parley.auth.tokens.providers.published_keys import PublishedKeys
from parley.auth.tokens.providers.shared_secret import SharedSecret
from parley.auth.tokens.signing import Signer, SigningKey
from parley.auth.tokens.verifier import Provider, Verifier
from parley.common.errors import Code, Reject

SECRET = "a shared secret of more than 32 bytes"
KEY = SigningKey.of(Ed25519PrivateKey.generate())
SIGNER = Signer([KEY])
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """An adopter's token issuer: publishes keys over HTTP and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "alg": "RS256"},
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"},
        ]
        self.asked = 0
        self.body: bytes | None = None

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.asked += 1
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def published(self) -> IssuerKeys:
        return IssuerKeys("http://issuer/jwks", Outbound(httpx.AsyncClient(transport=httpx.ASGITransport(self))))


def verifier(
    keys: IssuerKeys | None = None, *, secret: str = SECRET, audience: str = "", issuer: str = "",
    rule: RoleRule | None = None,
) -> Verifier:  # fmt: skip
    users = ExternalUsers(rule=rule or RoleRule())
    providers: list[Provider] = [OwnTokens(SIGNER)]
    if secret:
        providers.append(SharedSecret(secret, users, audience=audience, issuer=issuer))
    if keys is not None:
        providers.append(PublishedKeys(keys, users, audience=audience, issuer=issuer))
    return Verifier(providers)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "alice@example.com", "name": "Alice", "iat": now, "exp": now + 60, **changed}
    return {name: value for name, value in made.items() if value is not None}


def hs256(**changed: Any) -> str:
    return jwt.encode(claims(**changed), SECRET, "HS256")


def own(ttl: int = 60) -> str:
    return SIGNER.sign("u_1", "Alice", ["admin"], datetime.now(UTC), ttl)


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def code_of(checked: Verifier, token: str) -> Code:
    with pytest.raises(Reject) as rejection:
        await checked.verify(token)
    return rejection.value.code


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
    async with asyncio.timeout(10):
        while time.time() < expires_at:
            await asyncio.sleep(0.02)
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


async def test_published_keys_are_accepted_with_their_own_algorithm_only() -> None:
    checked = verifier(Issuer().published())
    for key, algorithm, kid in ((RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec")):
        found = await checked.verify(jwt.encode(claims(), key, algorithm, headers={"kid": kid}))
        assert found.user_id == "alice@example.com"
    token = jwt.encode(claims(), RSA_KEY, "RS512", headers={"kid": "rsa"})
    assert await code_of(checked, token) == Code.INVALID_TOKEN
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "rsa"})
    assert await code_of(checked, token) == Code.INVALID_TOKEN


async def test_published_symmetric_keys_are_ignored() -> None:
    issuer = Issuer()
    published = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    issuer.keys.append({"kty": "oct", "k": published, "kid": "oct", "alg": "HS256"})
    token = jwt.encode(claims(), SECRET, "HS256", headers={"kid": "oct"})
    assert await code_of(verifier(issuer.published(), secret=""), token) == Code.INVALID_TOKEN


async def test_token_without_key_id_fits_an_only_key() -> None:
    issuer = Issuer()
    token = jwt.encode(claims(), RSA_KEY, "RS256")
    assert await code_of(verifier(issuer.published()), token) == Code.INVALID_TOKEN
    del issuer.keys[1]
    assert (await verifier(issuer.published()).verify(token)).name == "Alice"


async def test_new_published_key_is_fetched_and_strangers_cannot_force_fetching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = Issuer()
    late = issuer.keys.pop()
    checked = verifier(issuer.published())
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec"})
    for _ in range(20):
        assert await code_of(checked, token) == Code.INVALID_TOKEN
    assert issuer.asked == 1
    issuer.keys.append(late)
    monkeypatch.setattr(issuer_keys, "REFETCH_INTERVAL", 0.0)
    assert (await checked.verify(token)).name == "Alice"
    assert issuer.asked == 2


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": 1}', b'{"keys": []}', b"x" * 300_000])
async def test_issuer_that_publishes_nonsense_is_unavailable_and_keeps_known_keys(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "REFETCH_INTERVAL", 0.0)
    issuer = Issuer()
    issuer.body = body
    checked = verifier(issuer.published())
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert await code_of(checked, token) == Code.UNAVAILABLE
    issuer.body = None
    assert (await checked.verify(token)).name == "Alice"
    issuer.body = body
    unknown = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "new"})
    assert await code_of(checked, unknown) == Code.INVALID_TOKEN
    assert (await checked.verify(token)).name == "Alice"


ODD_KEYS: list[Any] = [
    None, "a string", 7, [], {}, {"kty": "oct"}, {"kty": "oct", "k": 7}, {"kty": ["RSA"]}, {"kty": {}},
    {"kty": "RSA", "alg": "none"}, {"kty": "RSA", "alg": ["RS256"]}, {"kty": "RSA", "n": "AQAB"},
    {"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "RSA", "n": "", "e": ""},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "oth": 1},
    {"kty": "EC", "crv": "P-256", "x": "AQAB"}, {"kty": "EC", "crv": {}, "x": "AQAB", "y": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}, {"kty": "OKP", "crv": "X25519", "x": "AQAB"},
    {"kty": "OKP", "crv": "Ed25519", "x": "A"}, {"kty": "OKP", "crv": "Ed25519", "x": "\u20ac"}, {"kty": "LMS"},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
async def test_a_key_that_cannot_be_used_leaves_the_others_of_its_set_usable(odd: Any) -> None:
    for before in (True, False):
        issuer = Issuer()
        issuer.keys.insert(0 if before else 2, odd)
        token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
        assert (await verifier(issuer.published()).verify(token)).name == "Alice"


async def test_a_key_of_no_algorithm_that_we_know_never_serves_another() -> None:
    issuer = Issuer()
    for key in issuer.keys:
        key["alg"] = "RSA-OAEP"
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert await code_of(verifier(issuer.published()), token) == Code.UNAVAILABLE


async def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "MAX_AGE", 0.0)
    monkeypatch.setattr(issuer_keys, "REFETCH_INTERVAL", 0.0)
    issuer, hanging = Issuer(), asyncio.Event()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if issuer.asked:
            hanging.set()
            await asyncio.Event().wait()
        await issuer(scope, receive, send)

    keys = IssuerKeys("http://issuer/jwks", Outbound(httpx.AsyncClient(transport=httpx.ASGITransport(answer))))
    checked = verifier(keys)
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert await checked.verify(token)
    refreshing = asyncio.create_task(keys.run())
    await hanging.wait()
    # It never answers: whoever waited for it would wait for the whole of its time-out.
    async with asyncio.timeout(1):
        for _ in range(100):
            assert await checked.verify(token)
    refreshing.cancel()


async def test_a_withdrawn_key_stops_working_without_anybody_asking_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(issuer_keys, "MAX_AGE", 0.01)
    issuer = Issuer()
    keys = issuer.published()
    checked = verifier(keys)
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert await checked.verify(token)
    del issuer.keys[0]
    refreshing = asyncio.create_task(keys.run())
    async with asyncio.timeout(10):
        while issuer.asked < 3:
            await asyncio.sleep(0.01)
    assert await code_of(checked, token) == Code.INVALID_TOKEN
    refreshing.cancel()


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

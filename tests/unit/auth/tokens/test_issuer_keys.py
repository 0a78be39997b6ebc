"""Keys that an issuer publishes: which of them serve, until when, and who waits for them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import jwt
import pytest

from parley.auth.outbound import Outbound
from parley.auth.tokens import issuer_keys
from parley.auth.tokens.issuer_keys import IssuerKeys
from parley.common.errors import Code
from tests.support.auth.issuer import (
    EC_KEY,
    RSA_KEY,
    SECRET,
    Issuer,
    claims,
    code_of,
    verifier,
)
from tests.support.waiting import until


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
    await until(lambda: issuer.asked >= 3)
    assert await code_of(checked, token) == Code.INVALID_TOKEN
    refreshing.cancel()

"""Who logs in at a provider alone, and has no password to show, deletes their account by a login of just now."""

from __future__ import annotations

from typing import Any

import httpx
from sqlalchemy import text

from parley.auth.accounts.own_account import FRESH_SECONDS
from tests.support.auth.lying_provider import Lying, sign_in
from tests.support.auth.service import Auth, bearer, code


async def delete(auth: Auth, token: str, **body: Any) -> httpx.Response:
    return await auth.client.request("DELETE", "/auth/me", json=body, headers=bearer(token))


async def make_older(auth: Auth, seconds: int) -> None:
    async with auth.components.database.transaction() as connection:
        older = text("UPDATE auth.sessions SET created_at = created_at - make_interval(secs => :seconds)")
        await connection.execute(older, {"seconds": seconds})


async def test_a_login_of_just_now_stands_for_the_password_and_an_older_one_does_not(auth: Auth, lying: Lying) -> None:
    granted = await sign_in(auth, lying)
    await make_older(auth, FRESH_SECONDS)
    # However new its tokens are, it is the login that counts.
    refreshed = (await auth.post("/auth/refresh", {"refresh_token": granted["refresh_token"]})).json()
    for token in (granted["access_token"], refreshed["access_token"]):
        refused = await delete(auth, token)
        assert refused.status_code == 403
        assert refused.json()["error"] == {
            "code": "fresh_login_required", "message": "This login is too old for that; log in again.",
            "retryable": False, "data": {"max_age": FRESH_SECONDS},
        }  # fmt: skip
    again = await sign_in(auth, lying)
    assert again["user_id"] == granted["user_id"]
    assert code(await delete(auth, again["access_token"], password="there is none")) == "forbidden"
    assert (await delete(auth, again["access_token"])).status_code == 200
    assert code(await auth.get("/auth/me", again["access_token"])) == "invalid_token"
    assert (await sign_in(auth, lying))["user_id"] != granted["user_id"]


async def test_who_has_a_password_shows_it_and_whose_tokens_others_issue_is_sent_there(
    auth: Auth, lying: Lying
) -> None:
    ann = await auth.register("ann")
    assert code(await delete(auth, ann["access_token"])) == "invalid_payload"
    assert (await auth.get("/auth/me", ann["access_token"])).status_code == 200
    granted = await sign_in(auth, lying)
    async with auth.components.database.transaction() as connection:
        # As of a session that did not begin at a provider.
        await connection.execute(text("DELETE FROM auth.provider_sessions"))
    assert code(await delete(auth, granted["access_token"])) == "forbidden"
    assert (await auth.get("/auth/me", granted["access_token"])).status_code == 200

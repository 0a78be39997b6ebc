"""Whose account a login at a provider is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.auth.lying_provider import Lying, come_back, me, query_of, sign_in, start
from tests.support.auth.service import PASSWORD, Auth, bearer

SECOND = """
link_by_email = {company}

[oidc.second]
issuer = "http://localhost:1/"
client_id = "parley"
link_by_email = {second}
"""


async def had_before(auth: Auth, address: str) -> None:
    """Somebody has logged in at the second provider, which named this address as verified."""
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("INSERT INTO auth.users (id, name, kind) VALUES ('u_before', 'B', 'external')"))
        await connection.execute(
            text(
                "INSERT INTO auth.identities (issuer, subject, user_id, name, address, roles) "
                "VALUES ('http://localhost:1/', 'b', 'u_before', 'B', :address, '{}')"
            ),
            {"address": address},
        )


@pytest.mark.parametrize(
    ("auth", "claims", "linked"),
    [
        (SECOND.format(company="true", second="true"), {"email_verified": True}, True),
        (SECOND.format(company="true", second="true"), {"email_verified": True, "email": "ADA@example.com"}, True),
        (SECOND.format(company="true", second="true"), {"email_verified": False}, False),
        (SECOND.format(company="true", second="true"), {}, False),
        (SECOND.format(company="true", second="true"), {"email_verified": True, "email": "eve@example.com"}, False),
        (SECOND.format(company="false", second="true"), {"email_verified": True}, False),
        (SECOND.format(company="true", second="false"), {"email_verified": True}, False),
    ],
    indirect=["auth"],
    ids=["verified", "in another case", "unverified", "not said", "another", "of who is not believed", "with another"],
)
async def test_an_account_is_linked_by_a_verified_address_of_providers_that_are_believed(
    auth: Auth, lying: Lying, claims: dict[str, Any], linked: bool
) -> None:
    await had_before(auth, "ada@example.com")
    lying.claims = {"email": "ada@example.com", **claims}
    first = await sign_in(auth, lying)
    assert (first["user_id"] == "u_before") is linked
    assert (await sign_in(auth, lying))["user_id"] == first["user_id"]


async def test_a_name_that_shows_nothing_is_passed_over_and_a_login_elsewhere_is_part_of_the_export(
    auth: Auth, lying: Lying
) -> None:
    lying.claims = {"name": "\u200b\u2800", "preferred_username": "ada", "email": "ada@example.com"}
    granted = await sign_in(auth, lying)
    assert (await me(auth, granted))["name"] == "ada"
    lines = (await auth.get("/auth/me/export", granted["access_token"])).text.splitlines()
    (login,) = [json.loads(line)["identity"] for line in lines if '"type":"identity"' in line]
    assert (login["issuer"], login["subject"], login["address"]) == (lying.url, "ada", "")


async def test_first_logins_of_one_person_at_once_make_one_account(auth: Auth, lying: Lying) -> None:
    asked = [await start(auth, lying) for _ in range(5)]
    lying.claims = {"nonce": None}

    async def answer(one: dict[str, str]) -> str:
        async with auth.components.database.transaction() as connection:
            await connection.execute(text("UPDATE auth.oidc_logins SET nonce = 'same'"))
        lying.claims = {"nonce": "same"}
        return query_of(await come_back(auth, one))["code"]

    codes = await asyncio.gather(*map(answer, asked))
    grants = [(await auth.post("/auth/oidc/token", {"code": code})).json() for code in codes]
    assert len({grant["user_id"] for grant in grants}) == 1


@pytest.mark.parametrize("auth", [SECOND.format(company="true", second="true")], indirect=True)
async def test_an_address_that_was_verified_here_links_and_one_that_is_not_yet_does_not(
    auth: Auth, lying: Lying
) -> None:
    local = await auth.register("ada")
    body = {"email": "Ada@Example.com", "password": PASSWORD}
    given = await auth.client.put("/auth/me/email", json=body, headers=bearer(local["access_token"]))
    assert given.status_code == 200
    lying.claims = {"sub": "other", "email": "ada@example.com", "email_verified": True}
    unlinked = (await sign_in(auth, lying))["user_id"]
    assert unlinked != local["user_id"]
    async with auth.components.database.transaction() as connection:
        await connection.execute(text("DELETE FROM auth.users WHERE id = :id"), {"id": unlinked})
        # As it is once its owner has confirmed it.
        verified = "INSERT INTO auth.emails (user_id, address, address_key) VALUES (:id, :address, lower(:address))"
        await connection.execute(text(verified), {"id": local["user_id"], "address": "Ada@Example.com"})
    assert (await sign_in(auth, lying))["user_id"] == local["user_id"]

"""What stands in front of logins reads their bodies, and is as careful with them as what stands behind it."""

from __future__ import annotations

from typing import Any

from tests.support.auth.service import code, running_auth


async def test_bodies_that_are_no_login_are_refused_by_a_code(database_url: str, nats_url: str):
    async with running_auth(database_url, nats_url) as auth:
        for body in (
            b'{"username":"alice","password":' + b"[" * 3000 + b"]" * 3000 + b"}",
            b"[" * 4000, b'{"username":{"a":' * 900, b'{"username":"\\ud800","password":"longenough"}',
            b'{"username":"\xed\xa0\x80"}', b"\xff", b"null", b'{"username":1e400}', b'{"username":"a","username":"b"}',
        ):  # fmt: skip
            said: Any = await auth.client.post("/auth/login", content=body)
            assert (said.status_code, code(said)) == (422, "invalid_payload"), body[:40]

"""Every endpoint of the admin API has a right in one table, is refused to whoever has less, and is in the docs."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy import update

from parley.auth.app import create_app
from parley.auth.http.admin.rights import RIGHTS, administrator
from parley.auth.http.admin.routes import ROUTERS
from parley.auth.settings import AuthSettings
from parley.auth.tables import users
from parley.common.wire.rights import RIGHT_OF_ROLE, Right
from tests.support.auth.service import Auth, bearer, code, running_auth
from tests.support.paths import ROOT

NUMBERS = itertools.count()
APP = create_app(AuthSettings(auth_admin_password=SecretStr("of nobody")))
ROUTES = [
    (method, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


def calls(dependant: Any) -> set[Any]:
    """The functions that an endpoint depends on."""
    return {each.call for each in dependant.dependencies}.union(*(calls(each) for each in dependant.dependencies))


@pytest.fixture
async def auth(database_url: str, nats_url: str) -> AsyncIterator[Auth]:
    async with running_auth(database_url, nats_url) as running:
        yield running


async def with_roles(auth: Auth, *roles: str) -> str:
    """A token of somebody who has these roles."""
    granted = await auth.register(f"someone_{next(NUMBERS)}")
    async with auth.components.database.transaction() as connection:
        await connection.execute(update(users).where(users.c.id == granted["user_id"]).values(roles=list(roles)))
    return granted["access_token"]


def test_every_endpoint_of_the_admin_api_has_a_right_and_asks_for_it():
    served = {
        (method.upper(), path)
        for path, methods in APP.openapi()["paths"].items()
        for method in methods
        if path.startswith("/admin")
    }
    assert served == {(method, route.path_format) for method, route in ROUTES}
    assert {(method, route.path) for method, route in ROUTES} == set(RIGHTS)
    assert [route.path for _, route in ROUTES if administrator not in calls(route.dependant)] == []


async def test_each_right_opens_its_endpoints_and_those_of_lesser_rights_alone(auth: Auth):
    tokens = {role: await with_roles(auth, role) for role in RIGHT_OF_ROLE}
    plain = await with_roles(auth, "admin:everything", "moderator")
    for method, route in ROUTES:
        path = re.sub(r"{[^}]*}", "x", route.path)
        for role, token in [*tokens.items(), ("", plain)]:
            if RIGHT_OF_ROLE.get(role, 0) >= RIGHTS[method, route.path]:
                continue  # what they may do is what the other tests are about
            response = await auth.client.request(method, path, json={}, headers=bearer(token))
            assert (response.status_code, code(response)) == (403, "forbidden"), (method, path, role)
        for token, refused in (("", "missing_token"), ("nonsense", "invalid_token")):
            response = await auth.client.request(method, path, json={}, headers=bearer(token))
            assert (response.status_code, code(response)) == (401, refused), (method, path)
    for role, token in tokens.items():
        seen = await auth.get("/admin/audit", token)
        assert (seen.status_code, seen.json()["entries"]) == (200, []), role
    assert (await auth.post("/admin/users/guest:1/kick", {}, tokens["admin:read"])).status_code == 403
    assert (await auth.post("/admin/users/guest:1/kick", {}, tokens["admin:moderate"])).status_code == 404


def test_the_docs_have_the_table_of_rights():
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    written = {
        (method, path.replace("{id}", "{}")): Right[right.upper()]
        for path, method, right in re.findall(r"^\| `(/admin\S*)` \| (\w+) \| `(\w+)` \|", text, re.MULTILINE)
    }
    actual = {(method, re.sub(r"{[^}]*}", "{}", path)): right for (method, path), right in RIGHTS.items()}
    assert written == actual

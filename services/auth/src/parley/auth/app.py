"""The composition root: what the auth service is made of, and in which order it opens and closes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from parley.auth.accounts import first_admin
from parley.auth.accounts.accounts import Accounts
from parley.auth.accounts.attempt_throttle import Throttled
from parley.auth.accounts.passwords import Passwords
from parley.auth.accounts.refresh_tokens import RefreshTokens
from parley.auth.components import Components, components_of
from parley.auth.database import Database, create_engine
from parley.auth.http import endpoints
from parley.auth.http.admin import connections as admin_connections
from parley.auth.http.admin import rooms as admin_rooms
from parley.auth.http.admin import users as admin_users
from parley.auth.identity import responders
from parley.auth.identity.authenticator import Identities
from parley.auth.moderation.gateway_memory import GatewayMemory
from parley.auth.moderation.kicks import Gateways
from parley.auth.settings import Settings
from parley.auth.tokens.providers.issuer_keys import FETCH_TIMEOUT, IssuerKeys
from parley.auth.tokens.signing import Signer, load_signer
from parley.auth.tokens.verifier import Verifier
from parley.common.http.api import install_errors
from parley.common.http.api_page import install_api_page
from parley.common.http.cors import install_cors
from parley.common.http.health import health_router
from parley.common.http.problems import problem_response
from parley.framework import Service

MAX_WAIT = 3.0
"""Seconds a question for a user may have been waiting in a service that is ready."""
STARTUP_SECONDS = 60.0
"""Seconds that replicas which start together wait for each other."""

service = Service("auth", settings=Settings)
"""Behind no namespace: it answers what gateways ask, and its own HTTP side is what people see of it."""


def create_app(settings: Settings) -> FastAPI:
    """The auth service. Raises `UnsafeSettings`; nothing is connected until the app starts."""
    settings.refuse_unsafe()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.components = await open_components(settings, stack)
            yield

    app = FastAPI(
        title="Parley auth",
        description="Accounts, tokens and the admin API.",
        lifespan=lifespan,
        docs_url=None,
        openapi_url="/auth/openapi.json",
        redoc_url=None,
    )
    install_errors(app)
    install_cors(app, settings)
    install_api_page(app, "/auth/docs")

    @app.exception_handler(Throttled)
    async def throttled(_request: Request, rejection: Throttled) -> JSONResponse:
        return problem_response(rejection, headers={"retry-after": str(rejection.retry_after)})

    async def check_database() -> str | None:
        components = components_of(app)
        if (waits := components.identities.waits()) > MAX_WAIT:
            return f"authentications have been waiting for {waits:.0f} s"
        return await components.database.check()

    async def check_bus() -> str | None:
        return components_of(app).bus.check()

    _ = throttled
    app.include_router(health_router({"database": check_database, "nats": check_bus}))
    app.include_router(endpoints.router)
    app.include_router(admin_users.router)
    app.include_router(admin_connections.router)
    app.include_router(admin_rooms.router)
    return app


async def _start_up(passwords: Passwords, settings: Settings) -> Signer:
    """Make what must exist once, however long another replica that starts just now takes for the same."""
    engine = create_engine(settings.database_dsn, 1, STARTUP_SECONDS)
    try:
        database = Database(engine)
        await first_admin.ensure_first_admin(database, passwords, settings)
        return await load_signer(settings.auth_signing_key.get_secret_value(), database)
    finally:
        await engine.dispose()


async def open_components(settings: Settings, stack: AsyncExitStack) -> Components:
    """Open everything in order of dependence; the stack closes it in reverse, so NATS drains before its answers end."""
    engine = create_engine(settings.database_dsn, settings.auth_database_connections)
    stack.push_async_callback(engine.dispose)
    database = Database(engine)
    passwords = Passwords(settings.auth_hash_workers)
    stack.callback(passwords.close)
    signer = await _start_up(passwords, settings)
    issuer_keys = None
    if settings.auth_jwks_url:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=FETCH_TIMEOUT))
        issuer_keys = IssuerKeys(settings.auth_jwks_url, client)
    verifier = Verifier(
        signer,
        hs256_secret=settings.auth_hs256_secret.get_secret_value(),
        issuer_keys=issuer_keys,
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
    )
    identities = Identities(database, verifier)
    stack.push_async_callback(identities.close)
    refresh_tokens = RefreshTokens(database, signer, settings)
    accounts = Accounts(database, passwords, refresh_tokens, settings)
    runtime = (await stack.enter_async_context(service.running(settings))).runtime
    bus, requests = runtime.bus, runtime.emitter("/").requests
    memory = GatewayMemory(database, requests.registry)
    await memory.start()
    bus.run_forever(memory.run(), name="memory of gateways")
    gateways = Gateways(requests)
    await responders.start(bus, identities)
    return Components(settings, bus, database, signer, accounts, refresh_tokens, identities, gateways)

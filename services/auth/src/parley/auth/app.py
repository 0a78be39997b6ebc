"""The composition root: what the auth service is made of, and in which order it opens and closes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from fastapi import Depends, FastAPI, Request, Response

from parley.auth.accounts import first_admin
from parley.auth.accounts.accounts import Accounts
from parley.auth.accounts.data_export import DataExport, Further
from parley.auth.accounts.deletions import Deletions
from parley.auth.accounts.guessing.attempt_counts import AttemptLimit, Throttled
from parley.auth.accounts.guessing.device_proofs import DeviceProofs
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.accounts.own_account import OwnAccount
from parley.auth.accounts.sessions.sessions import Sessions
from parley.auth.clock import DatabaseClock
from parley.auth.components import Components, components_of
from parley.auth.database import Database, create_engine
from parley.auth.factors.authenticator_apps import AuthenticatorApps
from parley.auth.factors.factor_checks import FactorChecks
from parley.auth.factors.login_steps import LoginSteps
from parley.auth.factors.own_factors import OwnFactors
from parley.auth.factors.passkey_ceremonies import RelyingParty
from parley.auth.factors.passkeys import Passkeys
from parley.auth.factors.sealed_secrets import SecretSeal
from parley.auth.factors.tickets import TicketSeal
from parley.auth.http import bots as bots_api
from parley.auth.http import endpoints, factors, login_steps, mail, me, oidc, own_sessions, passkeys
from parley.auth.http.admin.rights import administrator
from parley.auth.http.admin.routes import ROUTERS
from parley.auth.http.login_gate import LoginGate, throttled_response
from parley.auth.identity import responders
from parley.auth.identity.authenticator import Authenticator
from parley.auth.mail.mailer import Mailer
from parley.auth.mail.own_address import OwnAddress
from parley.auth.mail.password_resets import PasswordResets
from parley.auth.mail.printed_mail import PrintedMail
from parley.auth.mail.smtp_delivery import SmtpDelivery
from parley.auth.moderation import audit
from parley.auth.moderation.address_bans import AddressBans
from parley.auth.moderation.gateway_memory import GatewayMemory
from parley.auth.moderation.kick_records import KickRecords
from parley.auth.moderation.kicks import Gateways
from parley.auth.moderation.rotated_keys import RotatedKeys
from parley.auth.oidc.logins import OpenIdLogins
from parley.auth.oidc.provider import OpenIdProvider
from parley.auth.outbound import TIMEOUT, Outbound
from parley.auth.settings import AttemptRate, AuthSettings
from parley.auth.tokens import configured_providers
from parley.auth.tokens.signing import Signer, former_signer, load_signer
from parley.common.http.api import install_errors
from parley.common.http.api_page import install_api_page
from parley.common.http.cors import install_cors
from parley.common.http.health import health_router
from parley.common.process.logs import get_logger
from parley.framework import Service

log = get_logger(__name__)

MAX_WAIT = 3.0
"""Seconds a question for a user may have been waiting in a service that is ready."""
ACCOUNT_CHANGES = AttemptRate(60, 60)
"""Changes that somebody makes to their own account."""
STARTUP_SECONDS = 60.0
"""Seconds that replicas which start together wait for each other."""

service = Service("auth", settings=AuthSettings)
"""Behind no namespace: it answers what gateways ask, and its own HTTP side is what people see of it."""


def create_app(settings: AuthSettings) -> FastAPI:
    """Return the auth service. Raises `UnsafeSettings`; nothing is connected until the app starts."""
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
    app.add_middleware(LoginGate)
    # Last, so outermost: what the gate refuses has its headers as well.
    install_cors(app, settings)
    install_api_page(app, "/auth/docs")

    @app.exception_handler(Throttled)
    async def throttled(_request: Request, rejection: Throttled) -> Response:
        return throttled_response(rejection)

    async def check_database() -> str | None:
        components = components_of(app)
        if (waits := components.authenticator.waits()) > MAX_WAIT:
            return f"authentications have been waiting for {waits:.0f} s"
        return await components.database.check()

    async def check_bus() -> str | None:
        return components_of(app).bus.check()

    _ = throttled
    app.include_router(health_router({"database": check_database, "nats": check_bus}))
    app.include_router(endpoints.router)
    app.include_router(own_sessions.router)
    app.include_router(me.router)
    app.include_router(oidc.router)
    app.include_router(bots_api.router)
    for router in (login_steps.router, factors.router, passkeys.router, mail.router):
        app.include_router(router)
    for router in ROUTERS:
        # Who may not do it is told so, whatever else is wrong with what they sent.
        app.include_router(router, dependencies=[Depends(administrator)])
    return app


async def _start_up(passwords: Passwords, settings: AuthSettings) -> Signer:
    """Make what must exist once, however long another replica that starts just now takes for the same."""
    engine = create_engine(settings.database_dsn, 1, STARTUP_SECONDS)
    try:
        database = Database(engine)
        await first_admin.ensure_first_admin(database, passwords, settings)
        return await load_signer(settings.auth_signing_key.get_secret_value(), database)
    finally:
        await engine.dispose()


async def open_components(settings: AuthSettings, stack: AsyncExitStack) -> Components:
    """Open everything in order of dependence; the stack closes it in reverse, so NATS drains before its answers end."""
    engine = create_engine(settings.database_dsn, settings.auth_database_connections)
    stack.push_async_callback(engine.dispose)
    database = Database(engine)
    passwords = Passwords(settings.auth_hash_workers)
    stack.callback(passwords.close)
    signer = await _start_up(passwords, settings)
    clock = DatabaseClock(database)
    await clock.measure()
    outbound = Outbound(await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT)))
    verifier, key_sets = configured_providers.make_verifier(settings, signer, outbound, clock.now)
    address_bans = AddressBans(database)
    authenticator = Authenticator(database, verifier, clock.now, address_bans.require_allowed)
    stack.push_async_callback(authenticator.close)
    sessions = Sessions(database, signer, settings)
    tickets = TicketSeal(signer.derived_keys(b"tickets"))
    apps = AuthenticatorApps(await _secret_seal(signer, database), clock.now)
    passkeys_of_users = Passkeys(RelyingParty(settings), tickets, clock.now)
    checks = FactorChecks(apps, passkeys_of_users)
    steps = LoginSteps(database, sessions, passwords, tickets, checks, passkeys_of_users, clock.now)
    accounts = Accounts(database, passwords, sessions, settings, steps.demand)
    stack.push_async_callback(accounts.close)
    # Before anything is answered: a key that was taken away is found now, and not at somebody's login.
    await apps.reseal(database)
    mailer = _mailer(settings)
    runtime = (await stack.enter_async_context(service.running(settings))).runtime
    bus, requests = runtime.bus, runtime.emitter("/").requests
    memory = GatewayMemory(database, requests.registry)
    # Before kicks are taken: they have to name gateways that were silent already when this process began.
    await memory.start()
    bus.run_forever(memory.run(), name="memory of gateways")
    for keys in key_sets:
        bus.run_forever(keys.run(), name="keys of an issuer")
    openid = {name: OpenIdProvider(name, each, outbound) for name, each in settings.providers.oidc.items()}
    for provider in openid.values():
        bus.run_forever(provider.run(), name=f"identity provider {provider.name}")
    logins = OpenIdLogins(database, sessions, openid, settings.auth_redirect_uris)
    bus.run_forever(clock.run(), name="the database's clock")
    bus.run_forever(sessions.run_sweep(), name="sessions that are over")
    gateways = Gateways(requests)
    kicks = KickRecords(database, gateways)
    await kicks.start(bus)
    bus.run_forever(RotatedKeys(database, gateways).run(), name="rotated API keys")
    await address_bans.start(bus)
    await responders.start(bus, authenticator)
    await audit.start(bus, database)
    deletions = Deletions(database)
    bus.run_forever(deletions.run(bus), name="deleted accounts")
    own = OwnAccount(database, passwords, accounts, deletions)
    resets = PasswordResets(database, passwords, mailer)
    own_address = OwnAddress(database, accounts, mailer)
    own_factors = OwnFactors(database, accounts, tickets, apps, passkeys_of_users, checks, clock.now)
    bus.run_forever(mailer.run(), name="mail")
    bus.run_forever(resets.run(), name="forgotten passwords")
    return Components(
        settings=settings,
        bus=bus,
        database=database,
        signer=signer,
        passwords=passwords,
        accounts=accounts,
        sessions=sessions,
        authenticator=authenticator,
        gateways=gateways,
        kicks=kicks,
        address_bans=address_bans,
        logins=logins,
        clock=clock,
        device_proofs=DeviceProofs(signer.derived_keys(b"device proofs")),
        deletions=deletions,
        own_account=own,
        data_export=DataExport(bus, own, sessions, _kept_besides(own_address, own_factors)),
        account_changes=AttemptLimit(ACCOUNT_CHANGES),
        mailer=mailer,
        own_address=own_address,
        password_resets=resets,
        passkeys=passkeys_of_users,
        login_steps=steps,
        own_factors=own_factors,
    )


async def _secret_seal(signer: Signer, database: Database) -> SecretSeal:
    """The seal of what is kept for users, which opens what was sealed before the signing key was configured as well."""
    purpose = b"factor secrets"
    former = await former_signer(database)
    return SecretSeal([*signer.derived_keys(purpose), *(former.derived_keys(purpose) if former is not None else ())])


def _kept_besides(own_address: OwnAddress, own_factors: OwnFactors) -> Further:
    """Return what an export has of somebody's address and factors."""

    async def kept(user_id: str) -> list[tuple[str, Any]]:
        email = await own_address.of_user(user_id)
        factors = await own_factors.overview(user_id)
        lines: list[tuple[str, Any]] = [("email", email._asdict())] if email is not None else []
        if factors.totp_since is not None or factors.passkeys:
            lines.append(("factors", factors.model_dump(mode="json")))
        return lines

    return kept


def _mailer(settings: AuthSettings) -> Mailer:
    """Return the way that mail goes: to the configured server, in development to the console, and else nowhere."""
    if settings.auth_smtp_host:
        return Mailer(SmtpDelivery(settings), settings.auth_mail_from)
    if settings.environment == "development":
        return Mailer(PrintedMail(), settings.auth_mail_from or "parley@localhost")
    log.warning("PARLEY_AUTH_SMTP_HOST is not set: no mail is sent, so forgotten passwords cannot be reset by mail")
    return Mailer(None, "")

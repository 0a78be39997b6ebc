"""`python -m parley.auth`: run the auth service until SIGTERM."""

from __future__ import annotations

from parley.auth.app import create_app, service
from parley.auth.settings import AuthSettings
from parley.common import run_process

if __name__ == "__main__":
    run_process.main(
        service.name,
        "Parley's auth service: accounts, tokens, bans and the admin API. Needs Postgres and NATS.",
        AuthSettings,
        create_app,
    )

"""Running a service as a process: `--help` that lists every setting, one-line refusals, and uvicorn until SIGTERM."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from parley.common import logs
from parley.common.settings import ServiceSettings, UnsafeSettings

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def main(
    service: str,
    description: str,
    settings_type: type[SettingsT],
    create_app: Callable[[SettingsT], FastAPI],
    *,
    refusals: tuple[type[Exception], ...] = (),
    **options: Any,
) -> None:
    """Read the settings and serve.

    What `create_app` raises of `refusals` is a mistake in the configuration, told in a line. `options` are uvicorn's.
    """
    argparse.ArgumentParser(
        prog=f"python -m parley.{service}",
        description=description,
        epilog=_usage(settings_type),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = settings_type()
        logs.configure(settings, service)
        app = create_app(settings)
    except (ValidationError, UnsafeSettings, *refusals) as error:
        sys.exit(f"parley.{service}: {error}")
    _allow_many_sockets()
    # uvicorn raises the signal again once it has shut down in order; ending on SIGTERM is success.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    logs.get_logger(__name__).info("starting", host=settings.host, port=settings.port)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=5,
        **options,
    )


def _usage(settings_type: type[ServiceSettings]) -> str:
    lines = ["settings, from the environment or a .env file:"]
    for name, field in settings_type.model_fields.items():
        hidden = "SecretStr" in str(field.annotation) or field.default in {"", None} or field.is_required()
        lines.append(f"  PARLEY_{name.upper()}{'' if hidden else f' [{field.get_default(call_default_factory=True)}]'}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)


def _allow_many_sockets() -> None:
    """Raise the limit of open files to what this process may have: a connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

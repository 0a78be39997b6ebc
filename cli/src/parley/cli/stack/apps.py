"""The services as apps of this process, which are told where the embedded servers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr, ValidationError

from parley.auth.app import create_app as create_auth
from parley.auth.settings import AuthSettings
from parley.chat.app import create_app as create_chat
from parley.chat.settings import ChatSettings
from parley.cli.failure import CommandFailure
from parley.cli.scaffold.namespaces_file import choose
from parley.cli.stack.dev_services import DevServices, find_services
from parley.common.process.settings import SecretFile, UnsafeSettings, name_refused
from parley.gateway.app import create_app as create_gateway
from parley.gateway.namespaces import ConfigurationError, load
from parley.gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the services have to be told."""

    database_urls: Mapping[str, str]
    """Postgres' URL for each role: `auth`, `chat`, and `owner`, who may all."""
    nats_urls: Mapping[str, str]
    """NATS' URL for each user."""
    admin_password: str
    erasure_ledger: Path
    uploads: Path
    """Where files are kept, unless `PARLEY_CHAT_UPLOADS` says otherwise."""
    page: Path | None
    """The directory of the web page; None if it is not complete."""


def create_apps(endpoints: Endpoints) -> tuple[dict[str, FastAPI], DevServices]:
    """Build the apps, in the order to start them, and find the other services that the namespaces name.

    All other settings come from `PARLEY_*`, as always. Raises `CommandFailure` if they are not valid.
    """
    try:
        auth = AuthSettings(
            nats_url=endpoints.nats_urls["auth"],
            database_url=endpoints.database_urls["auth"],
            auth_admin_password=SecretStr(endpoints.admin_password),
            instance="auth",
        )
        chat = ChatSettings(
            nats_url=endpoints.nats_urls["chat"],
            database_url=endpoints.database_urls["chat"],
            chat_erasure_ledger=endpoints.erasure_ledger,
            instance="chat",
        )
        if not chat.chat_uploads:
            chat = chat.model_copy(update={"chat_uploads": str(endpoints.uploads)})
        gateway = GatewaySettings(
            nats_url=endpoints.nats_urls["gateway"],
            web_dir=endpoints.page,
            instance="gateway",
            gateway_drain_seconds=0,
        )
        # The project's own namespaces file is found without being configured.
        gateway = gateway.model_copy(update={"namespaces_file": choose(gateway.namespaces_file)})
        apps = {"auth": create_auth(auth), "chat": create_chat(chat), "gateway": create_gateway(gateway)}
        return apps, find_services(load(gateway.namespaces_file))
    except ValidationError as error:
        raise CommandFailure(name_refused(error)) from error
    except (ConfigurationError, SecretFile, UnsafeSettings) as error:
        raise CommandFailure(str(error)) from error

"""The settings that every service has, read from `PARLEY_*` environment variables and from a `.env` file, if any."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import ClassVar, Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

SIMILAR = 0.9
"""The similarity (`difflib`) from which on a name counts as misspelt: names of different settings are less alike."""


class UnsafeSettings(ValueError):
    """A default that is only safe in development, such as a known secret, is in use outside of it."""


def name_refused(error: ValidationError) -> str:
    """Describe what is wrong with which variable, a line for each. No value is shown, since it may be a secret."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = "_".join(["PARLEY", *(str(part).upper() for part in problem["loc"][:1])])
        lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}" if problem["loc"] else problem["msg"])
    return "\n".join(lines)


def misspelt_settings(*kinds: type[ServiceSettings]) -> dict[str, str]:
    """Return the environment variables whose names are almost those of a setting, each with the setting's name.

    Names that resemble none are left alone: the environment may hold settings of other services and of Compose.
    """
    known = {f"PARLEY_{name}".upper() for kind in kinds for name in kind.model_fields}
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    found: dict[str, str] = {}
    for name in sorted(given - known):
        if name.startswith("PARL") and (near := get_close_matches(name, known, 1, SIMILAR)):
            found[name] = near[0]
    return found


class ServiceSettings(BaseSettings):
    """The settings that every process needs: where NATS is, where to listen, how to log."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="PARLEY_", env_file=".env", extra="ignore", frozen=True
    )

    environment: Literal["development", "production"] = Field(
        default="development", description="`production` refuses to start with a development secret"
    )
    nats_url: str = Field(default="nats://127.0.0.1:4222", description="NATS servers, separated by commas")
    instance: str = Field(
        default="", description="this process's name among its replicas; a random one by default, in a container its id"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    trusted_proxies: str = Field(
        default="127.0.0.1", description="addresses whose X-Forwarded-* is believed, separated by commas, or *"
    )
    http_keep_alive: int = Field(
        default=75, ge=1, description="seconds that an idle HTTP connection is kept; longer than a load balancer's"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    request_timeout: float = Field(default=5.0, gt=0, description="seconds to wait for another service's answer")

    def refuse_unless_development(self, problems: list[str]) -> None:
        """Raise `UnsafeSettings` with all problems, if there are any and this is not a development environment."""
        if problems and self.environment != "development":
            raise UnsafeSettings("refusing to start in production: " + "; ".join(problems))

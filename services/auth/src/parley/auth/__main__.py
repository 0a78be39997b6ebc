"""`python -m parley.auth`: run the auth service until SIGTERM."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from parley.auth.app import SERVICE, create_app
from parley.auth.settings import Settings
from parley.common import http, logs
from parley.common.settings import UnsafeSettings


def usage() -> str:
    """Every setting with its meaning and default, for `--help`."""
    lines = ["settings, from the environment or a .env file:"]
    for name, field in Settings.model_fields.items():
        default = "" if "SecretStr" in str(field.annotation) or field.default == "" else f" [{field.default}]"
        lines.append(f"  PARLEY_{name.upper()}{default}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)


def main() -> None:
    """Read the settings and serve."""
    argparse.ArgumentParser(
        prog="python -m parley.auth",
        description="Parley's auth service: accounts, tokens, bans and the admin API. Needs Postgres and NATS.",
        epilog=usage(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = Settings()
        app = create_app(settings)
    except (ValidationError, UnsafeSettings) as error:
        sys.exit(f"parley auth: {error}")
    logs.configure(settings, SERVICE)
    http.serve(app, settings)


if __name__ == "__main__":
    main()

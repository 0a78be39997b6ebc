"""A NATS server's configuration: a user for each kind of process, and what each may publish and listen to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from parley.cli.failure import CommandFailure
from parley.common.wire.permissions import Permissions, permissions
from parley.gateway.namespaces import ConfigurationError, load_services

HEADER = """\
# Made by `parley nats-config` from the table in parley.common.wire.permissions and from the namespaces file: run it
# again after a change of either. Whatever is not allowed here is refused.
"""


def users_of(namespaces_file: Path | None) -> dict[str, Permissions]:
    """The users that a namespaces file asks for, Parley's own among them. Raises `CommandFailure`."""
    try:
        return permissions(load_services(namespaces_file))
    except ConfigurationError as error:
        raise CommandFailure(str(error)) from error


def passwords_for(users: Mapping[str, Permissions]) -> dict[str, str]:
    """A new password for each user."""
    return {name: secrets.token_urlsafe(24) for name in users}


def variable(user: str) -> str:
    """The variable that stands for a user's password where the password itself does not."""
    return f"PARLEY_NATS_{user.upper().replace('-', '_')}_PASSWORD"


def render(users: Mapping[str, Permissions], passwords: Mapping[str, str] | None = None) -> str:
    """The part of a server's configuration that says who may do what.

    Without passwords it refers to variables, which the server reads from its environment.
    """
    lines = ["authorization {", "  users = ["]
    for name, allowed in users.items():
        # JSON's quotes are those of a NATS server's configuration as well; a variable must stand without any.
        password = json.dumps(passwords[name]) if passwords is not None else f"${variable(name)}"
        lines += [
            "    {",
            f"      user: {json.dumps(name)}, password: {password}",
            "      permissions: {",
            *_subjects("publish", allowed.publish),
            *_subjects("subscribe", allowed.subscribe),
            "      }",
            "    }",
        ]
    return "\n".join([*lines, "  ]", "}", ""])


def url_of(url: str, user: str, password: str) -> str:
    """A server's URL with a user and a password in it."""
    return url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@", 1)


def _subjects(doing: str, allowed: Sequence[str]) -> list[str]:
    return [
        f"        {doing}: {{ allow: [",
        # Sorted, so that what a file of before and one of now differ in is what has changed.
        *(f"          {json.dumps(one)}" for one in sorted(allowed)),
        "        ] }",
    ]

"""The namespaces, as they are configured in a TOML file that is checked when the gateway starts.

[namespaces."/chat"] service = "chat"         # the service behind it: its queue group auth = "required"        #
"required": a valid token; "guest": without a token a guest identity max_payload = 262144     # bytes of one event's
arguments as JSON, and of its attachments recovery = 0             # seconds in which a client that lost its transport
is recovered; 0: never expires = false          # whether a connection ends when its token does; stock clients come back
with a new one timeout = 5              # seconds to wait for an event's outcome; without it, the gateway's setting
events_per_second = 50   # events a connection may emit here for long, ten times as many at once; without it, no own
limit headers = ["user-agent"] # headers of the request that began a connection which middleware and services may see
connection_middleware = ["log", "shop.middleware:signed_in"]   # by name: outermost first packet_middleware = ["log"]
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from parley.gateway import named_middleware

MAX_PAYLOAD = 512 * 1024
"""The largest `max_payload` that fits one message of NATS together with its envelope."""

_NAME = re.compile(r"/[^\s,?\x00-\x1f]*")


class ConfigurationError(ValueError):
    """The namespaces file is missing or wrong. The text says where."""


class Namespace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One namespace, as it is configured."""

    service: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_-]*$")]
    auth: Literal["required", "guest"] = "required"
    max_payload: Annotated[int, msgspec.Meta(ge=1024, le=MAX_PAYLOAD)] = 256 * 1024
    recovery: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 0
    expires: bool = False
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    events_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    headers: tuple[Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+$")], ...] = ()
    connection_middleware: tuple[str, ...] = ()
    packet_middleware: tuple[str, ...] = ()


class _File(msgspec.Struct, forbid_unknown_fields=True):
    namespaces: Annotated[dict[str, dict[str, Any]], msgspec.Meta(min_length=1)]


DEFAULT = {"/chat": Namespace(service="chat")}
"""The namespaces when no file is configured."""


def load(path: Path | None) -> dict[str, Namespace]:
    """Return the namespaces of a file, or the default without one. Raises `ConfigurationError`."""
    if path is None:
        return DEFAULT
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file (PARLEY_NAMESPACES_FILE)") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    # Each is converted by itself, so that an error names the namespace it is in.
    namespaces: dict[str, Namespace] = {}
    for name, fields in found.namespaces.items():
        try:
            namespaces[name] = msgspec.convert(fields, Namespace)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f'{path}: namespaces."{name}": {error}') from error
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f'{path}: namespaces."{name}": a name begins with "/" and holds no comma, question mark or space'
            )
        for kind, found_by in (
            ("connection_middleware", named_middleware.connection),
            ("packet_middleware", named_middleware.packet),
        ):
            for number, wanted in enumerate(getattr(namespaces[name], kind)):
                try:
                    found_by(wanted)
                except named_middleware.UnknownMiddleware as error:
                    raise ConfigurationError(f'{path}: namespaces."{name}".{kind}[{number}]: {error}') from error
    return namespaces

"""Structured logs: one JSON object per line (or coloured text at a terminal), with service and correlation id.

Every line has a bounded size, whatever a client sent: see `parley.common.process.log_limits`. Lines of libraries, which
use the standard library's `logging`, take the same way as Parley's own.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

from parley.common.process.log_limits import limited
from parley.common.process.settings import ServiceSettings

CORRELATION: ContextVar[str] = ContextVar("correlation", default="")
"""The correlation id of what the running task handles, which becomes a field of every line that it logs."""

CONTEXTS = "parley.service"
"""The name of the logger of `context.log`, in which adopters' middleware and controllers write."""


def configure(settings: ServiceSettings, service: str) -> None:
    """Send structlog and the standard library's loggers to standard error in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _correlated,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if settings.log_format == "json":
        final: list[Any] = [limited, structlog.processors.JSONRenderer()]
    else:
        # structlog's default formatter prints local variables, secrets among them, and takes tens of milliseconds.
        plain = structlog.dev.plain_traceback
        final = [limited, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Loggers are made at import, before this; they are bound when they are first used.
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _named(service), *final],
        )
    )
    root = logging.getLogger()
    # Also those that libraries have put there: a line must come once, in one format.
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # uvicorn would log a line for each request and two for each WebSocket.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _correlated(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    correlation = CORRELATION.get()
    return {"correlation": correlation, **event} if correlation else event


def _named(service: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, **event}

    return add


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose keyword arguments become fields of the line."""
    return structlog.stdlib.get_logger(name)

"""`parley asyncapi`: describe a service's events for those who write its clients."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from parley.cli.failure import CommandFailure
from parley.cli.options import ServiceName, load
from parley.framework import asyncapi as documents


class Format(StrEnum):
    """How an AsyncAPI document is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def asyncapi(
    name: ServiceName,
    *,
    format: Annotated[Format, typer.Option(help="What to write it as.")] = Format.JSON,  # noqa: A002 - the option's name
    output: Annotated[Path | None, typer.Option(help="File to write; without one it is printed.")] = None,
) -> None:
    """Describe a service's events and their payloads as an AsyncAPI document."""
    document = documents.document(load(name), version=version("parley-cli"))
    # Whatever the format, the text ends with exactly one line end, so that a file in a repository is stable.
    match format:
        case Format.JSON:
            text = msgspec.json.format(msgspec.json.encode(document)).decode()
        case Format.MARKDOWN:
            text = documents.render_markdown(document)
        case Format.HTML:
            text = documents.render_html(document)
    if output is None:
        typer.echo(text.rstrip("\n"))
        return
    try:
        output.write_text(text.rstrip("\n") + "\n", "utf-8")
    except OSError as error:
        raise CommandFailure(f"cannot write {output}: {error.strerror}") from error

"""An AsyncAPI document as a page of Markdown, for GitHub and for MkDocs.

Anchors are HTML elements because the two make different ones of headings. Whatever a docstring holds is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

from parley.framework.asyncapi.page_model import Event, NamespaceEvents, read_page
from parley.framework.asyncapi.schema_rows import SchemaRow

_CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)*)`")
# What Markdown takes for headings, quotes, lists, rules and numbered items at the beginning of a line.
_AT_START = re.compile(r"^[ \t]*([#>+=~-]|\d+(?=[.)]\s)|)", re.MULTILINE)


def render_markdown(document: dict[str, Any]) -> str:
    """Render the reference of all events in a document: what a client has to know, with an example of each event."""
    page = read_page(document)
    lines = [
        f"# Events of {_text(page.title)}",
        _text(page.description),
        f"Version {_text(page.version)}. {_text(page.server)}",
        f"`token`: {_text(page.token)}",
    ]
    for namespace in page.namespaces:
        lines += _namespace(namespace)
    if page.codes:
        codes = ([_code(code.name), "yes" if code.retryable else "no", _cell(code.message)] for code in page.codes)
        lines += [
            '<a id="refused"></a>',
            "## When an event is refused",
            "The ack is then as below; without an ack callback, the same `error` arrives as an event `error`.",
            _block("json", page.refused),
            _table(["code", "retryable", "meaning"], codes),
        ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _namespace(namespace: NamespaceEvents) -> Iterator[str]:
    yield f'<a id="{namespace.anchor}"></a>'
    yield f"## Namespace {_code(namespace.address)}"
    for title, events in (("Clients emit", namespace.emitted), ("Clients are sent", namespace.sent)):
        if events:
            rows = ([f"[{_code(event.name)}](#{event.anchor})", _cell(event.summary)] for event in events)
            yield _table([title, ""], rows)
    for event in namespace.events:
        yield from _event(event)


def _event(event: Event) -> Iterator[str]:
    yield f'<a id="{event.anchor}"></a>'
    yield f"### {_code(event.name)}"
    yield _text(event.summary)
    yield _text(event.description)
    if event.binary:
        yield "Binary data travels as attachments of Socket.IO; in examples it is base64."
    if event.fields:
        yield _fields("argument" if event.positional else "field", event.fields)
    elif event.emitted:
        yield "It has no arguments."
    yield _block("js", event.call)
    yield _block("json", event.example) if event.example else ""
    if event.ack:
        yield f"**Ack**, unless it is [refused](#refused). {_text(event.ack_summary)}".rstrip()
        yield _fields("field", event.ack)
        yield _block("json", event.ack_example)


def _fields(title: str, fields: list[SchemaRow]) -> str:
    rows = ([_code(field.path), _code(field.type), _presence(field), _remarks(field)] for field in fields)
    return _table([title, "type", "required", "notes"], rows)


def _presence(field: SchemaRow) -> str:
    return "yes" if field.required else f"no, {_code(field.default)}" if field.default is not None else "no"


def _remarks(field: SchemaRow) -> str:
    parts = [_cell(field.description), _cell(field.limits), f"only in {_code(field.only_in)}" if field.only_in else ""]
    return "; ".join(part.removesuffix(".") for part in parts if part)


def _table(titles: list[str], rows: Iterable[list[str]]) -> str:
    head = f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _block(language: str, text: str) -> str:
    # A fence is longer than any run of backticks inside of it (CommonMark, section 4.5).
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _cell(text: str) -> str:
    return " ".join(_text(text).split())


def _code(text: str) -> str:
    """Return a text as code, in HTML where backticks or a table's cell would end inside of it."""
    if re.search(r"[`|\n]|^\s|\s$", text) or not text:
        return f"<code>{html.escape(text).replace('|', '&#124;').replace('`', '&#96;').replace('*', '&#42;')}</code>"
    return f"`{text}`"


def _text(text: str) -> str:
    """Return a text in which only code in backticks is markup."""
    parts = _CODE.split(text)
    return "".join(_code(part) if number % 2 else _plain(part) for number, part in enumerate(parts))


def _plain(text: str) -> str:
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))
    return _AT_START.sub(lambda found: _inert(found[1]) if found[1] else "", escaped)


def _inert(mark: str) -> str:
    return f"&#{ord(mark[0])};{mark[1:]}"

"""An AsyncAPI document as one page of HTML that loads nothing else: no script, no font, no picture.

Docstrings are written by adopters and shown to anybody, so every text is escaped where it is put into the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import Any

from parley.framework.asyncapi.page_model import Event, NamespaceEvents, ReferencePage, read_page
from parley.framework.asyncapi.schema_rows import SchemaRow

_CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)*)`")
# Texts that are values, numbers, words; the last alternative takes keys, so that nothing inside of them is coloured.
_TOKENS = re.compile(
    r'(?P<s>"(?:[^"\\]|\\.)*")(?!:)|(?<![\w"])(?P<n>-?\d[\d.eE+-]*)|\b(?P<w>true|false|null|const|await)\b|"(?:[^"\\]|\\.)*"'
)


def render_html(document: dict[str, Any]) -> str:
    """Render the reference of all events in a document."""
    page = read_page(document)
    style = resources.files(__package__ or __name__).joinpath("page.css").read_text("utf-8")
    title = escape(f"{page.title}: events")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{_navigation(page)}\n<main>\n{_main(page)}\n</main>\n</body>\n</html>\n"
    )


def _navigation(page: ReferencePage) -> str:
    parts = [f"<strong>{escape(page.title)}</strong><small>Version {escape(page.version)}</small>"]
    for namespace in page.namespaces:
        parts.append(f'<h2><a href="#{namespace.anchor}">{escape(namespace.address)}</a></h2>')
        for title, events in (("Clients emit", namespace.emitted), ("Clients are sent", namespace.sent)):
            links = (f'<li><a href="#{event.anchor}">{escape(event.name)}</a></li>' for event in events)
            parts.append(f"<h3>{title}</h3><ul>{''.join(links)}</ul>" if events else "")
    parts.append('<h2><a href="#refused">Errors</a></h2>')
    return "\n".join(['<nav aria-label="Events">', *parts, "</nav>"])


def _main(page: ReferencePage) -> str:
    codes = (
        [f"<code>{escape(code.name)}</code>", "yes" if code.retryable else "no", escape(code.message)]
        for code in page.codes
    )
    return "\n".join([
        f'<h1>Events of {escape(page.title)}</h1>\n<p class="lead">{_inline(page.description)}</p>',
        f'<p class="lead">{_inline(page.server)}</p>',
        f'<p class="lead"><code>token</code>: {_inline(page.token)}</p>',
        *(_namespace(namespace) for namespace in page.namespaces),
        '<section id="refused">\n<h2>When an event is refused</h2>',
        "<p>The ack is then as below; without an ack callback, the same <code>error</code> arrives as an event "
        "<code>error</code>.</p>",
        _block(page.refused),
        _table(["Code", "Retryable", "Meaning"], codes),
        "</section>",
    ])  # fmt: skip


def _namespace(namespace: NamespaceEvents) -> str:
    events = "\n".join(map(_event, namespace.events))
    return (
        f'<section id="{namespace.anchor}">\n<h2>Namespace <code>{escape(namespace.address)}</code></h2>\n'
        f"{events}\n</section>"
    )


def _event(event: Event) -> str:
    kind, direction = ("in", "client → server") if event.emitted else ("out", "server → client")
    parts = [
        f'<h3><span class="badge {kind}">{direction}</span><a href="#{event.anchor}">{escape(event.name)}</a></h3>',
        f"<p>{_inline(event.summary)}</p>" if event.summary else "",
        _paragraphs(event.description),
        "<p>Binary data travels as attachments of Socket.IO; in examples it is base64.</p>" if event.binary else "",
        _payload(event) if event.fields else "",
        f"<h4>Example</h4>{_block(event.call)}",
        _block(event.example) if event.example else "",
        _ack(event) if event.ack else "",
    ]
    return "\n".join([f'<article id="{event.anchor}">', *filter(None, parts), "</article>"])


def _payload(event: Event) -> str:
    title = "Arguments" if event.positional else "Payload"
    return f"<h4>{title}</h4>{_fields(event.fields, 'required' if event.emitted else 'always')}"


def _ack(event: Event) -> str:
    return (
        f"<details open><summary>Ack</summary>{_paragraphs(event.ack_summary)}{_fields(event.ack, 'always')}"
        f'{_block(event.ack_example)}<p class="may">Unless it is <a href="#refused">refused</a>.</p></details>'
    )


def _fields(fields: list[SchemaRow], must: str) -> str:
    rows = (
        [
            f"<code>{escape(field.path)}</code>",
            f'<span class="type">{escape(field.type)}</span>',
            _presence(field, must),
            f'<span class="notes">{_notes(field)}</span>',
        ]
        for field in fields
    )
    return _table(["Name", "Type", "Presence", "Notes"], rows)


def _presence(field: SchemaRow, must: str) -> str:
    if field.required:
        return f'<span class="must">{must}</span>'
    default = f", else <code>{escape(field.default)}</code>" if field.default is not None else ""
    return f'<span class="may">optional{default}</span>'


def _notes(field: SchemaRow) -> str:
    only = f"only in <code>{escape(field.only_in)}</code>" if field.only_in else ""
    parts = [_inline(field.description).removesuffix("."), _inline(field.limits), only]
    return "; ".join(part for part in parts if part)


def _table(titles: list[str], rows: Iterable[list[str]]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _block(text: str) -> str:
    return f"<pre><code>{_coloured(text)}</code></pre>"


def _coloured(text: str) -> str:
    """Return JSON, or a line of JavaScript around it, with its values in colour."""
    parts, end = list[str](), 0
    for found in _TOKENS.finditer(text):
        token = escape(found[0])
        parts += [
            escape(text[end : found.start()]),
            f'<span class="{found.lastgroup}">{token}</span>' if found.lastgroup else token,
        ]
        end = found.end()
    return "".join(parts) + escape(text[end:])


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph)


def _inline(text: str) -> str:
    """Return a text in which only code in backticks is markup."""
    # `split` by one group: the odd parts are what was inside of backticks.
    parts = _CODE.split(text)
    return "".join(f"<code>{escape(part)}</code>" if number % 2 else escape(part) for number, part in enumerate(parts))

"""What a service's clients may send and are sent, as an AsyncAPI document, a Markdown page and an HTML page."""

from parley.framework.asyncapi.document import document
from parley.framework.asyncapi.html import render_html
from parley.framework.asyncapi.markdown import render_markdown

__all__ = ["document", "render_html", "render_markdown"]

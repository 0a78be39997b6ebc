"""Documents what a service's clients may emit and are sent: an AsyncAPI document, and pages made of it.

1. `document`: makes the document of a service, with the schemas of `schemas`, examples of `examples`, texts of
   `descriptions`, and the events that gateways send themselves, of `gateway_events`;
2. `page_model`: reads a document into what a page shows, with the tables of `schema_rows`;
3. `markdown` and `html`: render a page;
4. `routes`: serves document and page beside a service's API.
"""

from parley.framework.asyncapi.document import document
from parley.framework.asyncapi.html import render_html
from parley.framework.asyncapi.markdown import render_markdown

__all__ = ["document", "render_html", "render_markdown"]

"""Previews of links: what a page says of itself, fetched by the server where the setting allows it.

Read `page_head` (a page as a preview, pure), then `link_previews`, which fetches and remembers.
"""

"""Debian's Chromium, without a window: the shell that has none if it is installed, which takes less time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

SHELL, CHROMIUM = Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium")
# No background traffic of the browser's own, and what a container without a GPU or user namespaces needs.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-rasterization",
    "--in-process-gpu",
    "--disable-extensions",
    "--mute-audio",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALLED = next((path for path in (SHELL, CHROMIUM) if path.exists()), None)
NEEDED = pytest.mark.skipif(INSTALLED is None, reason=f"needs Debian's chromium at {SHELL} or {CHROMIUM}")
VIEWPORT: ViewportSize = {"width": 1280, "height": 800}
WITHOUT_BLUR = """
const plain = new CSSStyleSheet();
plain.replaceSync("::backdrop { backdrop-filter: none !important }");
document.adoptedStyleSheets.push(plain);
"""
"""To blur what is behind a dialog takes most of a processor where there is no GPU."""


async def opened(browser: Browser) -> Page:
    """A page in a context of its own, in which nothing moves: a processor would draw each picture of that."""
    context = await browser.new_context(viewport=VIEWPORT, reduced_motion="reduce")
    await context.add_init_script(WITHOUT_BLUR)
    return await context.new_page()


@asynccontextmanager
async def launched() -> AsyncGenerator[Browser]:
    """A browser. Each visitor has a context of their own in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(INSTALLED), args=ARGUMENTS)
        yield browser
        await browser.close()

"""The page of an HTTP API: everything of the document, nothing that runs, nothing from elsewhere."""

from __future__ import annotations

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from parley.common.http.api_page import install_api_page


class Tree(BaseModel):
    """A thing with things of its kind in it."""

    name: str
    branches: list[Tree] = []


async def test_the_page_shows_every_endpoint_and_runs_and_loads_nothing():
    app = FastAPI(title="<b>Trees</b>", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    install_api_page(app, "/docs")

    @app.post("/trees/{name}", summary="Plant <script>alert(1)</script>")
    async def plant(name: str, tree: Tree) -> Tree:
        """Plant one."""
        return Tree(name=name, branches=[tree])

    _ = plant
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/docs")
        assert (await http.get("/openapi.json")).status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for said in ("POST /trees/{name}", "Plant one.", "branches", "/openapi.json", "&lt;b&gt;Trees"):
        assert said in answer.text
    for foreign in ("<script", "http://", "https://", "<b>", "<link", "<img"):
        assert foreign not in answer.text

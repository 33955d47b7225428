"""The operators' page is three files and nothing else; a browser is told so by its headers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from cascade.api import admin, page
from tests.unit.admin_fake import World


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", page.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/cascade/page"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "kind"), [("/", "text/html"), ("/index.html", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]
)
async def test_its_files(url: str, name: str, kind: str) -> None:
    async with ClientSession() as http:
        got = await http.get(url + name)
        assert got.status == 200 and got.content_type == kind and len(await got.read()) > 500
        policy = got.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        again = await http.get(url + name, headers={"If-None-Match": got.headers["ETag"]})
        assert again.status == 304 and await again.read() == b""
        assert (await http.post(url + name)).status == 405


@pytest.mark.parametrize(
    "name", ["/__init__.py", "/../admin.py", "/%2e%2e/admin.py", "/..%2fadmin.py", "//etc/passwd", "/page.js/x"]
)
async def test_and_no_other(url: str, name: str) -> None:
    async with ClientSession() as http:
        got = await http.get(URL(url + name, encoded=True))
        assert got.status == 404


async def test_without_the_slash_links_would_lead_elsewhere(url: str) -> None:
    async with ClientSession() as http:
        got = await http.get(url, allow_redirects=False)
        assert got.status == 308
        assert (await http.get(url)).url.path == "/cascade/page/"


def test_the_page_keeps_its_own_policy() -> None:
    """No script, style or handler stands in the markup, and nothing is fetched from elsewhere."""
    text = (Path(page.__file__).with_name("index.html")).read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|https?://", text)
    script = (Path(page.__file__).with_name("page.js")).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Storage|cookie", script)


async def test_a_browser_finds_it_where_clients_find_the_versions(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for accept, status in (("text/html,application/xhtml+xml", 303), ("application/json", 200), ("*/*", 200), ("", 200)):
        answer = admin.public(world.core, "GET", "/", accept)
        assert answer is not None and answer.status == status
        assert status == 200 or answer.headers["Location"].endswith("/cascade/page/")
    await world.store.close()

"""The operators' page: three files, served as they are. It asks the admin API with the token of who signs in, and nothing else."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from aiohttp import web

PREFIX = "/cascade/page"
_KINDS = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_HEADERS = {
    # Nothing from elsewhere, nothing written into the page, and in nobody's frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def _file(name: str) -> tuple[bytes, str]:
    body = resources.files(__name__).joinpath(name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


async def serve(http: web.BaseRequest) -> web.StreamResponse:
    """GET /cascade/page/[FILE]."""
    path = http.raw_path.partition("?")[0]
    if http.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={**_HEADERS, "Allow": "GET, HEAD"})
    if path == PREFIX:
        return web.Response(status=308, headers={**_HEADERS, "Location": PREFIX.rpartition("/")[2] + "/"})
    name = path.removeprefix(PREFIX + "/") or "index.html"
    if name not in _KINDS:
        return web.Response(status=404, text="There is no such page.", headers=_HEADERS)
    body, tag = _file(name)
    headers = {**_HEADERS, "ETag": tag}
    if http.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=_KINDS[name], charset="utf-8", headers=headers)

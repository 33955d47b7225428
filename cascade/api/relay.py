"""The console relay: ``/console/<site>/...`` passes a console's page and its websocket on, for whoever holds a grant.

The grant (``sites.grants``) comes in the address, in the ``path`` the page is told, or in the cookie its page set, as
with Nova's own proxies. Nothing is fetched without one, so that the relay is no open door to a site.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import aiohttp
import structlog
from aiohttp import web

from cascade.api.consoles import PREFIX
from cascade.api.core import Core
from cascade.model.errors import SiteError
from cascade.sites.grants import Grant

log = structlog.get_logger(__name__)

_PASSED = ("Content-Type", "Content-Length", "Last-Modified", "Cache-Control", "ETag")
_CHUNK = 1 << 16


class Relay:
    """The relay of one process. ``limit``: consoles open at once; further ones are refused with 503."""

    def __init__(self, core: Core, limit: int) -> None:
        self._core, self._limit, self._open = core, limit, 0

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        """GET below ``/console``."""
        path = http.raw_path.partition("?")[0].removeprefix(PREFIX)
        site, _, rest = path.lstrip("/").partition("/")
        upgrade = http.headers.get("Upgrade", "").lower() == "websocket"
        text = _grant_of(http)
        grant = self._core.south.grants.open(text)
        if grant is None or grant.site != site or site not in self._core.sites.names():
            return await _refused(http) if upgrade else web.Response(status=403, text="The console token is not valid.")
        if http.method != "GET":
            return web.Response(status=405, headers={"Allow": "GET"})
        try:
            if not upgrade:
                return await self._page(http, grant, rest, text)
            if not self._same_origin(http):
                return web.Response(status=403, text="Origin header does not match this host.")
            if self._open >= self._limit:
                return web.Response(status=503, text="Too many consoles are open.", headers={"Retry-After": "60"})
            self._open += 1
            try:
                return await self._socket(http, grant)
            finally:
                self._open -= 1
        except SiteError as e:
            log.warning("console not relayed", site=site, error=str(e))
            return web.Response(status=503, text=f"Consoles of availability zone {site} are not available.")

    async def _page(self, http: web.BaseRequest, grant: Grant, rest: str, text: str) -> web.StreamResponse:
        if not grant.pages or any(part in ("..", ".", "") for part in rest.split("/")) or "%" in rest or "\\" in rest:
            return web.Response(status=404, text="There is no such page.")
        async with self._core.south.console_page(grant.site, grant.pages + rest) as found:
            headers = {name: found.headers[name] for name in _PASSED if name in found.headers}
            if found.status not in (200, 304):
                return web.Response(status=404, text="There is no such page.")
            out = web.StreamResponse(status=found.status, headers=headers)
            if text != http.cookies.get("token"):
                out.set_cookie("token", text, path=f"{PREFIX}/{grant.site}/", httponly=True, samesite="Strict")
            await out.prepare(http)
            async for chunk in found.content.iter_chunked(_CHUNK):
                await out.write(chunk)
            await out.write_eof()
            return out

    async def _socket(self, http: web.BaseRequest, grant: Grant) -> web.StreamResponse:
        asked = [p.strip() for p in http.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        scheme, _, rest = grant.socket.partition("://")
        origin = f"{scheme.replace('ws', 'http')}://{rest.partition('/')[0]}" if "Origin" in http.headers else None
        far = await self._core.south.console_socket(grant.site, grant.socket, origin=origin, protocols=asked)
        try:
            near = web.WebSocketResponse(autoping=False, protocols=[far.protocol] if far.protocol else (), max_msg_size=16 << 20)
            near.headers["Server"] = "WebSockify"  # some clients know a console proxy by it
            await near.prepare(http)
            log.info("console opened", site=grant.site, kind=grant.kind)
            ways = [asyncio.create_task(_pass(near, far)), asyncio.create_task(_pass(far, near))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                await near.close(code=_code(far.close_code))
            return near
        finally:
            await far.close()

    def _same_origin(self, http: web.BaseRequest) -> bool:
        """A page of another host opens no console, as with Nova's proxy; no Origin is no browser."""
        origin = http.headers.get("Origin")
        if origin is None:
            return True
        ours = {urlsplit(f"//{http.host}").hostname, urlsplit(self._core.conf.public_url).hostname}
        return urlsplit(origin).hostname in ours


def _grant_of(http: web.BaseRequest) -> str:
    """The token of the address, of the websocket path in it, or of the cookie."""
    query = http.rel_url.query
    inner = parse_qs(urlsplit(query.get("path", "")).query).get("token", [""])[0]
    return query.get("token") or inner or http.cookies.get("token", "")


async def _pass(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse, sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse
) -> None:
    """Messages one way until one side closes; a slow reader slows its writer, nothing is heaped up."""
    try:
        async for message in source:
            if message.type is aiohttp.WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.PING:
                await sink.ping(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                await sink.pong(message.data)
            else:
                return
    except (aiohttp.ClientError, ConnectionError):
        return


async def _refused(http: web.BaseRequest) -> web.StreamResponse:
    """Opened and cut off at once, without a word: so does Nova's proxy, and a browser is told no more."""
    near = web.WebSocketResponse()
    near.headers["Server"] = "WebSockify"
    await near.prepare(http)
    if http.transport is not None:
        http.transport.close()
    return near


def _code(code: int | None) -> int:
    """A close code that may be sent; 1005, 1006 and none at all may not."""
    return code if code is not None and (1000 <= code < 1004 or 1007 <= code < 1015 or code >= 3000) else 1000

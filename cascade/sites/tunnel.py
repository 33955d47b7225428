"""Connections to a site's console proxies: its pages and its websockets.

They stand beside the transport because nothing of it fits them: no token, no deadline for the whole, and a console
proxy that is dead says nothing about the site's APIs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from cascade.model.errors import SiteUnreachable
from cascade.sites.limits import Limits

_FRAME = 16 << 20
"""Bytes of the largest websocket message passed on; a framebuffer update is far below."""


class Tunnels:
    """One client for all sites."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End every connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    @asynccontextmanager
    async def page(self, target: str, url: str, tls: ssl.SSLContext | bool) -> AsyncIterator[aiohttp.ClientResponse]:
        """A file of the console's page, its body unread. Raises SiteUnreachable."""
        try:
            async with asyncio.timeout(self._limits.call):
                response = await self._session().get(URL(url, encoded=True), ssl=tls, allow_redirects=False)
        except (TimeoutError, aiohttp.ClientError) as e:
            raise SiteUnreachable(target, f"console: {type(e).__name__}: {e}") from e
        async with response:
            yield response

    async def socket(
        self, target: str, url: str, tls: ssl.SSLContext | bool, *, origin: str | None, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A websocket to the console proxy, pings passed on rather than answered here. Raises SiteUnreachable."""
        try:
            async with asyncio.timeout(self._limits.call):
                return await self._session().ws_connect(
                    URL(url, encoded=True), ssl=tls, origin=origin, protocols=protocols, autoping=False, max_msg_size=_FRAME
                )
        except (TimeoutError, aiohttp.ClientError) as e:
            raise SiteUnreachable(target, f"console: {type(e).__name__}: {e}") from e

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect, sock_read=self._limits.stream_idle),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._client

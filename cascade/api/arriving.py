"""The body of a request: as it comes, or the whole within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import http_exceptions, web

from cascade.model.errors import WEBOB, Fault

AHEAD = 1 << 16
"""Bytes of a body aiohttp takes in before anybody reads it, twice over at most: what one that waits for its place may hold."""


async def read(http: web.BaseRequest, limit: int, seconds: float) -> bytes:
    """The whole body within ``limit`` bytes and ``seconds``. Raises Fault 413 without reading the rest, 408, 400."""
    if http.content_length is not None and http.content_length > limit:
        raise Fault(413, "Request is too large.", kind=WEBOB)
    out = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks(http):
                out += chunk
                if len(out) > limit:
                    raise Fault(413, "Request is too large.", kind=WEBOB)
    except TimeoutError:
        raise Fault(408, "The request did not arrive in time.", kind=WEBOB, headers={"Connection": "close"}) from None
    return bytes(out)


async def chunks(http: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Fault 400 for one that is framed wrongly, ConnectionError where it breaks off."""
    try:
        async for chunk in http.content.iter_chunked(65536):
            yield chunk
    except (http_exceptions.HttpProcessingError, aiohttp.ClientPayloadError, web.RequestPayloadError) as e:
        raise Fault(400, "The request body is not framed as its header says.", kind=WEBOB) from e

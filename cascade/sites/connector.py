"""Connections of the HTTP client: how long one may take to make, and when one is lost that nothing comes back on."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.tracing import Trace

from cascade.sites.owntime import own_timeout


def _socket(silence: int, where: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose connection ends when the other side's kernel has acknowledged nothing for so many milliseconds.

    That tells a site whose packets are dropped from one that is slow: what hangs in the first need not wait for its deadline.
    """
    family, kind, proto, _, _ = where
    made = socket.socket(family, kind, proto)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence)
    return made


class Connector(aiohttp.TCPConnector):
    """Gives up connecting after ``seconds`` in which this process could have noticed: aiohttp's own limit counts all of them."""

    def __init__(self, seconds: float, silence: float, **more: Any) -> None:
        """``silence``: seconds after which a connection is lost on which nothing was heard of what was sent."""
        super().__init__(socket_factory=partial(_socket, round(silence * 1000)), **more)
        self._seconds = seconds

    async def _create_connection(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> ResponseHandler:
        """What aiohttp's own connectors differ in: not asked where a kept connection is used."""
        async with own_timeout(self._seconds):
            return await super()._create_connection(req, traces, timeout)

"""One connection that fails must not fail everybody who waits for the same token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
from aiohttp import web

from cascade.api.tokens import Tokens
from cascade.model.errors import SiteRefused, SiteTimeout, SiteUnreachable
from tests.unit.sites_fake import Fake, World, caller, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as it:
        yield it


class Network:
    """``fails`` of the next connections, each with ``error``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails, self.tried, self.error = 0, 0, OSError()
        self._real = aiohappyeyeballs.start_connection
        monkeypatch.setattr(aiohappyeyeballs, "start_connection", self._connect)

    async def _connect(self, *args: Any, **more: Any) -> Any:
        self.tried += 1
        if self.tried <= self.fails:
            raise self.error
        return await self._real(*args, **more)


def resets(fake: Fake, method: str, times: int) -> list[int]:
    """So many requests for a token are read and their connections reset."""
    seen: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(1)
        if len(seen) >= times:
            del fake.extra[method, "/v3/auth/tokens"]
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    fake.extra[method, "/v3/auth/tokens"] = handler
    return seen


@pytest.mark.parametrize(
    ("error", "fails", "tried", "passes"),
    [
        (ConnectionRefusedError(111, "refused"), 1, 2, True),
        (ConnectionResetError(104, "reset"), 1, 2, True),
        (ConnectionRefusedError(111, "refused"), 2, 2, False),
        (TimeoutError(), 1, 1, False),
        (OSError(113, "no route to host"), 1, 1, False),
    ],
)
async def test_a_connection_refused_is_tried_once_more(
    w: World, monkeypatch: pytest.MonkeyPatch, error: OSError, fails: int, tried: int, passes: bool
) -> None:
    """All who wait for one token get it; where nobody listens, and where nothing comes back, once is enough."""

    async def valid(request: web.Request) -> web.StreamResponse:
        doc = {"user": {"id": "u", "name": "u", "domain": {"id": "d"}}, "expires_at": "2999-01-01T00:00:00Z"}
        return web.json_response({"token": doc})

    w.hub.extra["GET", "/v3/auth/tokens"] = valid
    await w.clouds.place("hub", "hub")
    network, tokens = Network(monkeypatch), Tokens(w.south, ttl=60)
    network.fails, network.error = fails, error
    found = await asyncio.gather(*(tokens.validate("new") for _ in range(50)), return_exceptions=True)
    assert network.tried == tried
    if passes:
        assert {f.user_id for f in found if not isinstance(f, BaseException)} == {"u"} and len(found) == 50
    else:
        assert all(isinstance(f, SiteUnreachable) for f in found)


async def test_a_write_that_many_do_not_wait_for_is_tried_once(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked decides himself: the error says that nothing was sent."""
    who = caller("member")
    await w.south.call("paris", "compute", "GET", "/servers", as_=who)
    await w.south._transport.close()
    network = Network(monkeypatch)
    network.fails, network.error = 1, ConnectionRefusedError(111, "refused")
    with pytest.raises(SiteRefused):
        await w.south.call("paris", "compute", "POST", "/servers", as_=who, json={})
    assert network.tried == 1


async def test_a_login_of_a_shadow_user_is_tried_once_more(w: World) -> None:
    """Lost after it was sent: a second token does no harm."""
    await w.clouds.place("paris-account", "paris")
    await w.south.shadow.token("paris", caller("member"))
    w.south.shadow.forget("paris")
    seen = resets(w.site, "POST", 1)
    found = await asyncio.gather(*(w.south.shadow.token("paris", caller("member")) for _ in range(20)))
    assert len({t.value for t in found}) == 1 and seen


@pytest.mark.parametrize(("times", "passes"), [(1, True), (2, False)])
async def test_a_login_of_the_service_account_is_tried_once_more(w: World, times: int, passes: bool) -> None:
    seen = resets(w.site, "POST", times)
    found = await asyncio.gather(*(w.clouds.token("paris-account", "paris") for _ in range(20)), return_exceptions=True)
    assert len(seen) == times
    if passes:
        assert len({t.value for t in found if not isinstance(t, BaseException)}) == 1
    else:
        assert all(isinstance(f, SiteUnreachable) for f in found)


async def test_a_token_is_not_asked_for_twice_after_a_silence(w: World) -> None:
    """The deadline is one for both tries, and a silence is none of the reasons for a second."""
    await w.clouds.place("hub", "hub")
    w.hub.hang = True
    before = w.hub.calls["GET /v3/auth/tokens"]
    with pytest.raises(SiteTimeout):
        await Tokens(w.south, ttl=60).validate("new")
    assert w.hub.calls["GET /v3/auth/tokens"] == before + 1

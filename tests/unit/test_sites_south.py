"""South: whose token, which URL, one retry, and a site that hangs hurts only itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from cascade.model.errors import SiteError, SiteTimeout, SiteUnreachable
from cascade.sites.discovery import Discovery
from cascade.sites.south import service_root
from tests.unit.sites_fake import World, caller, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as it:
        yield it


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:8774/v2.1", "http://h:8774"), ("http://h:8774/v2.1/", "http://h:8774"), ("http://h/volume/v3/abc", "http://h/volume"),
        ("http://h:9696", "http://h:9696"), ("http://h:9696/", "http://h:9696"), ("http://h/identity/v3", "http://h/identity"),
        ("http://h/v2.1/%(tenant_id)s", "http://h"), ("http://v2.example/placement", "http://v2.example/placement"),
        ("http://h/vault/v3", "http://h/vault"),
    ],
)  # fmt: skip
def test_service_root(url: str, root: str) -> None:
    assert service_root(url) == root


async def test_urls_and_versions_of_every_service(w: World) -> None:
    shadow = await w.south.shadow.project("paris", "p" * 32)
    who = caller("member")
    cases = {
        ("compute", "/servers", "2.52"): "/compute/v2.1/servers",
        ("volume", "/volumes", "3.60"): f"/volume/v3/{shadow}/volumes",
        ("network", "/v2.0/ports", None): "/network/v2.0/ports",
        ("image", "/v2/images", None): "/image/v2/images",
    }
    for (service, path, version), raw in cases.items():
        asked = {"OpenStack-API-Version": "compute 2.1"}
        reply = await w.south.call("paris", service, "GET", path, as_=who, version=version, headers=asked)
        assert reply.json()["roles"] == ["member", "reader"]
        assert reply.json()["project"] == shadow
        _, sent, headers, _ = w.site.seen[-1]
        assert sent == raw
        assert headers["openstack-api-version"] == (f"{service} {version}" if version else "compute 2.1")
    assert await w.south.project_id("paris", who) == shadow
    assert await w.south.project_id("paris", None) == "svc"
    assert await w.south.project_id("hub", who) == "p" * 32


async def test_own_token_at_the_hub(w: World) -> None:
    w.hub.tokens["mine"] = {"user": "u", "project": "p", "roles": ["reader"], "methods": ["password"]}
    reply = await w.south.call("hub", "volume", "GET", "/volumes", as_=caller(token="mine"))
    assert reply.json()["roles"] == ["reader"]
    assert w.hub.seen[-1][1] == f"/volume/v3/{'p' * 32}/volumes"
    before = len(w.hub.seen)
    assert (await w.south.call("hub", "compute", "GET", "/servers", as_=caller(token="stale"))).status == 401
    assert len(w.hub.seen) == before + 1, "a 401 to the user's own token is his answer"
    assert not w.site.seen


async def test_own_token_at_a_shared_site(tmp_path: Path) -> None:
    async with world(tmp_path, identity="shared") as w:
        w.site.tokens["mine"] = {"user": "u", "project": "p", "roles": ["reader"], "methods": ["password"]}
        assert (await w.south.call("paris", "compute", "GET", "/servers", as_=caller(token="mine"))).status == 200


async def test_one_retry_on_401(w: World) -> None:
    who = caller("member")
    for as_ in (who, None):
        await w.south.call("paris", "compute", "GET", "/servers", as_=as_)
        w.site.tokens.clear()  # the site forgot all tokens
        reply = await w.south.call("paris", "compute", "POST", "/servers", as_=as_, json={"server": {}})
        assert reply.status == 200
        assert w.site.seen[-1][3] == b'{"server":{}}'

    async def always(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    w.site.extra["GET", "/compute/v2.1/x"] = always
    assert (await w.south.call("paris", "compute", "GET", "/x", as_=who)).status == 401
    assert w.site.calls["GET /compute/v2.1/x"] == 2


async def test_retry_of_a_download(w: World) -> None:
    who = caller("member")
    await w.south.call("paris", "image", "GET", "/v2/images", as_=who)
    w.site.tokens.clear()
    async with w.south.stream("paris", "image", "GET", "/v2/images/1/file", as_=who) as reply:
        assert reply.status == 200
        assert b"member" in await reply.read()


async def test_anonymous_and_root(w: World) -> None:
    reply = await w.south.anonymous("hub", "identity", "GET", "/v3/roles", headers={})
    assert reply.status == 401
    assert "x-auth-token" not in w.hub.seen[-1][2]
    reply = await w.south.root("compute", "/", headers={"accept": "application/json"})
    assert w.hub.seen[-1][1] == "/compute/"
    assert reply.json()["versions"][1]["version"] == "2.100"
    assert w.south.base_urls("hub")["compute"] == f"{w.hub.url}/compute/v2.1"
    assert w.south.base_urls("paris") == {}


async def test_deadline_covers_the_token_too(w: World) -> None:
    await w.south.call("paris", "compute", "GET", "/servers")
    w.site.hang = True
    begun = time.monotonic()
    with pytest.raises(SiteTimeout):
        await w.south.call("paris", "compute", "GET", "/servers", as_=caller("member"), timeout=0.2)
    assert time.monotonic() - begun < 0.6


async def test_hung_site_is_noticed_refused_at_once_and_comes_back(w: World) -> None:
    await w.south.call("paris", "compute", "GET", "/servers", as_=caller("member"))
    w.south.start()
    await asyncio.sleep(0.05)
    assert w.sites.usable("paris")
    w.site.hang = True
    begun = time.monotonic()
    while w.sites.usable("paris"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert time.monotonic() - begun < 1.0
    begun = time.monotonic()
    for as_ in (caller("member"), None, caller("reader", user="n" * 32)):
        with pytest.raises(SiteUnreachable):
            await w.south.call("paris", "compute", "POST", "/servers", as_=as_)
    assert time.monotonic() - begun < 0.1
    assert w.sites.usable("paris") is False
    assert (await w.south.call("hub", "compute", "GET", "/servers")).status == 200
    w.site.hang = False
    async with asyncio.timeout(2):
        while not w.sites.usable("paris"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await w.south.call("paris", "compute", "GET", "/servers", as_=caller("member"))).status == 200


async def test_site_dead_from_the_start_goes_down_and_comes_up(w: World) -> None:
    w.site.status = 503
    w.south.start()
    async with asyncio.timeout(2):
        while w.sites.usable("paris"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    w.site.status = None
    async with asyncio.timeout(3):
        while w.sites.health["paris"].state != "up":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_quiet_target_costs_probes_only(w: World) -> None:
    w.south.start()
    await asyncio.sleep(0.3)
    assert {path for _, path, _, _ in w.site.seen} <= {"/", "/compute/", "/v3", "/v3/", "/v3/auth/tokens"}
    assert w.site.calls["POST /v3/auth/tokens"] == 1


async def test_missing_service(w: World) -> None:
    with pytest.raises(SiteUnreachable, match="no placement endpoint"):
        await w.south.call("paris", "placement", "GET", "/resource_providers")
    with pytest.raises(SiteError, match="no such site"):
        await w.south.call("nowhere", "compute", "GET", "/servers")


def _features(w: World) -> None:
    async def zones(_: web.Request) -> web.StreamResponse:
        rows = [{"zoneName": z} for z in ("nova", "internal", "gpu")]
        return web.json_response({"availabilityZoneInfo": rows})

    async def extensions(_: web.Request) -> web.StreamResponse:
        return web.json_response({"extensions": [{"alias": "router"}, {"alias": "trunk"}]})

    async def root(_: web.Request) -> web.StreamResponse:
        return web.json_response({"versions": [{"id": "v2.1", "version": "2.96", "min_version": "2.1"}]})

    w.site.extra["GET", "/compute/v2.1/os-availability-zone"] = zones
    w.site.extra["GET", "/volume/v3/svc/os-availability-zone"] = zones
    w.site.extra["GET", "/network/v2.0/extensions"] = extensions
    w.site.extra["GET", "/compute/"] = root


async def test_discovery(w: World) -> None:
    _features(w)
    discovery = Discovery(w.sites, w.south, w.store)
    assert discovery.window("compute") == ("2.1", "2.1")
    await discovery.load()
    assert discovery.window("compute") == ("2.1", "2.96")
    assert discovery.windows.volume == ("3.0", "3.71")
    assert discovery.target_window("hub", "compute") == ("2.1", "2.100")
    assert discovery.zones("paris") == ["gpu", "nova"]
    assert discovery.zones("hub") == []
    assert discovery.extensions("paris") == {"router", "trunk"}


async def test_discovery_remembers_over_a_restart_with_the_site_away(w: World) -> None:
    _features(w)
    await Discovery(w.sites, w.south, w.store).load()
    w.site.hang = True
    again = Discovery(w.sites, w.south, w.store)
    begun = time.monotonic()
    await again.load()
    assert time.monotonic() - begun < 0.5
    assert again.window("compute") == ("2.1", "2.96")
    assert again.zones("paris", "volume") == ["gpu", "nova"]
    await again.refresh("paris", timeout=0.2)
    assert again.window("compute") == ("2.1", "2.96"), "what a site did not say now is what it said before"

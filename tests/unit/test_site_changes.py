"""A site comes back as another release: its microversions, its catalogue and its row are noticed soon, by every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from cascade.sites import clouds, discovery
from cascade.sites.discovery import Discovery
from tests.unit.sites_fake import World, world


@pytest.fixture
async def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(discovery, "RELOAD", 0.05)
    async with world(tmp_path) as it:
        it.site.extra["GET", "/network/v2.0/extensions"] = _says({"extensions": [{"alias": "router"}]})
        for path in ("/compute/v2.1/os-availability-zone", "/volume/v3/svc/os-availability-zone"):
            it.site.extra["GET", path] = _says({"availabilityZoneInfo": [{"zoneName": "nova"}]})
        _nova(it, "2.96")
        yield it


def _says(doc: object, status: int = 200) -> Callable[[web.Request], object]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(doc, status=status)

    return answer


def _nova(w: World, highest: str) -> None:
    w.site.extra["GET", "/compute/"] = _says({"versions": [{"id": "v2.1", "version": highest, "min_version": "2.1"}]})


@asynccontextmanager
async def running(w: World) -> AsyncIterator[Discovery]:
    """Discovery as a gateway runs it, past its first look."""
    found = Discovery(w.sites, w.south, w.store)
    await found.load()
    task = asyncio.create_task(found.run())
    try:
        await asyncio.sleep(0.3)
        assert found.target_window("paris", "compute") == ("2.1", "2.96")
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def shows(found: Discovery, highest: str) -> None:
    async with asyncio.timeout(3):
        while found.window("compute") != ("2.1", highest):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_site_whose_neutron_starts_last_is_asked_again_soon(w: World) -> None:
    """It counts as up as soon as Nova and Keystone answer: the first look may come too early, and is not the last for minutes."""
    async with running(w) as found:
        neutron = w.site.extra["GET", "/network/v2.0/extensions"]
        w.site.extra["GET", "/network/v2.0/extensions"] = _says({}, 503)
        _nova(w, "2.99")
        for tell in w.sites.health.on_up:
            tell("paris")
        await asyncio.sleep(0.2)
        assert found.window("compute") == ("2.1", "2.96")
        w.site.extra["GET", "/network/v2.0/extensions"] = neutron
        await shows(found, "2.99")


@pytest.mark.parametrize("now", ["2.99", "2.90"])
async def test_a_site_taken_back_at_another_process_is_looked_at_here(w: World, now: str) -> None:
    """Drained and taken back: this process saw no outage, and the store alone tells it. A rise and a fall alike."""
    async with running(w) as found:
        _nova(w, now)
        w.store.sites.rows = [replace(site, draining=not site.draining) for site in w.store.sites.rows]
        await shows(found, now)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_service_that_an_upgrade_moved_is_found(w: World, monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    """Nothing answers at the old address, or what is sent there vanishes: the catalogue is read again, and not only when the
    token ends."""

    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    monkeypatch.setattr(clouds, "RELEARN", 0.1)
    w.south.start()
    await w.south.call("paris", "compute", "GET", "/servers")
    old = w.site._catalog

    def moved() -> list[dict[str, object]]:
        rows = old()
        for end in next(row for row in rows if row["type"] == "compute")["endpoints"]:
            end["url"] = end["url"].replace("/compute/", "/nova/")
        return rows

    w.site.extra["GET", "/compute/"] = silence if silent else _says({}, 503)
    async with asyncio.timeout(3):
        while w.sites.usable("paris"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    logins = w.site.calls["POST /v3/auth/tokens"]
    await asyncio.sleep(0.5)
    assert w.site.calls["POST /v3/auth/tokens"] - logins <= 7, "not one for every probe"
    monkeypatch.setattr(w.site, "_catalog", moved)
    w.site.extra["GET", "/nova/"] = _says({"versions": []})
    async with asyncio.timeout(3):
        while not w.sites.usable("paris"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert w.south.base_urls("paris")["compute"].endswith("/nova/v2.1")

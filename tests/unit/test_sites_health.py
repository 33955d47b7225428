"""A site flips after a threshold, comes back by a probe, and one service's death is not the site's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cascade.model.errors import SiteUnreachable
from cascade.model.site import Site
from cascade.sites.breaker import Breaker
from cascade.sites.health import Monitor
from cascade.sites.limits import Limits
from cascade.sites.registry import Sites
from tests.unit.sites_fake import QUICK, Store


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


LIMITS = Limits(fail_threshold=3, fail_seconds=15, probe_gap=1.0)


def test_down_after_consecutive_failures_only() -> None:
    breaker = Breaker(LIMITS, clock=Clock())
    assert breaker.state == "unknown"
    for _ in range(2):
        breaker.failure("x", probe=True)
    breaker.success(probe=False)
    for _ in range(2):
        assert not breaker.failure("x", probe=True)
    assert breaker.failure("last", probe=True)
    assert (breaker.state, breaker.last_error) == ("down", "last")


def test_down_after_seconds_without_success() -> None:
    clock = Clock()
    breaker = Breaker(LIMITS, clock=clock)
    breaker.failure("x", probe=True)
    clock.now += 16
    assert breaker.failure("x", probe=True)


def test_one_broken_connection_is_one_failure() -> None:
    clock = Clock()
    breaker = Breaker(LIMITS, clock=clock)
    for _ in range(50):
        breaker.failure("reset", probe=False)
    assert breaker.state == "unknown"


def test_only_a_probe_closes() -> None:
    breaker = Breaker(replace(LIMITS, fail_threshold=1), clock=Clock())
    breaker.failure("x", probe=True)
    assert not breaker.success(probe=False)
    assert breaker.state == "down"
    assert breaker.success(0.1, probe=True)
    assert (breaker.state, breaker.latency) == ("up", 0.1)


class Prober:
    """Answers by a table: True = there, False = refused, None = hangs."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], bool | None] = {}
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, target: str, service: str) -> None:
        self.asked.append((target, service))
        answer = self.there.get((target, service), True)
        if answer is None:
            await asyncio.sleep(60)
        if answer is False:
            raise SiteUnreachable(target, "refused")


async def _until(what: object, seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_hung_site_flips_and_recovers() -> None:
    probe, monitor = Prober(), Monitor(QUICK)
    monitor.watch({"paris": ("compute", "identity"), "tokyo": ("compute", "identity")})
    told: list[str] = []
    monitor.on_down.append(lambda t: told.append(f"down {t}"))
    monitor.on_up.append(lambda t: told.append(f"up {t}"))
    monitor.start(probe)
    await _until(lambda: monitor["tokyo"].state == "up")
    probe.there["tokyo", "compute"] = None
    await _until(lambda: monitor["tokyo"].state == "down")
    assert "no answer within" in str(monitor["tokyo"].last_error)
    assert not monitor.allows("tokyo", "compute")
    assert not monitor.allows("tokyo", "volume"), "a site without Nova is down as a whole"
    assert monitor["paris"].state == "up"
    probe.there["tokyo", "compute"] = True
    await _until(lambda: monitor["tokyo"].state == "up")
    assert told == ["down tokyo", "up tokyo"]
    await monitor.close()


async def test_other_service_refuses_only_its_own_calls() -> None:
    probe, monitor = Prober(), Monitor(QUICK)
    monitor.watch({"paris": ("compute", "identity")})
    probe.there["paris", "volume"] = False
    monitor.start(probe)
    monitor.failed("paris", "volume", "refused")
    await _until(lambda: not monitor.allows("paris", "volume"))
    assert monitor.allows("paris", "compute")
    assert monitor["paris"].state == "up"
    probe.there["paris", "volume"] = True
    await _until(lambda: monitor.allows("paris", "volume"))
    await monitor.close()


async def test_pokes_do_not_make_a_burst_of_probes() -> None:
    limits = replace(QUICK, probe_interval=30, probe_gap=0.2)
    probe, monitor = Prober(), Monitor(limits)
    monitor.watch({"paris": ("compute",)})
    monitor.start(probe)
    for _ in range(60):
        monitor.poke("paris")
        await asyncio.sleep(0.005)
    assert 2 <= len(probe.asked) <= 5
    await monitor.close()


async def test_registry_follows_the_rows() -> None:
    tokyo = Site(name="tokyo", number=2, cloud="t", identity="shared")
    store = Store(tokyo, Site(name="paris", number=1, cloud="p"), Site(name="oslo", number=3, cloud="o", enabled=False))
    sites = Sites(store, limits=replace(QUICK, fail_threshold=1))
    assert await sites.reload()
    assert not await sites.reload()
    assert sites.names() == ["paris", "tokyo"]
    assert [s.name for s in sites.all()] == ["paris", "tokyo", "oslo"]
    assert sites.usable("paris")
    assert not sites.usable("oslo")
    assert not sites.usable("nowhere")
    assert set(sites.health) == {"hub", "paris", "tokyo"}
    sites.health.failed("tokyo", "compute", "refused")
    assert sites.health["tokyo"].state == "down"
    assert not sites.usable("tokyo")
    store.sites.rows.remove(tokyo)
    assert await sites.reload()
    assert "tokyo" not in sites.health
    found = sites.by_number(3)
    assert found is not None
    assert found.name == "oslo"

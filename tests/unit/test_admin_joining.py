"""The joining report: each thing that can be wrong with a site is said, and blocks or does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cascade.model.site import Site
from cascade.reconcile import conflicts
from cascade.reconcile.joining import Joining
from tests.unit.admin_fake import FLAVOR, World, caller, cloud

Docs = dict[tuple[str, str], Any]


@pytest_asyncio.fixture
async def world(tmp_path: Path):
    made = await World.make(tmp_path)
    yield made
    await made.store.close()


async def report(world: World, docs: Docs, **site: Any) -> dict[str, Any]:
    world.south.clouds["paris"] = docs
    options = {"options": {"wan_physnet": "wan"}, **site}
    return await Joining(world.south, world.sites).report(  # type: ignore[arg-type]
        Site(name="paris", number=0, cloud="paris", **options), caller=caller("admin"), cloud_windows=world.windows,
        zones={"tokyo": "tokyo", "ssd-zone": "tokyo"}, lower=False,
    )  # fmt: skip


def change(service: str, path: str, value: Any) -> Callable[[Docs], Any]:
    return lambda docs: docs.__setitem__((service, path), value)


def without(service: str, path: str) -> Callable[[Docs], Any]:
    return lambda docs: docs.pop((service, path))


def zones(*names: str) -> Callable[[Docs], Any]:
    return change("compute", "/os-availability-zone", {"availabilityZoneInfo": [{"zoneName": n} for n in names]})


@pytest.mark.parametrize(
    ("spoil", "site", "severity", "code"),
    [
        (without("identity", "/v3"), {}, "blocker", "unreachable"),
        (without("compute", "/"), {}, "blocker", "unreachable"),
        (change("network", "/", 503), {}, "blocker", "unreachable"),
        (without("volume", "/"), {}, "warning", "no-service"),
        (change("compute", "/", {"versions": []}), {}, "blocker", "unreachable"),
        (change("compute", "/", {"versions": [{"version": "2.90", "min_version": "2.1"}]}), {}, "blocker", "window"),
        (change("compute", "/", {"versions": [{"version": "2.400", "min_version": "2.200"}]}), {}, "blocker", "window"),
        (change("identity", "/v3/users", 403), {}, "blocker", "account"),
        (change("compute", "/os-hypervisors", 403), {}, "blocker", "account"),
        (change("identity", "/v3/projects/p1", {"project": {}}), {}, "blocker", "identity"),
        (lambda docs: None, {"identity": "shared"}, "blocker", "identity"),
        (change("network", "/v2.0/extensions", {"extensions": []}), {}, "note", "extensions"),
        (lambda docs: None, {"options": {"wan_physnet": "lan"}}, "blocker", "wan-physnet"),
        (change("network", "/v2.0/agents", {"agents": []}), {}, "note", "wan-physnet"),
        (lambda docs: None, {"options": {"wan_physnet": "wan", "external_network": "outside"}}, "warning", "external-network"),
        (change("network", "/v2.0/networks", {"networks": []}), {}, "warning", "external-network"),
        (change("network", "/v2.0/networks", {"networks": [{"id": "a", "name": "a"}, {"id": "b", "name": "b"}]}), {}, "note",
         "external-network"),
        (change("compute", "/flavors/detail", {"flavors": [{**FLAVOR, "ram": 64}]}), {}, "warning", "flavor"),
        (change("compute", "/flavors/detail", {"flavors": [{**FLAVOR, "id": "7"}]}), {}, "note", "flavor"),
        (zones("nova", "ssd-zone"), {}, "blocker", "zone"),
        (zones("nova", "paris"), {}, "blocker", "zone"),
        (zones("az1"), {}, "warning", "zone"),
        (zones("internal"), {}, "warning", "zone"),
        (without("volume", "/types"), {}, "warning", "unread"),
    ],
)  # fmt: skip
async def test_findings(world: World, spoil: Callable[[Docs], Any], site: dict[str, Any], severity: str, code: str) -> None:
    docs = cloud()
    spoil(docs)
    found = await report(world, docs, **site)
    assert (severity, code) in {(f["severity"], f["code"]) for f in found["findings"]}, found["findings"]
    assert found["ok"] is (severity != "blocker")
    assert "(joining)" not in str(found)


async def test_nothing_to_find(world: World) -> None:
    found = await report(world, cloud())
    assert found["ok"] and found["findings"] == []
    assert found["account"]["grade"] == "full" and found["flavors"]["adopted"] == [{"id": "42", "name": "m1.nano"}]
    assert found["services"]["compute"]["release"] == "2026.2" and found["network"]["physical_networks"] == ["public", "wan"]


async def test_one_cloud_twice(world: World) -> None:
    await world.store.sites.add(Site(name="lyon", number=0, cloud="paris"))
    await world.sites.reload()
    found = await report(world, cloud())
    assert [f["code"] for f in found["findings"]] == ["twice"] and not found["ok"]


async def test_a_clashing_zone_may_be_renamed(world: World) -> None:
    docs = cloud()
    zones("nova", "ssd-zone")(docs)
    found = await report(world, docs, zones={"ssd-zone": "paris-ssd"})
    assert found["ok"] and found["zones"]["north"] == {"nova": "paris", "ssd-zone": "paris-ssd"}


@pytest.mark.parametrize(
    ("highest", "name"),
    [("2.104", "2026.2"), ("2.105", "newer than 2026.2"), ("2.100", "2025.1 or 2025.2"), ("2.1", "older than Kilo")],
)
def test_release(highest: str, name: str) -> None:
    assert conflicts.release(highest) == name

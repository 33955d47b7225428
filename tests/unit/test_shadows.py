"""Shadows of deleted hub projects and users leave the sites, and nobody else's do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.reconcile.shadows import Shadows
from cascade.sites.registry import Sites
from cascade.store import Store
from cascade.store.pairs import Pair
from cascade.store.roles import RoleSet


class South:
    """``rows[target, path]``: a list with the projects or users its rows belong to; what is not there is empty."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.gone: set[str] = set()
        self.down: set[str] = set()
        self.asked: list[str] = []
        self.deleted: list[tuple[str, str]] = []

    async def call(self, target: str, service: str, method: str, path: str, **more: Any) -> Reply:
        if target in self.down:
            raise SiteUnreachable(target, "cut")
        what = dict(more.get("params") or ())
        if method == "DELETE":
            self.deleted.append((target, path))
            return Reply(target, 204, {}, b"")
        if service == "identity":
            self.asked.append(path.rsplit("/", 1)[-1])
            return Reply(target, 404 if self.asked[-1] in self.gone else 200, {}, b"{}")
        if path.endswith("/qos/policies"):
            return Reply(target, 404, {}, b"{}")
        if service in ("compute", "volume") and path != "/os-keypairs":
            assert what["all_tenants"] == "1"
        owner = what.get("project_id") or what.get("owner") or what["user_id"]
        rows = [r for r in self.rows.get((target, path), []) if owner in r.values() or "anyway" in r]
        return Reply(target, 200, {}, msgspec.json.encode({path.rsplit("/", 1)[-1].replace("-", "_").removeprefix("os_"): rows}))


class Rig:
    def __init__(self, store: Store, sites: Sites) -> None:
        self.store, self.south = store, South()
        self.shadows = Shadows(store, self.south, sites)  # type: ignore[arg-type]

    async def pair(self, kind: str, hub_id: str, *sites: str) -> None:
        for site in sites:
            await self.store.pairs.put(Pair(kind=kind, hub_id=hub_id, site=site, site_id=f"{site}-{hub_id}"))

    async def left(self, kind: str) -> set[str]:
        return {p.site_id for p in await self.store.pairs.all(kind)}


@pytest.fixture
async def r(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    for number, name in enumerate(("paris", "tokyo", "osaka"), 1):
        await store.sites.add(Site(name=name, number=number, cloud=name, identity="shared" if name == "osaka" else "mapped"))
    sites = Sites(store)
    await sites.reload()
    yield Rig(store, sites)
    await store.close()


async def test_an_empty_shadow_of_what_is_gone_goes(r: Rig) -> None:
    await r.pair("project", "dead", "paris", "tokyo", "osaka")
    await r.pair("project", "alive", "paris")
    await r.store.roles.put(RoleSet(site="paris", user_id="u", project_id="dead", roles=("member",), app_cred_id="c", version=1))
    r.south.gone = {"dead"}
    await r.shadows.round()
    assert await r.left("project") == {"paris-alive", "osaka-dead"}  # at a shared site there is no shadow
    assert sorted(r.south.deleted) == [("paris", "/v3/projects/paris-dead"), ("tokyo", "/v3/projects/tokyo-dead")]
    assert await r.store.roles.get("paris", "u", "dead", ("member",)) is None


@pytest.mark.parametrize("path", ["/servers", "/backups", "/v2/images", "/v2.0/ports"])
async def test_a_shadow_with_something_left_stays_where_it_is(r: Rig, path: str) -> None:
    await r.pair("project", "dead", "paris", "tokyo")
    r.south.rows["paris", path] = [{"id": "x", "of": "paris-dead"}]
    r.south.gone = {"dead"}
    await r.shadows.round()
    assert await r.left("project") == {"paris-dead"} and r.south.deleted == [("tokyo", "/v3/projects/tokyo-dead")]


async def test_groups_and_key_pairs_go_with_their_shadow_alone(r: Rig) -> None:
    await r.pair("project", "dead", "paris")
    await r.pair("user", "fired", "paris")
    await r.store.pairs.put(Pair(kind="security_group", hub_id="g", site="paris", site_id="paris-g"))
    mine = {"project_id": "paris-dead"}
    r.south.rows["paris", "/v2.0/security-groups"] = [
        {"id": "paris-g", "description": "cascade:g", **mine}, {"id": "other", "project_id": "the site's", "anyway": True},
    ]  # fmt: skip
    r.south.rows["paris", "/v2.0/address-groups"] = [{"id": "ag", "description": "cascade:g.members", **mine}]
    r.south.rows["paris", "/os-keypairs"] = [{"keypair": {"name": "a b"}, "of": "paris-fired"}]
    r.south.gone = {"dead", "fired"}
    await r.shadows.round()
    assert [path for _, path in r.south.deleted] == [
        "/v2.0/security-groups/paris-g", "/v2.0/address-groups/ag", "/v3/projects/paris-dead",
        "/os-keypairs/a%20b", "/v3/users/paris-fired",
    ]  # fmt: skip
    assert not await r.left("security_group") and not await r.left("project") and not await r.left("user")


async def test_a_site_that_is_away_keeps_its_shadow_for_the_next_round(r: Rig) -> None:
    await r.pair("project", "dead", "paris", "tokyo")
    r.south.gone, r.south.down = {"dead"}, {"paris"}
    await r.shadows.round()
    assert await r.left("project") == {"paris-dead"}
    r.south.down.clear()
    await r.shadows.round()
    assert await r.left("project") == set()


async def test_a_round_is_bounded_and_the_next_goes_on(r: Rig) -> None:
    for n in range(5):
        await r.pair("project", f"p{n}", "paris", "tokyo")
    for wanted in (["p0", "p1"], ["p2", "p3"], ["p4"], ["p0", "p1"]):
        r.south.asked.clear()
        await r.shadows.round(2)
        assert r.south.asked == wanted

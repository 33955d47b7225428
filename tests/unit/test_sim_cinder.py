"""The fake Cinder: a volume's life, attachments, faults, pages, tenancy and microversions, as the real one was seen to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from sim import app
from sim.world import Options, World
from tests.unit.test_sim_nova import NOWHERE, Place, free_ports, message


class Volumes(Place):
    """One cloud's Cinder."""

    async def __call__(self, method: str, path: str, doc: Any = None, **how: Any) -> tuple[int, Any]:
        return await super().__call__(method, path, doc, **{"service": "volume/v3", **how})

    async def make(self, kind: str = "volume", **given: Any) -> str:
        """Something that is available."""
        wish = {"size": 1, **given} if kind == "volume" else given
        status, doc = await self("POST", f"/{kind}s", {kind: wish})
        assert status == 202, doc
        ident = str(doc[kind]["id"])
        await self.until(kind, ident, "available")
        return ident

    async def until(self, kind: str, ident: str, wanted: str) -> Any:
        """The object when it has a status; ``""`` = when it is gone."""
        for _ in range(200):
            status, doc = await self("GET", f"/{kind}s/{ident}")
            if (status == 404) if not wanted else (status == 200 and doc[kind]["status"] == wanted):
                return doc.get(kind)
            await asyncio.sleep(0.005)
        raise AssertionError(doc)


@pytest.fixture
async def paris() -> AsyncIterator[Volumes]:
    world = World(["paris"], free_ports(2), Options(build=0.02, delete=0.01, volume=0.01))
    runners = await app.start(world)
    async with aiohttp.ClientSession() as session:
        yield Volumes(session, world, "paris")
    await app.stop(runners)


async def test_the_life_of_a_volume(paris: Volumes) -> None:
    status, doc = await paris("POST", "/volumes", {"volume": {"size": 1, "name": "v", "metadata": {"a": "b"}}})
    v = doc["volume"]
    assert (status, v["status"], v["size"], v["bootable"], v["attachments"]) == (202, "creating", 1, "false", [])
    assert "os-vol-tenant-attr:tenant_id" not in v
    v = await paris.until("volume", v["id"], "available")
    assert v["os-vol-tenant-attr:tenant_id"] and "os-vol-host-attr:host" not in v
    _, doc = await paris("GET", f"/volumes/{v['id']}", who="admin")
    assert doc["volume"]["os-vol-host-attr:host"].startswith("paris")
    status, _ = await paris("POST", f"/volumes/{v['id']}/action", {"os-extend": {"new_size": 3}})
    assert status == 202
    assert (await paris.until("volume", v["id"], "available"))["size"] == 3
    _, doc = await paris("GET", "/os-quota-sets/" + v["os-vol-tenant-attr:tenant_id"] + "?usage=True")
    assert (doc["quota_set"]["volumes"]["in_use"], doc["quota_set"]["gigabytes"]["in_use"]) == (1, 3)
    snapshot = await paris.make("snapshot", volume_id=v["id"], name="s")
    status, doc = await paris("DELETE", f"/volumes/{v['id']}")
    assert status == 400 and message(doc).startswith("Invalid volume: Volume status must be")
    assert (await paris("DELETE", f"/snapshots/{snapshot}"))[0] == 202
    await paris.until("snapshot", snapshot, "")
    assert (await paris("DELETE", f"/volumes/{v['id']}"))[0] == 202
    await paris.until("volume", v["id"], "")


async def test_copies_take_size_and_bootable_from_their_source(paris: Volumes) -> None:
    image = await paris._image()
    ident = await paris.make(size=2, imageRef=image)
    _, doc = await paris("GET", f"/volumes/{ident}")
    assert doc["volume"]["bootable"] == "true" and doc["volume"]["volume_image_metadata"]["image_id"] == image
    snapshot = await paris.make("snapshot", volume_id=ident)
    for source in ({"snapshot_id": snapshot}, {"source_volid": ident}):
        status, doc = await paris("POST", "/volumes", {"volume": source})
        assert (status, doc["volume"]["size"], doc["volume"]["bootable"]) == (202, 2, "true")
        status, doc = await paris("POST", "/volumes", {"volume": {**source, "size": 1}})
        assert status == 400 and "cannot be smaller" in message(doc)
        status, doc = await paris("POST", "/volumes", {"volume": source}, who="other")
        assert status == 404, doc


async def test_attachments_are_rows_the_volume_shows(paris: Volumes) -> None:
    ident = await paris.make()
    wish = {"attachment": {"volume_uuid": ident, "instance_uuid": NOWHERE}}
    status, doc = await paris("POST", "/attachments", wish, version="3.44")
    attachment = doc["attachment"]["id"]
    assert status == 200 and (await paris.until("volume", ident, "reserved"))["attachments"] == []
    connector = {"attachment": {"connector": {"host": "h", "mountpoint": "/dev/vdb"}}}
    assert (await paris("PUT", f"/attachments/{attachment}", connector, version="3.44"))[0] == 200
    assert (await paris("POST", f"/attachments/{attachment}/action", {"os-complete": None}, version="3.44"))[0] == 204
    (a,) = (await paris.until("volume", ident, "in-use"))["attachments"]
    assert (a["server_id"], a["attachment_id"], a["id"], a["device"], a["host_name"]) == (
        NOWHERE, attachment, ident, "/dev/vdb", None,
    )  # fmt: skip
    assert (await paris("DELETE", f"/volumes/{ident}"))[0] == 400
    status, doc = await paris("DELETE", f"/attachments/{attachment}", version="3.44")
    assert (status, doc) == (200, {"attachments": []})
    await paris.until("volume", ident, "available")


@pytest.mark.parametrize(
    ("method", "path", "doc", "version", "status"),
    [
        ("GET", f"/volumes/{NOWHERE}", None, "3.0", 404),
        ("GET", "/nothing", None, "3.0", 404),
        ("POST", "/volumes", {"volume": {"name": "no size"}}, "3.0", 400),
        ("POST", "/volumes", {"volume": {"size": 0}}, "3.0", 400),
        ("POST", "/volumes", {"volume": {"size": "x"}}, "3.0", 400),
        ("POST", "/volumes", {"volume": {"size": 1, "volume_type": "none"}}, "3.0", 404),
        ("POST", "/volumes", {"volume": {"size": 1, "availability_zone": "mars"}}, "3.0", 400),
        ("POST", "/snapshots", {"snapshot": {"volume_id": NOWHERE}}, "3.0", 404),
        ("POST", "/types", {"volume_type": {"name": "x"}}, "3.0", 403),
        ("GET", "/os-services", None, "3.0", 403),
        ("GET", "/groups", None, "3.12", 404),
        ("GET", "/groups", None, "3.13", 200),
        ("GET", "/volumes", None, "3.99", 406),
        ("GET", "/volumes", None, "three", 400),
        ("GET", "/volumes?limit=-1", None, "3.0", 400),
        ("GET", "/volumes?sort=nothing", None, "3.0", 400),
        ("GET", f"/volumes?marker={NOWHERE}", None, "3.0", 404),
    ],
)
async def test_refusals(paris: Volumes, method: str, path: str, doc: Any, version: str, status: int) -> None:
    got, answer = await paris(method, path, doc, version=version)
    assert got == status, answer


async def test_over_quota_is_413(paris: Volumes) -> None:
    status, doc = await paris("POST", "/volumes", {"volume": {"size": 10**7}})
    assert (status, list(doc)) == (413, ["overLimit"])


async def test_pages_are_newest_first_and_follow_their_links(paris: Volumes) -> None:
    made = {await paris.make(name=f"v{n}") for n in range(5)}
    newest = sorted(made, key=lambda i: (paris.cloud["volumes"][i]["created_at"], i), reverse=True)
    seen: list[str] = []
    path = "/volumes/detail?limit=2"
    for _ in range(3):
        status, doc = await paris("GET", path)
        assert status == 200
        seen += [v["id"] for v in doc["volumes"]]
        if "volumes_links" not in doc:
            break
        (link,) = doc["volumes_links"]
        path = "/volumes/detail?" + urlsplit(link["href"]).query
    assert seen == newest
    _, doc = await paris("GET", "/volumes?sort=name:asc&with_count=True", version="3.45")
    assert ([v["name"] for v in doc["volumes"]], doc["count"]) == ([f"v{n}" for n in range(5)], 5)


async def test_projects_do_not_see_each_other(paris: Volumes) -> None:
    ident = await paris.make(name="mine")
    assert (await paris("GET", f"/volumes/{ident}", who="other"))[0] == 404
    assert (await paris("DELETE", f"/volumes/{ident}", who="other"))[0] == 404
    assert (await paris("DELETE", f"/volumes/{ident}", who="demo-reader"))[0] == 403
    for who, query, seen in (("other", "?all_tenants=1", 0), ("admin", "", 0), ("admin", "?all_tenants=1", 1)):
        _, doc = await paris("GET", f"/volumes{query}", who=who)
        assert len(doc["volumes"]) == seen, who


async def test_microversions_add_what_they_added(paris: Volumes) -> None:
    ident = await paris.make()
    for version, name in (("3.13", "group_id"), ("3.48", "shared_targets"), ("3.63", "volume_type_id"), ("3.65", "consumes_quota")):
        before = f"3.{int(version[2:]) - 1}"
        _, old = await paris("GET", f"/volumes/{ident}", version=before)
        _, new = await paris("GET", f"/volumes/{ident}", version=version)
        assert name not in old["volume"] and name in new["volume"]


async def test_a_transfer_gives_a_volume_away(paris: Volumes) -> None:
    ident = await paris.make()
    _, doc = await paris("POST", "/volume-transfers", {"transfer": {"volume_id": ident}}, version="3.55")
    key, transfer = doc["transfer"]["auth_key"], doc["transfer"]["id"]
    await paris.until("volume", ident, "awaiting-transfer")
    path = f"/volume-transfers/{transfer}/accept"
    assert (await paris("POST", path, {"accept": {"auth_key": "wrong"}}, version="3.55", who="other"))[0] == 400
    assert (await paris("POST", path, {"accept": {"auth_key": key}}, version="3.55", who="other"))[0] == 202
    assert (await paris("GET", f"/volumes/{ident}"))[0] == 404
    assert (await paris("GET", f"/volumes/{ident}", who="other"))[0] == 200


async def test_types_with_specs_access_and_qos(paris: Volumes) -> None:
    wish = {"volume_type": {"name": "secret", "os-volume-type-access:is_public": False, "extra_specs": {"a": "b"}}}
    _, doc = await paris("POST", "/types", wish, who="admin")
    ident = doc["volume_type"]["id"]
    assert (await paris("GET", f"/types/{ident}"))[0] == 404
    _, project = await paris.token("demo", "demo")
    given = {"addProjectAccess": {"project": project}}
    assert (await paris("POST", f"/types/{ident}/action", given, who="admin"))[0] == 202
    _, doc = await paris("GET", f"/types/{ident}")
    assert doc["volume_type"]["name"] == "secret"
    _, doc = await paris("POST", "/qos-specs", {"qos_specs": {"name": "q", "total_iops_sec": "5"}}, who="admin")
    qos = doc["qos_specs"]["id"]
    assert (await paris("GET", f"/qos-specs/{qos}/associate?vol_type_id={ident}", who="admin"))[0] == 202
    assert (await paris("DELETE", f"/qos-specs/{qos}", who="admin"))[0] == 400

"""Raw requests in every microversion from 2.1 to the highest offered, and an unmodified openstacksdk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import STATE
from tests.lab.rest import Cloud, raw


@pytest.fixture(scope="module")
def highest(clouds: dict[str, Cloud]) -> int:
    """The minor number of the highest compute microversion offered."""
    c = clouds["cascade"].login()
    doc = raw(c.endpoints["compute"] + "/", "GET").json()["version"]
    return int(doc["version"].split(".")[1])


@pytest.fixture(scope="module")
def servers(clouds: dict[str, Cloud]) -> Iterator[dict[str, str]]:
    """A server through Cascade in each site, and one made directly at each site."""
    out: dict[str, str] = {}
    north = [("cascade", "42", "paris"), ("cascade", "42", "tokyo")]
    for name, flavor, zone in [*north, ("paris-demo", "direct", None), ("tokyo-demo", "direct", None)]:
        c = clouds[name]
        image = c("image", "POST", "/v2/images", {"name": "versions", "disk_format": "raw", "container_format": "bare"}).json()[
            "id"
        ]
        c("image", "PUT", f"/v2/images/{image}/file", b"x", headers={"Content-Type": "application/octet-stream"})
        body: dict[str, Any] = {"server": {"name": "versions", "flavorRef": flavor, "imageRef": image, "networks": "none"}}
        if zone:
            body["server"]["availability_zone"] = zone
        made = c("compute", "POST", "/servers", body, version="2.60")
        assert made.status == 202, made.body
        key = f"{name}:{zone}" if zone else name
        out[key] = made.json()["server"]["id"]
        c.until("compute", f"/servers/{out[key]}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield out
    for key, server in out.items():
        c = clouds[key.split(":")[0]]
        c("compute", "DELETE", f"/servers/{server}")
        c.until("compute", f"/servers/{server}", lambda a: a.status == 404)
        for image in c("image", "GET", "/v2/images", name="versions").json()["images"]:
            c("image", "DELETE", f"/v2/images/{image['id']}")


def keys(doc: Any) -> Any:
    """The shape of a document: its keys, all the way down."""
    if isinstance(doc, dict):
        return {k: keys(v) for k, v in doc.items() if k not in ("addresses", "metadata", "extra_specs")}
    return "list" if isinstance(doc, list) else "value"


@pytest.mark.parametrize("site", ["paris", "tokyo"])
def test_every_microversion(clouds: dict[str, Cloud], servers: dict[str, str], highest: int, site: str) -> None:
    """A server has the same keys through Cascade as directly, in each microversion, and the answer says which one."""
    north, direct = clouds["cascade"], clouds[f"{site}-demo"]
    assert highest >= 96
    for minor in range(1, highest + 1):
        version = f"2.{minor}"
        ours = north("compute", "GET", f"/servers/{servers[f'cascade:{site}']}", version=version)
        theirs = direct("compute", "GET", f"/servers/{servers[f'{site}-demo']}", version=version)
        assert (ours.status, theirs.status) == (200, 200), (version, ours.body)
        assert keys(ours.json()) == keys(theirs.json()), version
        assert ours.headers["openstack-api-version"] == f"compute {version}"
        assert "127.0.0.1:2" not in ours.body.decode()


def test_lists_and_creates(clouds: dict[str, Cloud], servers: dict[str, str], highest: int) -> None:
    """Lists in every tenth microversion hold both sites' servers; above the window is Nova's 406; latest is the window's top."""
    c = clouds["cascade"]
    mine = {servers["cascade:paris"], servers["cascade:tokyo"]}
    for minor in [*range(1, highest, 10), highest]:
        for path in ("/servers", "/servers/detail"):
            got = c("compute", "GET", path, version=f"2.{minor}")
            assert mine <= {s["id"] for s in got.json()["servers"]}, (minor, path)
    assert c("compute", "GET", "/servers", version=f"2.{highest + 1}").status == 406
    assert c("compute", "GET", "/servers", version="latest").headers["openstack-api-version"] == f"compute 2.{highest}"


def test_pages(clouds: dict[str, Cloud], servers: dict[str, str]) -> None:
    """Walked by ones with next links: each server once, in the order of one page."""
    c = clouds["cascade"]
    whole = [s["id"] for s in c("compute", "GET", "/servers").json()["servers"]]
    walked: list[str] = []
    path: str | None = "/servers?limit=1"
    while path:
        doc = c("compute", "GET", path).json()
        walked += [s["id"] for s in doc["servers"]]
        links = doc.get("servers_links") or []
        path = links[0]["href"].split("/v2.1", 1)[1] if links else None
    assert walked == whole


def test_openstacksdk(clouds: dict[str, Cloud], servers: dict[str, str]) -> None:
    """The SDK as it is."""
    import openstack

    os.environ["OS_CLIENT_CONFIG_FILE"] = str(STATE / "clouds.yaml")
    c = openstack.connect(cloud="cascade")
    assert {"paris", "tokyo"} <= {z.name for z in c.compute.availability_zones()}
    assert {servers["cascade:paris"], servers["cascade:tokyo"]} <= {s.id for s in c.compute.servers()}
    server = c.compute.get_server(servers["cascade:tokyo"])
    assert (server.status, server.availability_zone) == ("ACTIVE", "tokyo")
    c.compute.set_server_metadata(server, colour="red")
    assert c.compute.get_server_metadata(server).metadata == {"colour": "red"}
    volume = c.block_storage.create_volume(size=1, availability_zone="tokyo", name="sdk")
    c.block_storage.wait_for_status(volume, "available", ["error"], 0.5, 60)
    c.compute.create_volume_attachment(server, volume_id=volume.id)
    c.block_storage.wait_for_status(c.block_storage.get_volume(volume.id), "in-use", ["error"], 0.5, 60)
    c.compute.delete_volume_attachment(server, volume.id)
    c.block_storage.wait_for_status(c.block_storage.get_volume(volume.id), "available", ["error"], 0.5, 60)
    c.block_storage.delete_volume(volume.id)
    assert c.identity.get_project(c.current_project_id).name == "demo"
    assert c.compute.get_limits().absolute.instances_used >= 2

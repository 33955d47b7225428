"""kill -9 at named points of server create and delete; the database deleted. Nothing is lost, doubled or left behind."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import STATE
from tests.lab.gateway import Gateway
from tests.lab.rest import Cloud

CREATE_POINTS = [
    "server.create:intent", "server.create:materialised", "server.create:hub-port", "server.create:site-port",
    "server.create:ports",
    "server.create:posting", "server.create:accepted", "server.create:indexed",
]  # fmt: skip
DELETE_POINTS = ["server.delete:intent", "server.delete:sent", "server.delete:answered", "ports:site-dropped", "ports:hub-dropped"]


@pytest.fixture
def gateway(tmp_path: Path, clouds: dict[str, Cloud]) -> Iterator[Gateway]:
    """A gateway with both sites joined."""
    g = Gateway(tmp_path, STATE, 19107).start()
    try:
        g.join(g.cloud(clouds["cascade-admin"]), "paris", "tokyo")
        yield g
    finally:
        g.stop()


@pytest.fixture
def world(gateway: Gateway, clouds: dict[str, Cloud]) -> Iterator[tuple[Gateway, Cloud, dict[str, Any]]]:
    """A project's network, and the body of a server on it."""
    c = gateway.cloud(clouds["cascade-other"])
    net = c("network", "POST", "/v2.0/networks", {"network": {"name": "crash"}}).json()["network"]["id"]
    c("network", "POST", "/v2.0/subnets", {"subnet": {"network_id": net, "ip_version": 4, "cidr": "10.66.0.0/24"}})
    image = c("image", "POST", "/v2/images", {"name": "crash", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    server = {"name": "crash", "flavorRef": "42", "imageRef": image, "networks": [{"uuid": net}], "availability_zone": "tokyo"}
    yield gateway, c, {"server": server}
    again = gateway.start() if gateway.process and gateway.process.poll() is not None else gateway
    for s in c("compute", "GET", "/servers").json()["servers"]:
        c("compute", "DELETE", f"/servers/{s['id']}")
    c.until("network", f"/v2.0/ports?network_id={net}&fields=id&fields=device_owner", lambda a: not _server_ports(a))
    assert c("network", "DELETE", f"/v2.0/networks/{net}").status == 204
    c("image", "DELETE", f"/v2/images/{image}")
    stamp = f"cascade:{net}"
    clouds["tokyo"].until("network", f"/v2.0/networks?description={stamp}", lambda a: a.json()["networks"] == [])
    again.stop()


def _server_ports(answer: Any) -> list[Any]:
    return [p for p in answer.json()["ports"] if not p["device_owner"].startswith("network:")]


def _used(c: Cloud) -> tuple[int, int]:
    a = c("compute", "GET", "/limits").json()["limits"]["absolute"]
    return a["totalInstancesUsed"], a["totalCoresUsed"]


def _site_servers(clouds: dict[str, Cloud]) -> int:
    return len(clouds["tokyo"]("compute", "GET", "/servers?all_tenants=1&name=crash").json()["servers"])


def _settled(c: Cloud, clouds: dict[str, Cloud], servers: int, net: str) -> None:
    """Index, site, ledger and hub ports agree on a number of servers."""
    c.until("compute", "/servers", lambda a: len(a.json()["servers"]) == servers and _site_servers(clouds) == servers)
    c.until("compute", "/limits", lambda a: _used(c) == (servers, servers))
    c.until("network", f"/v2.0/ports?network_id={net}", lambda a: len(_server_ports(a)) == servers)


@pytest.mark.parametrize("point", CREATE_POINTS)
def test_create(world: tuple[Gateway, Cloud, dict[str, Any]], clouds: dict[str, Cloud], point: str) -> None:
    """Killed in the middle of a create: one server or none, and everything agrees on which."""
    gateway, c, body = world
    net = body["server"]["networks"][0]["uuid"]
    gateway.stop()
    gateway.start(point)
    with contextlib.suppress(OSError, http.client.HTTPException):
        c("compute", "POST", "/servers", body, version="2.60")
    assert gateway.died(), f"{point} was never reached"
    gateway.start()
    expected = 1 if CREATE_POINTS.index(point) >= CREATE_POINTS.index("server.create:accepted") else 0
    _settled(c, clouds, expected, net)


@pytest.mark.parametrize("point", DELETE_POINTS)
def test_delete(world: tuple[Gateway, Cloud, dict[str, Any]], clouds: dict[str, Cloud], point: str) -> None:
    """Killed in the middle of a delete: asked again or not, in the end nothing stays if the site was told."""
    gateway, c, body = world
    net = body["server"]["networks"][0]["uuid"]
    made = c("compute", "POST", "/servers", body, version="2.60")
    assert made.status == 202, made.body
    server = made.json()["server"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    gateway.stop()
    gateway.start(point)
    with contextlib.suppress(OSError, http.client.HTTPException):
        c("compute", "DELETE", f"/servers/{server}")
        c.until("compute", f"/servers/{server}", lambda a: a.status == 404, seconds=20)
    assert gateway.died(), f"{point} was never reached"
    gateway.start()
    if point == "server.delete:intent":
        assert c("compute", "DELETE", f"/servers/{server}").status == 204  # the client was told nothing: it asks again
    _settled(c, clouds, 0, net)


def test_rebuild(world: tuple[Gateway, Cloud, dict[str, Any]], clouds: dict[str, Cloud]) -> None:
    """The database file deleted under a running cloud: rebuilt, then everything lists and deletes as before."""
    gateway, c, body = world
    net = body["server"]["networks"][0]["uuid"]
    server = c("compute", "POST", "/servers", body, version="2.60").json()["server"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    volume = c("volume", "POST", "/volumes", {"volume": {"size": 1, "name": "crash"}}).json()["volume"]["id"]
    before = c("compute", "GET", "/servers/detail", version="2.60").json()
    gateway.stop()
    for f in gateway.home.glob("cascade.db*"):
        f.unlink()
    gateway.start()
    gateway.join(gateway.cloud(clouds["cascade-admin"]), "paris", "tokyo")
    gateway.command("rebuild")
    gateway.stop()
    gateway.start()
    assert c("compute", "GET", "/servers/detail", version="2.60").json() == before
    assert _used(c) == (1, 1)
    assert c("volume", "DELETE", f"/volumes/{volume}").status == 202
    assert c("compute", "DELETE", f"/servers/{server}").status == 204
    c.until("compute", f"/servers/{server}", lambda a: a.status == 404)
    _settled(c, clouds, 0, net)

"""Identity mode ``shared``: site osaka trusts the hub's Keystone, beside paris with its own. ``bin/lab up --site osaka`` first."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import STATE
from tests.lab.gateway import Gateway
from tests.lab.rest import Cloud


def _osaka_runs() -> bool:
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", 23003)) == 0


pytestmark = pytest.mark.skipif(not _osaka_runs(), reason="site osaka is not up (bin/lab up --site osaka)")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, clouds: dict[str, Cloud]) -> Iterator[Gateway]:
    """A gateway of our own with one site of each mode."""
    g = Gateway(tmp_path_factory.mktemp("shared"), STATE, 19207).start()
    try:
        g.join(g.cloud(clouds["cascade-admin"]), "paris", "osaka", osaka="shared")
        yield g
    finally:
        g.stop()


@pytest.fixture(scope="module")
def people(gateway: Gateway, clouds: dict[str, Cloud]) -> dict[str, Cloud]:
    """Everybody, through it."""
    return {n: gateway.cloud(clouds[n]) for n in ("cascade", "cascade-reader", "cascade-other", "cascade-admin")}


@pytest.fixture(scope="module")
def mine(people: dict[str, Cloud]) -> Iterator[dict[str, str]]:
    """A network over both sites, a server and a volume in each."""
    c = people["cascade"]
    net = c("network", "POST", "/v2.0/networks", {"network": {"name": "shared"}}).json()["network"]["id"]
    c("network", "POST", "/v2.0/subnets", {"subnet": {"network_id": net, "ip_version": 4, "cidr": "10.33.0.0/24"}})
    image = c("image", "POST", "/v2/images", {"name": "shared", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    out = {"network": net, "image": image}
    for zone in ("paris", "osaka"):
        body = {
            "name": f"shared-{zone}",
            "flavorRef": "42",
            "imageRef": image,
            "networks": [{"uuid": net}],
            "availability_zone": zone,
        }
        made = c("compute", "POST", "/servers", {"server": body}, version="2.60")
        assert made.status == 202, made.body
        out[zone] = made.json()["server"]["id"]
        volume = c("volume", "POST", "/volumes", {"volume": {"size": 1, "name": zone, "availability_zone": zone}})
        assert volume.status == 202, volume.body
        out[f"{zone}-volume"] = volume.json()["volume"]["id"]
    for zone in ("paris", "osaka"):
        c.until("compute", f"/servers/{out[zone]}", lambda a: a.json()["server"]["status"] != "BUILD")
        c.until("volume", f"/volumes/{out[f'{zone}-volume']}", lambda a: a.json()["volume"]["status"] == "available")
    yield out
    for zone in ("paris", "osaka"):
        c("compute", "DELETE", f"/servers/{out[zone]}")
        c.until("compute", f"/servers/{out[zone]}", lambda a: a.status == 404)
        c("volume", "DELETE", f"/volumes/{out[f'{zone}-volume']}")
        c.until("volume", f"/volumes/{out[f'{zone}-volume']}", lambda a: a.status == 404)
    assert c("network", "DELETE", f"/v2.0/networks/{net}").status == 204
    c("image", "DELETE", f"/v2/images/{image}")


def test_one_cloud(people: dict[str, Cloud], mine: dict[str, str]) -> None:
    """Servers of both modes on one subnet, in one list, with the hub's addresses."""
    c = people["cascade"]
    rows = {s["id"]: s for s in c("compute", "GET", "/servers/detail").json()["servers"]}
    ports = c("network", "GET", "/v2.0/ports", network_id=mine["network"]).json()["ports"]
    at_hub = {p["device_id"]: p["fixed_ips"][0]["ip_address"] for p in ports if p["device_owner"].startswith("compute:")}
    for zone in ("paris", "osaka"):
        row = rows[mine[zone]]
        assert (row["status"], row["OS-EXT-AZ:availability_zone"], row["tenant_id"]) == ("ACTIVE", zone, c.project_id)
        assert [a["addr"] for a in row["addresses"]["shared"]] == [at_hub[mine[zone]]]
    assert {mine["paris-volume"], mine["osaka-volume"]} <= {v["id"] for v in c("volume", "GET", "/volumes").json()["volumes"]}


def test_attach(people: dict[str, Cloud], mine: dict[str, str]) -> None:
    """Within the site; over sites it is Nova's own refusal."""
    c = people["cascade"]
    path = f"/servers/{mine['osaka']}/os-volume_attachments"
    assert c("compute", "POST", path, {"volumeAttachment": {"volumeId": mine["paris-volume"]}}).status == 400
    assert c("compute", "POST", path, {"volumeAttachment": {"volumeId": mine["osaka-volume"]}}).status == 200
    c.until("volume", f"/volumes/{mine['osaka-volume']}", lambda a: a.json()["volume"]["status"] == "in-use")
    assert c("compute", "DELETE", f"{path}/{mine['osaka-volume']}").status == 202
    c.until("volume", f"/volumes/{mine['osaka-volume']}", lambda a: a.json()["volume"]["status"] == "available")


@pytest.mark.parametrize("who", ["cascade", "cascade-admin"])
def test_catalogue_names_no_site(people: dict[str, Cloud], mine: dict[str, str], who: str) -> None:
    """The hub's catalogue holds osaka's addresses for osaka's own services; nobody sees them north (design review 5.6)."""
    c = people[who]
    for got in (c("identity", "GET", "/auth/catalog"), c("identity", "GET", "/auth/tokens", headers={"X-Subject-Token": c.token})):
        assert got.status == 200
        assert b"osaka" not in got.body and b"127.0.0.1:2" not in got.body


def test_tenant_reads_no_endpoints(people: dict[str, Cloud]) -> None:
    """Keystone's own policy."""
    for path in ("/endpoints", "/services"):
        assert people["cascade"]("identity", "GET", path).status == 403


def test_others_see_nothing(people: dict[str, Cloud], mine: dict[str, str]) -> None:
    """In the shared site as in the mapped one."""
    other = people["cascade-other"]
    for path in (f"/servers/{mine['osaka']}", f"/servers/{mine['osaka']}/os-interface"):
        assert other("compute", "GET", path).status == 404
    assert other("compute", "DELETE", f"/servers/{mine['osaka']}").status == 404
    assert other("volume", "GET", f"/volumes/{mine['osaka-volume']}").status == 404
    assert mine["osaka"].encode() not in other("compute", "GET", "/servers").body
    assert mine["osaka-volume"].encode() not in other("volume", "GET", "/volumes").body
    body: dict[str, Any] = {
        "name": "thief",
        "flavorRef": "42",
        "imageRef": mine["image"],
        "networks": "none",
        "availability_zone": "osaka",
    }
    assert other("compute", "POST", "/servers", {"server": body}, version="2.60").status == 400


def test_reader_stays_a_reader(people: dict[str, Cloud], mine: dict[str, str]) -> None:
    """He reads and writes nothing."""
    reader = people["cascade-reader"]
    assert reader("compute", "GET", f"/servers/{mine['osaka']}").status == 200
    assert reader("compute", "DELETE", f"/servers/{mine['osaka']}").status == 403
    assert reader("compute", "POST", f"/servers/{mine['osaka']}/action", {"os-stop": None}).status == 403


def test_restricted_credential(people: dict[str, Cloud], mine: dict[str, str]) -> None:
    """Access rules hold here and at the site."""
    c = people["cascade"]
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}]
    body = {"application_credential": {"name": "narrow-shared", "secret": "s3cret", "access_rules": rules}}
    made = c("identity", "POST", f"/users/{c.user_id}/application_credentials", body)
    assert made.status == 201, made.body
    ident = made.json()["application_credential"]["id"]
    try:
        auth = {"methods": ["application_credential"], "application_credential": {"id": ident, "secret": "s3cret"}}
        token = c("identity", "POST", "/auth/tokens", {"auth": {"identity": auth}}, token="").headers["x-subject-token"]
        assert c("compute", "GET", f"/servers/{mine['osaka']}", token=token).status == 200
        assert c("compute", "DELETE", f"/servers/{mine['osaka']}", token=token).status == 401
        assert c("volume", "GET", f"/volumes/{mine['osaka-volume']}", token=token).status == 401
    finally:
        c("identity", "DELETE", f"/users/{c.user_id}/application_credentials/{ident}")


def test_wrong_mode_is_refused(gateway: Gateway, people: dict[str, Cloud]) -> None:
    """A site whose Keystone is its own cannot join as shared: the report says so."""
    admin = people["cascade-admin"]
    admin.endpoints["cascade"] = gateway.url + "/cascade/v1"
    body = {"site": {"name": "tokyo", "cloud": "tokyo", "identity": "shared"}, "allow_lower_window": True}
    got = admin("cascade", "POST", "/sites", body)
    assert got.status == 409 and "shared" in got.body.decode()


def test_rebuild(gateway: Gateway, people: dict[str, Cloud], mine: dict[str, str], clouds: dict[str, Cloud]) -> None:
    """The database deleted: hub and sites give it back, shared site included."""
    c = people["cascade"]
    before = c("compute", "GET", "/servers/detail", version="2.60").json()
    used = c("compute", "GET", "/limits").json()["limits"]["absolute"]["totalInstancesUsed"]
    gateway.stop()
    for f in gateway.home.glob("cascade.db*"):
        f.unlink()
    gateway.start()
    gateway.join(gateway.cloud(clouds["cascade-admin"]), "paris", "osaka", osaka="shared")
    gateway.command("rebuild")
    gateway.stop()
    gateway.start()
    # The first list after a start signs in everywhere; a site too slow for that is left out of it.
    c.until("compute", "/servers/detail", lambda a: a.json() == before, version="2.60", seconds=30)
    assert c("compute", "GET", "/limits").json()["limits"]["absolute"]["totalInstancesUsed"] >= used

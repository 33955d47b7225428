"""Bad input gets what the real service gives: status and fault shape are compared with paris asked directly, never typed in.

``{flavor}``, ``{image}``, ``{network}``... in a path or body are things that exist in the cloud asked; ``{uuid}`` exists nowhere.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lab.rest import Answer, Cloud, raw

UUID = "3f0c2a51-6f0e-4b57-9d0c-0123456789ab"
BIG = b'{"server": {"name": "' + b"x" * 130_000 + b'"}}'
SERVER = {"name": "bad", "flavorRef": "{flavor}", "imageRef": "{image}", "networks": "none"}


def server(**kw: Any) -> dict[str, Any]:
    """A create with something wrong in it."""
    return {"server": {k: v for k, v in {**SERVER, **kw}.items() if v is not None}}


COMPUTE: list[tuple[str, str, Any, str | None]] = [
    ("POST", "/servers", b"{not json", "2.90"),
    ("POST", "/servers", b"", "2.90"),
    ("POST", "/servers", b"[]", "2.90"),
    ("POST", "/servers", {}, "2.90"),
    ("POST", "/servers", {"server": []}, "2.90"),
    ("POST", "/servers", {"server": {}}, "2.90"),
    ("POST", "/servers", server(name=None), "2.90"),
    ("POST", "/servers", server(name=""), "2.90"),
    ("POST", "/servers", server(name=5), "2.90"),
    ("POST", "/servers", server(name="x" * 256), "2.90"),
    ("POST", "/servers", server(flavorRef=None), "2.90"),
    ("POST", "/servers", server(flavorRef="nonesuch"), "2.90"),
    ("POST", "/servers", server(flavorRef={"id": 1}), "2.90"),
    ("POST", "/servers", server(imageRef=UUID), "2.90"),
    ("POST", "/servers", server(imageRef="not-a-uuid"), "2.90"),
    ("POST", "/servers", server(imageRef=None), "2.90"),
    ("POST", "/servers", server(networks=None), "2.90"),
    ("POST", "/servers", server(networks="sometimes"), "2.90"),
    ("POST", "/servers", server(networks=[{"uuid": UUID}]), "2.90"),
    ("POST", "/servers", server(networks=[{"port": UUID}]), "2.90"),
    ("POST", "/servers", server(networks=[{"uuid": "nope"}]), "2.90"),
    ("POST", "/servers", server(networks=[{}]), "2.90"),
    ("POST", "/servers", server(networks=[{"uuid": "{network}", "fixed_ip": "banana"}]), "2.90"),
    ("POST", "/servers", server(key_name="nonesuch"), "2.90"),
    ("POST", "/servers", server(availability_zone="atlantis"), "2.90"),
    ("POST", "/servers", server(availability_zone=7), "2.90"),
    ("POST", "/servers", server(min_count=0), "2.90"),
    ("POST", "/servers", server(min_count=3, max_count=2), "2.90"),
    ("POST", "/servers", server(min_count="many"), "2.90"),
    ("POST", "/servers", server(min_count=5000), "2.90"),
    ("POST", "/servers", server(metadata={"k": 5}), "2.90"),
    ("POST", "/servers", server(metadata={"k" * 300: "v"}), "2.90"),
    ("POST", "/servers", server(user_data="%%% not base64"), "2.90"),
    ("POST", "/servers", server(tags=["a,b"]), "2.90"),
    ("POST", "/servers", server(tags=["t"]), "2.51"),
    ("POST", "/servers", server(description="d"), "2.18"),
    ("POST", "/servers", server(bogus=1), "2.90"),
    (
        "POST",
        "/servers",
        server(
            block_device_mapping_v2=[{"source_type": "volume", "uuid": UUID, "destination_type": "volume", "boot_index": 0}],
            imageRef="",
        ),
        "2.90",
    ),
    ("POST", "/servers", {**server(), "os:scheduler_hints": {"group": UUID}}, "2.90"),
    ("POST", "/servers", {**server(), "os:scheduler_hints": "yes"}, "2.90"),
    ("POST", "/servers", server(security_groups=[{"name": "nonesuch"}], networks=[{"uuid": "{network}"}]), "2.90"),
    ("POST", "/servers", BIG, "2.90"),
    ("GET", f"/servers/{UUID}", None, "2.90"),
    ("GET", "/servers/not-a-uuid", None, "2.90"),
    ("DELETE", f"/servers/{UUID}", None, "2.90"),
    ("PUT", f"/servers/{UUID}", {"server": {"name": "n"}}, "2.90"),
    ("PATCH", f"/servers/{UUID}", {"server": {"name": "n"}}, "2.90"),
    ("POST", f"/servers/{UUID}/action", {"os-stop": None}, "2.90"),
    ("POST", f"/servers/{UUID}/action", {"fly": None}, "2.90"),
    ("POST", f"/servers/{UUID}/action", b"{", "2.90"),
    ("PUT", "/servers", {"server": {}}, "2.90"),
    ("GET", f"/servers?marker={UUID}", None, "2.90"),
    ("GET", "/servers?limit=-1", None, "2.90"),
    ("GET", "/servers?limit=banana", None, "2.90"),
    ("GET", "/servers/detail?sort_key=nonesuch", None, "2.90"),
    ("GET", "/servers/detail?status=banana", None, "2.90"),
    ("GET", "/servers/detail?changes-since=yesterday", None, "2.90"),
    ("GET", "/servers/detail?all_tenants=maybe", None, "2.90"),
    ("GET", "/servers/detail?all_tenants=1", None, "2.90"),
    ("GET", "/servers", None, "9.9"),
    ("GET", "/servers", None, "banana"),
    ("GET", "/servers", None, "2.0"),
    ("GET", "/flavors/nonesuch", None, "2.90"),
    ("POST", "/flavors", {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1}}, "2.90"),
    ("GET", "/os-keypairs/nonesuch", None, "2.90"),
    ("POST", "/os-keypairs", {"keypair": {"name": "bad name \u0007"}}, "2.90"),
    ("GET", "/os-hypervisors", None, "2.90"),
    ("GET", "/os-services", None, "2.90"),
    ("GET", "/os-quota-sets", None, "2.90"),
    ("GET", "/nonesuch", None, "2.90"),
    ("GET", f"/servers/{UUID}/os-volume_attachments/{UUID}", None, "2.90"),
    ("POST", f"/servers/{UUID}/os-interface", {"interfaceAttachment": {"net_id": UUID}}, "2.90"),
]
VOLUME: list[tuple[str, str, Any, str | None]] = [
    ("POST", "/volumes", b"{", "3.60"),
    ("POST", "/volumes", {}, "3.60"),
    ("POST", "/volumes", {"volume": []}, "3.60"),
    ("POST", "/volumes", {"volume": {}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 0}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": -1}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": "big"}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "volume_type": "nonesuch"}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "availability_zone": "atlantis"}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "snapshot_id": UUID}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "source_volid": UUID}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "imageRef": UUID}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "imageRef": "nope"}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "name": "n" * 300}}, "3.60"),
    ("POST", "/volumes", {"volume": {"size": 1, "metadata": {"k": 5}}}, "3.60"),
    ("GET", f"/volumes/{UUID}", None, "3.60"),
    ("DELETE", f"/volumes/{UUID}", None, "3.60"),
    ("POST", f"/volumes/{UUID}/action", {"os-extend": {"new_size": 2}}, "3.60"),
    ("GET", f"/volumes?marker={UUID}", None, "3.60"),
    ("GET", "/volumes?limit=-1", None, "3.60"),
    ("GET", "/volumes/detail?sort=nonesuch:asc", None, "3.60"),
    ("GET", "/volumes", None, "9.9"),
    ("POST", "/snapshots", {"snapshot": {"volume_id": UUID}}, "3.60"),
    ("POST", "/snapshots", {"snapshot": {}}, "3.60"),
    ("GET", f"/snapshots/{UUID}", None, "3.60"),
    ("GET", f"/types/{UUID}", None, "3.60"),
    ("POST", "/types", {"volume_type": {"name": "t"}}, "3.60"),
    ("GET", "/scheduler-stats/get_pools", None, "3.60"),
    ("GET", "/nonesuch", None, "3.60"),
    ("PUT", "/volumes", {}, "3.60"),
]
NETWORK: list[tuple[str, str, Any, str | None]] = [
    ("POST", "/v2.0/networks", b"{", None),
    ("POST", "/v2.0/networks", {}, None),
    ("POST", "/v2.0/networks", {"network": {"bogus": 1}}, None),
    ("POST", "/v2.0/networks", {"network": {"name": 5}}, None),
    ("POST", "/v2.0/networks", {"network": {"name": "n", "provider:network_type": "vlan"}}, None),
    ("POST", "/v2.0/networks", {"network": {"name": "n", "availability_zone_hints": ["atlantis"]}}, None),
    ("POST", "/v2.0/subnets", {"subnet": {"network_id": UUID, "ip_version": 4, "cidr": "10.0.0.0/24"}}, None),
    ("POST", "/v2.0/subnets", {"subnet": {"network_id": "{network}", "ip_version": 4, "cidr": "banana"}}, None),
    ("POST", "/v2.0/ports", {"port": {"network_id": UUID}}, None),
    ("POST", "/v2.0/ports", {"port": {}}, None),
    ("GET", f"/v2.0/ports/{UUID}", None, None),
    ("GET", f"/v2.0/networks/{UUID}", None, None),
    ("DELETE", f"/v2.0/networks/{UUID}", None, None),
    ("PUT", f"/v2.0/networks/{UUID}", {"network": {"name": "x"}}, None),
    ("POST", "/v2.0/security-group-rules", {"security_group_rule": {"security_group_id": UUID, "direction": "ingress"}}, None),
    ("POST", "/v2.0/floatingips", {"floatingip": {"floating_network_id": UUID}}, None),
    ("PUT", f"/v2.0/routers/{UUID}/add_router_interface", {"subnet_id": UUID}, None),
    ("GET", "/v2.0/nonesuch", None, None),
    ("GET", "/v2.0/networks?limit=-1", None, None),
    ("GET", "/v2.0/networks?nonesuch=1", None, None),
    ("GET", "/v2.0/ports?fixed_ips=bogus", None, None),
    ("POST", "/v2.0/ports", {"ports": []}, None),
    ("POST", "/v2.0/ports", {"ports": {}}, None),
    ("POST", "/v2.0/ports", {"ports": [{"network_id": "{network}"}, {"network_id": UUID}]}, None),
    ("POST", "/v2.0/ports", {"port": {"network_id": "{network}", "binding:profile": {"cascade_made": True}}}, None),
    ("POST", "/v2.0/ports", {"port": {"network_id": "{network}", "binding:host_id": "cmp1"}}, None),
    ("POST", "/v2.0/ports", {"port": {"network_id": "{network}", "status": "ACTIVE"}}, None),
    ("PUT", f"/v2.0/networks/{UUID}/tags", {"tags": ["a"]}, None),
    ("PATCH", "/v2.0/networks", {}, None),
]
IMAGE: list[tuple[str, str, Any, str | None]] = [
    ("POST", "/v2/images", b"{", None),
    ("POST", "/v2/images", {"disk_format": "banana"}, None),
    ("POST", "/v2/images", {"visibility": "secret"}, None),
    ("POST", "/v2/images", {"id": "not-a-uuid"}, None),
    ("GET", f"/v2/images/{UUID}", None, None),
    ("DELETE", f"/v2/images/{UUID}", None, None),
    ("PATCH", f"/v2/images/{UUID}", [{"op": "replace", "path": "/name", "value": "x"}], None),
    ("GET", f"/v2/images/{UUID}/file", None, None),
    ("GET", "/v2/images?limit=banana", None, None),
    ("GET", f"/v2/images?marker={UUID}", None, None),
    ("GET", "/v2/images?sort_key=nonesuch", None, None),
    ("GET", "/v2/nonesuch", None, None),
]
IDENTITY: list[tuple[str, str, Any, str | None]] = [
    ("GET", f"/projects/{UUID}", None, None),
    ("GET", "/users", None, None),
    ("POST", "/projects", {"project": {"name": "p"}}, None),
    ("POST", "/auth/tokens", b"{", None),
    ("POST", "/auth/tokens", {"auth": {}}, None),
    ("GET", "/nonesuch", None, None),
]
CASES = [(s, *c) for s, rows in (("compute", COMPUTE), ("volume", VOLUME), ("network", NETWORK), ("image", IMAGE),
                                 ("identity", IDENTITY)) for c in rows]  # fmt: skip


def _filled(value: Any, facts: dict[str, str]) -> Any:
    if isinstance(value, bytes) or value is None:
        return value
    text = json.dumps(value)
    for k, v in facts.items():
        text = text.replace("{" + k + "}", v)
    return json.loads(text)


@pytest.fixture(scope="module")
def facts(clouds: dict[str, Cloud]) -> Iterator[dict[str, dict[str, str]]]:
    """An image and a network on either side."""
    out: dict[str, dict[str, str]] = {}
    for name, flavor in (("paris-demo", "direct"), ("cascade", "42")):
        c = clouds[name]
        image = c("image", "POST", "/v2/images", {"name": "bad-input", "disk_format": "raw", "container_format": "bare"}).json()[
            "id"
        ]
        c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
        net = c("network", "POST", "/v2.0/networks", {"network": {"name": "bad-input"}}).json()["network"]["id"]
        subnet = {"network_id": net, "ip_version": 4, "cidr": "10.77.0.0/24"}
        c("network", "POST", "/v2.0/subnets", {"subnet": subnet})
        out[name] = {"flavor": flavor, "image": image, "network": net}
    yield out
    for name, have in out.items():
        clouds[name]("network", "DELETE", f"/v2.0/networks/{have['network']}")
        clouds[name]("image", "DELETE", f"/v2/images/{have['image']}")


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "version"), CASES, ids=[f"{c[0]} {c[1]} {c[2]} {str(c[3])[-50:]}" for c in CASES]
)
def test_same_as_direct(
    clouds: dict[str, Cloud], facts: dict[str, dict[str, str]], service: str, method: str, path: str, body: Any, version: str | None
) -> None:
    """Status and shape through Cascade are those of the real service."""
    got: dict[str, Answer] = {}
    for name in ("paris-demo", "cascade"):
        got[name] = clouds[name](service, method, path, _filled(body, facts[name]), version=version)
    direct, ours = got["paris-demo"], got["cascade"]
    said = f"direct {direct.status} {direct.body[:200]!r}\nours   {ours.status} {ours.body[:200]!r}"
    assert ours.status < 500 or direct.status >= 500, said
    assert ours.status == direct.status, said
    if direct.status >= 400:
        assert ours.shape() == direct.shape(), said


def test_address_outside_the_subnet(clouds: dict[str, Cloud], facts: dict[str, dict[str, str]]) -> None:
    """Nova says 202 and the server ends in ERROR; our ports are made before, so it is Neutron's sentence at once."""
    body = _filled(server(networks=[{"uuid": "{network}", "fixed_ip": "192.0.2.200"}]), facts["cascade"])
    got = clouds["cascade"]("compute", "POST", "/servers", body, version="2.90")
    assert got.status == 400
    assert "192.0.2.200" in got.json()["badRequest"]["message"]


TRICKS = ["/servers/../flavors", "/servers/%2e%2e/flavors", "/servers/.%2e/flavors", "//servers", "/servers/%2e/detail",
          "/servers%2fdetail",
          "/servers/%00", "/servers\\detail", "/flavors/../../../volume/v3", "/./servers"]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_path_tricks(clouds: dict[str, Cloud], path: str) -> None:
    """One path is matched and forwarded, so what could mean two is nothing at all."""
    c = clouds["cascade"].login()
    got = raw(c.endpoints["compute"] + path, "GET", headers={"X-Auth-Token": c.token, "Accept": "application/json"})
    assert got.status == 404, got.body
    unknown = c("compute", "GET", "/nonesuch")
    assert got.shape() == unknown.shape()


@pytest.mark.parametrize("token", ["", "garbage", "gAAAA" + "x" * 200])
@pytest.mark.parametrize("service", ["compute", "volume", "network", "image", "identity"])
def test_bad_token(clouds: dict[str, Cloud], service: str, token: str) -> None:
    """The real 401, with no site's address in it."""
    path = {"compute": "/servers", "volume": "/volumes", "network": "/v2.0/ports", "image": "/v2/images", "identity": "/projects"}[
        service
    ]
    direct = clouds["paris-demo"](service, "GET", path, token=token)
    ours = clouds["cascade"](service, "GET", path, token=token)
    assert (ours.status, ours.shape()) == (direct.status, direct.shape()) == (401, direct.shape())
    assert "127.0.0.1:2" not in ours.headers.get("www-authenticate", "") + ours.body.decode()


def test_half_closed_upload(clouds: dict[str, Cloud], facts: dict[str, dict[str, str]]) -> None:
    """An upload that stops in the middle leaves the image queued or killed, never active, and the gateway alive."""
    c = clouds["cascade"]
    image = c("image", "POST", "/v2/images", {"name": "half", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    parts = urlsplit(c.endpoints["image"])
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as s:
        head = (f"PUT {parts.path}/v2/images/{image}/file HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Auth-Token: {c.token}\r\n"
                "Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n")  # fmt: skip
        s.sendall(head.encode() + b"x" * 1000)
    got = c("image", "GET", f"/v2/images/{image}")
    assert got.status == 200
    assert got.json()["status"] != "active"
    assert c("image", "DELETE", f"/v2/images/{image}").status == 204


def test_smuggling(clouds: dict[str, Cloud]) -> None:
    """Two framings in one request are refused."""
    c = clouds["cascade"].login()
    parts = urlsplit(c.endpoints["compute"])
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as s:
        s.sendall((f"POST {parts.path}/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {c.token}\r\nContent-Length: 5\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode())  # fmt: skip
        assert s.recv(100).split()[1] == b"400"

"""Two tenants and a reader: nobody sees, lists, attaches, uses or deletes anything of another; a reader stays a reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.rest import Cloud


@pytest.fixture(scope="module", params=["paris", "osaka"], ids=["mapped", "shared"])
def mine(clouds: dict[str, Cloud], request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """One of everything, owned by demo, at a site of each identity mode."""
    c, zone = clouds["cascade"], request.param
    if zone not in {z["zoneName"] for z in c("compute", "GET", "/os-availability-zone").json()["availabilityZoneInfo"]}:
        pytest.skip(f"site {zone} is not up (bin/lab up --site {zone})")
    net = c("network", "POST", "/v2.0/networks", {"network": {"name": "tenancy"}}).json()["network"]["id"]
    c("network", "POST", "/v2.0/subnets", {"subnet": {"network_id": net, "ip_version": 4, "cidr": "10.88.0.0/24"}})
    image = c("image", "POST", "/v2/images", {"name": "tenancy", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    group = c("network", "POST", "/v2.0/security-groups", {"security_group": {"name": "tenancy"}}).json()["security_group"]["id"]
    boot = {"name": "tenancy", "flavorRef": "42", "imageRef": image, "networks": [{"uuid": net}], "availability_zone": zone}
    body = {"server": boot}
    server = c("compute", "POST", "/servers", body, version="2.60").json()["server"]["id"]
    volume = c("volume", "POST", "/volumes", {"volume": {"size": 1, "availability_zone": zone}}).json()["volume"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    c.until("volume", f"/volumes/{volume}", lambda a: a.json()["volume"]["status"] == "available")
    snapshot = c("volume", "POST", "/snapshots", {"snapshot": {"volume_id": volume, "name": "tenancy"}}).json()["snapshot"]["id"]
    port = c("network", "GET", "/v2.0/ports", device_id=server).json()["ports"][0]["id"]
    c.until("volume", f"/snapshots/{snapshot}", lambda a: a.json()["snapshot"]["status"] == "available")
    yield {"server": server, "volume": volume, "snapshot": snapshot, "image": image, "network": net, "port": port, "group": group}
    c("volume", "DELETE", f"/snapshots/{snapshot}")
    c("compute", "DELETE", f"/servers/{server}")
    c.until("compute", f"/servers/{server}", lambda a: a.status == 404)
    c.until("volume", f"/snapshots/{snapshot}", lambda a: a.status == 404)
    c("volume", "DELETE", f"/volumes/{volume}")
    c("network", "DELETE", f"/v2.0/security-groups/{group}")
    assert c("network", "DELETE", f"/v2.0/networks/{net}").status == 204
    c("image", "DELETE", f"/v2/images/{image}")


SHOWS = [
    ("compute", "/servers/{server}"), ("compute", "/servers/{server}/os-interface"), ("compute", "/servers/{server}/metadata"),
    ("compute", "/servers/{server}/os-volume_attachments"), ("compute", "/servers/{server}/os-instance-actions"),
    ("volume", "/volumes/{volume}"), ("volume", "/snapshots/{snapshot}"), ("network", "/v2.0/networks/{network}"),
    ("network", "/v2.0/ports/{port}"), ("network", "/v2.0/security-groups/{group}"), ("image", "/v2/images/{image}"),
    ("image", "/v2/images/{image}/file"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "path"), SHOWS)
def test_shows_nothing(clouds: dict[str, Cloud], mine: dict[str, str], service: str, path: str) -> None:
    """Another tenant's things do not exist."""
    assert clouds["cascade-other"](service, "GET", path.format(**mine)).status == 404


@pytest.mark.parametrize(
    ("service", "path"), [s for s in SHOWS if s[1].count("/") <= 3 and "os-" not in s[1] and "metadata" not in s[1]]
)
def test_deletes_nothing(clouds: dict[str, Cloud], mine: dict[str, str], service: str, path: str) -> None:
    """Nor can they be deleted, and they are still there afterwards."""
    assert clouds["cascade-other"](service, "DELETE", path.format(**mine)).status == 404
    assert clouds["cascade"](service, "GET", path.format(**mine)).status == 200


LISTS = [
    ("compute", "/servers"), ("compute", "/servers/detail"), ("compute", "/servers/detail?name=tenancy"),
    ("compute", "/servers?marker={server}"), ("compute", "/servers/detail?tenant_id={project}"),
    ("compute", "/servers?uuid={server}"),
    ("compute", "/servers?project_id={project}"), ("volume", "/volumes/detail"), ("volume", "/volumes?marker={volume}"),
    ("volume", "/volumes/detail?project_id={project}"), ("volume", "/snapshots/detail"),
    ("volume", "/snapshots?volume_id={volume}"),
    ("network", "/v2.0/ports?network_id={network}"), ("network", "/v2.0/ports?device_id={server}"),
    ("network", "/v2.0/networks?id={network}"), ("image", "/v2/images?owner={project}"), ("image", "/v2/images?name=tenancy"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "path"), LISTS)
def test_lists_nothing(clouds: dict[str, Cloud], mine: dict[str, str], service: str, path: str) -> None:
    """No filter or marker brings them into a list."""
    owner = clouds["cascade"].login()
    got = clouds["cascade-other"](service, "GET", path.format(**mine, project=owner.project_id))
    assert got.status < 500
    for ident in mine.values():
        assert ident.encode() not in got.body or got.status >= 400


def _uses(m: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    boot: dict[str, Any] = {"name": "thief", "flavorRef": "42", "networks": "none"}
    return [
        ("compute", "/servers", {"server": {**boot, "imageRef": m["image"]}}),
        ("compute", "/servers", {"server": {**boot, "imageRef": "", "block_device_mapping_v2": [
            {"source_type": "volume", "destination_type": "volume", "uuid": m["volume"], "boot_index": 0}]}}),
        ("compute", "/servers", {"server": {**boot, "imageRef": "", "block_device_mapping_v2": [
            {"source_type": "snapshot", "destination_type": "volume", "uuid": m["snapshot"], "boot_index": 0, "volume_size": 1}]}}),
        ("compute", "/servers", {"server": {**boot, "imageRef": m["image"], "networks": [{"uuid": m["network"]}]}}),
        ("compute", "/servers", {"server": {**boot, "imageRef": m["image"], "networks": [{"port": m["port"]}]}}),
        ("compute", f"/servers/{m['server']}/action", {"os-stop": None}),
        ("compute", f"/servers/{m['server']}/action", {"createImage": {"name": "stolen"}}),
        ("compute", f"/servers/{m['server']}/os-volume_attachments", {"volumeAttachment": {"volumeId": m["volume"]}}),
        ("compute", f"/servers/{m['server']}/os-interface", {"interfaceAttachment": {"net_id": m["network"]}}),
        ("volume", "/volumes", {"volume": {"size": 1, "snapshot_id": m["snapshot"]}}),
        ("volume", "/volumes", {"volume": {"size": 1, "source_volid": m["volume"]}}),
        ("volume", "/volumes", {"volume": {"size": 1, "imageRef": m["image"]}}),
        ("volume", "/snapshots", {"snapshot": {"volume_id": m["volume"]}}),
        ("volume", f"/volumes/{m['volume']}/action", {"os-extend": {"new_size": 2}}),
        ("network", "/v2.0/ports", {"port": {"network_id": m["network"]}}),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(15))
def test_uses_nothing(clouds: dict[str, Cloud], mine: dict[str, str], number: int) -> None:
    """Nor can they be used in anything of one's own."""
    service, path, body = _uses(mine)[number]
    got = clouds["cascade-other"](service, "POST", path, body, version="2.60" if service == "compute" else None)
    assert got.status in (400, 403, 404), got.body


WRITES = [
    ("compute", "POST", "/servers", {"server": {"name": "r", "flavorRef": "42", "networks": "none", "imageRef": "{image}"}}),
    ("compute", "DELETE", "/servers/{server}", None), ("compute", "POST", "/servers/{server}/action", {"os-stop": None}),
    ("compute", "PUT", "/servers/{server}", {"server": {"name": "r"}}), ("volume", "POST", "/volumes", {"volume": {"size": 1}}),
    ("volume", "DELETE", "/volumes/{volume}", None), ("network", "POST", "/v2.0/networks", {"network": {"name": "r"}}),
    ("compute", "POST", "/servers/{server}/metadata", {"metadata": {"a": "b"}}),
]  # fmt: skip


@pytest.mark.parametrize(("service", "method", "path", "body"), WRITES)
def test_reader_writes_nothing(
    clouds: dict[str, Cloud], mine: dict[str, str], service: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """A reader's token is a reader's at the site too."""
    import json

    if body is not None:
        body = json.loads(json.dumps(body).replace("{image}", mine["image"]))
    got = clouds["cascade-reader"](service, method, path.format(**mine), body, version="2.60" if service == "compute" else None)
    assert got.status == 403, got.body


@pytest.mark.parametrize(("service", "path"), [s for s in SHOWS if "/file" not in s[1]])
def test_reader_reads(clouds: dict[str, Cloud], mine: dict[str, str], service: str, path: str) -> None:
    """What his project has, he reads."""
    assert clouds["cascade-reader"](service, "GET", path.format(**mine)).status == 200


FORGED = {
    "X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": "{project}", "X-Tenant-Id": "{project}", "X-User-Id": "0",
    "X-Forwarded-For": "127.0.0.1", "X-Is-Admin-Project": "True", "X-Service-Token": "x", "X-Project-Domain-Id": "default",
}  # fmt: skip


def test_forged_headers(clouds: dict[str, Cloud], mine: dict[str, str]) -> None:
    """Headers that a service's middleware would believe get nobody anywhere."""
    owner = clouds["cascade"].login().project_id
    headers = {k: v.format(project=owner) for k, v in FORGED.items()}
    other = clouds["cascade-other"]
    assert other("compute", "GET", f"/servers/{mine['server']}", headers=headers).status == 404
    assert other("network", "GET", f"/v2.0/ports/{mine['port']}", headers=headers).status == 404
    assert other("compute", "GET", "/servers/detail?all_tenants=1", headers=headers).status == 403


def test_restricted_credential(clouds: dict[str, Cloud], mine: dict[str, str]) -> None:
    """Access rules of an application credential hold for what sites answer (design review 5.2)."""
    c = clouds["cascade"].login()
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    body = {"application_credential": {"name": "narrow", "secret": "s3cret", "access_rules": rules}}
    made = c("identity", "POST", f"/users/{c.user_id}/application_credentials", body)
    assert made.status == 201, made.body
    ident = made.json()["application_credential"]["id"]
    try:
        auth = {"methods": ["application_credential"], "application_credential": {"id": ident, "secret": "s3cret"}}
        token = c("identity", "POST", "/auth/tokens", {"auth": {"identity": auth}}, token="").headers["x-subject-token"]
        assert c("compute", "GET", "/servers", token=token).status == 200
        assert c("compute", "GET", f"/servers/{mine['server']}", token=token).status == 401
        assert c("compute", "DELETE", f"/servers/{mine['server']}", token=token).status == 401
        assert c("volume", "GET", "/volumes", token=token).status == 401
    finally:
        c("identity", "DELETE", f"/users/{c.user_id}/application_credentials/{ident}")


def test_revoked_token(clouds: dict[str, Cloud]) -> None:
    """Revoked through us: dead at once."""
    c = Cloud("x", clouds["cascade"].auth, clouds["cascade"].region).login()
    assert c("compute", "GET", "/servers").status == 200
    assert c("identity", "DELETE", "/auth/tokens", headers={"X-Subject-Token": c.token}).status == 204
    assert c("compute", "GET", "/servers").status == 401


def test_catalogue_names_no_site(clouds: dict[str, Cloud]) -> None:
    """A tenant's token and its catalogue show the gateway only."""
    c = clouds["cascade"].login()
    got = c("identity", "GET", "/auth/catalog")
    assert got.status == 200
    for port in (b":20", b":21", b":22", b":23"):
        assert b"127.0.0.1" + port not in got.body

"""Where this cloud ends: a site's owner has tenants, images and hosts of his own, and things may change their project."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.rest import Cloud

NOBODY = "ffffffff-1111-4111-8111-ffffffffffff"


@pytest.fixture(scope="module")
def stranger(clouds: dict[str, Cloud]) -> Iterator[str]:
    """A server of one of paris' own tenants, who is no tenant of ours."""
    c = clouds["paris-demo"]
    body = {"name": "stranger", "disk_format": "raw", "container_format": "bare"}
    image = c("image", "POST", "/v2/images", body).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    boot = {"name": "stranger", "flavorRef": "42", "imageRef": image, "networks": "none"}
    server = c("compute", "POST", "/servers", {"server": boot}, version="2.60").json()["server"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] != "BUILD")
    yield server
    c("compute", "DELETE", f"/servers/{server}")
    c("image", "DELETE", f"/v2/images/{image}")


@pytest.fixture(scope="module")
def server(clouds: dict[str, Cloud]) -> Iterator[str]:
    """One of ours in paris."""
    c = clouds["cascade"]
    body = {"name": "borders", "disk_format": "raw", "container_format": "bare"}
    image = c("image", "POST", "/v2/images", body).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    boot = {"name": "borders", "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": "paris"}
    server = c("compute", "POST", "/servers", {"server": boot}, version="2.60").json()["server"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield server
    c("compute", "DELETE", f"/servers/{server}")
    c("image", "DELETE", f"/v2/images/{image}")


@pytest.mark.parametrize("path", ["/servers", "/servers/detail", "/servers?limit=1", "/servers?deleted=false"])
def test_administrators_list_this_cloud_only(admin: Cloud, stranger: str, server: str, path: str) -> None:
    seen, url = [], f"{path}{'&' if '?' in path else '?'}all_tenants=1"
    while url:
        doc = admin("compute", "GET", url, version="2.90").json()
        seen += [s["id"] for s in doc["servers"]]
        links = doc.get("servers_links")
        url = links[0]["href"].removeprefix(admin.endpoints["compute"]) if links else ""
    assert server in seen and stranger not in seen and len(seen) == len(set(seen))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_administrators_reach_this_cloud_only(admin: Cloud, stranger: str, method: str) -> None:
    assert admin("compute", method, f"/servers/{stranger}").status == 404


@pytest.mark.parametrize("params", [{"project_id": "f" * 32}, {"tenant_id": "f" * 32}, {"user_id": "f" * 32}, {"project_id": "%s"}])
def test_a_filter_that_matches_nobody_matches_nothing(admin: Cloud, server: str, params: dict[str, Any]) -> None:
    assert admin("compute", "GET", "/servers", all_tenants=1, **params).json() == {"servers": []}
    if "user_id" not in params:
        assert admin("volume", "GET", "/volumes", all_tenants=1, **params).json()["volumes"] == []


def test_usage_and_hypervisors_tell_of_this_cloud_only(clouds: dict[str, Cloud], admin: Cloud, stranger: str, server: str) -> None:
    rows = admin("compute", "GET", "/os-simple-tenant-usage", detailed=1, version="2.90").json()["tenant_usages"]
    used = {s["instance_id"]: r["tenant_id"] for r in rows for s in r["server_usages"]}
    assert used.get(server) == clouds["cascade"].project_id and stranger not in used
    found = admin("compute", "GET", "/os-hypervisors", with_servers="true", version="2.90").json()["hypervisors"]
    shown = {s["uuid"] for h in found for s in h.get("servers", ())}
    assert server in shown and stranger not in shown


ACTIONS: list[dict[str, Any]] = [
    {"rebuild": {"imageRef": NOBODY}}, {"rescue": {"rescue_image_ref": NOBODY}}, {"resize": {"flavorRef": "nonsense"}},
]  # fmt: skip


@pytest.mark.parametrize("body", ACTIONS, ids=lambda b: str(next(iter(b))))
def test_what_is_nobodys_is_refused_as_a_site_refuses_it(
    clouds: dict[str, Cloud], stranger: str, server: str, body: dict[str, Any]
) -> None:
    direct = clouds["paris-demo"]("compute", "POST", f"/servers/{stranger}/action", body, version="2.90")
    through = clouds["cascade"]("compute", "POST", f"/servers/{server}/action", body, version="2.90")
    assert (direct.status, direct.json()) == (through.status, through.json())


def test_host_names_search_and_pages(admin: Cloud) -> None:
    every = [h["hypervisor_hostname"] for h in admin("compute", "GET", "/os-hypervisors", version="2.90").json()["hypervisors"]]
    paged: list[str] = []
    url = "/os-hypervisors?limit=1"
    while url:
        doc = admin("compute", "GET", url, version="2.90").json()
        paged += [h["hypervisor_hostname"] for h in doc["hypervisors"]]
        links = doc.get("hypervisors_links")
        url = links[0]["href"].removeprefix(admin.endpoints["compute"]) if links else ""
    assert sorted(paged) == sorted(every)
    for name in every:
        one = admin("compute", "GET", f"/os-hypervisors/{name}/search", version="2.1").json()["hypervisors"]
        assert [h["hypervisor_hostname"] for h in one] == [name]
        got = admin("compute", "GET", f"/os-hypervisors/{one[0]['id']}", version="2.1").json()["hypervisor"]
        assert (got["hypervisor_hostname"], got["id"]) == (name, one[0]["id"])
        found = admin("compute", "GET", "/os-hypervisors", hypervisor_hostname_pattern=name, version="2.90").json()
        assert [h["hypervisor_hostname"] for h in found["hypervisors"]] == [name]


def test_an_aggregate_over_sites(clouds: dict[str, Cloud], admin: Cloud) -> None:
    hosts = [s["host"] for s in admin("compute", "GET", "/os-services", binary="nova-compute").json()["services"]]
    chosen = [next(h for h in hosts if h.endswith(f".{site}")) for site in ("paris", "tokyo")]
    made = admin("compute", "POST", "/os-aggregates", {"aggregate": {"name": "borders"}}).json()["aggregate"]["id"]
    path = f"/os-aggregates/{made}"
    try:
        for host in chosen:
            assert admin("compute", "POST", f"{path}/action", {"add_host": {"host": host}}).status == 200
        again = admin("compute", "POST", f"{path}/action", {"add_host": {"host": chosen[0]}})
        assert again.status == 409 and f"ggregate {made} " in again.json()["conflictingRequest"]["message"]
        admin("compute", "POST", f"{path}/action", {"set_metadata": {"metadata": {"ssd": "true"}}})
        shown = admin("compute", "GET", path).json()["aggregate"]
        assert sorted(shown["hosts"]) == sorted(chosen) and shown["metadata"] == {"ssd": "true"}
        for site in ("paris", "tokyo"):
            (copy,) = [
                a
                for a in clouds[f"{site}-admin"]("compute", "GET", "/os-aggregates").json()["aggregates"]
                if a["name"] == "borders"
            ]
            assert copy["metadata"]["ssd"] == "true"
        assert admin("compute", "DELETE", path).status == 400
        assert clouds["cascade"]("compute", "GET", path).status == 403
    finally:
        for host in chosen:
            assert admin("compute", "POST", f"{path}/action", {"remove_host": {"host": host}}).status == 200
        assert admin("compute", "DELETE", path).status == 200
    assert not [
        a for s in ("paris", "tokyo") for a in clouds[f"{s}-admin"]("compute", "GET", "/os-aggregates").json()["aggregates"]
        if a["name"] == "borders"
    ]  # fmt: skip


def _used(c: Cloud) -> int:
    rows = c("volume", "GET", f"/os-quota-sets/{c.project_id}", usage="true").json()["quota_set"]
    return int(rows["gigabytes"]["in_use"])


def test_a_volume_changes_hands(clouds: dict[str, Cloud]) -> None:
    giver, taker = clouds["cascade"], clouds["cascade-other"].login()
    body = {"volume": {"size": 1, "name": "borders", "availability_zone": "paris"}}
    volume = giver("volume", "POST", "/volumes", body, version="3.60").json()["volume"]["id"]
    giver.until("volume", f"/volumes/{volume}", lambda a: a.json()["volume"]["status"] == "available")
    given, taken = _used(giver), _used(taker)
    made = giver("volume", "POST", "/volume-transfers", {"transfer": {"volume_id": volume}}, version="3.55").json()["transfer"]
    path = f"/volume-transfers/{made['id']}"
    assert taker("volume", "GET", path, version="3.55").status == 404
    assert taker("volume", "POST", f"{path}/accept", {"accept": {"auth_key": "wrong"}}, version="3.55").status == 400
    assert _used(taker) == taken and taker("volume", "GET", f"/volumes/{volume}").status == 404
    accept = {"accept": {"auth_key": made["auth_key"]}}
    assert taker("volume", "POST", f"{path}/accept", accept, version="3.55").status == 202
    assert giver("volume", "GET", f"/volumes/{volume}").status == 404
    assert volume in {v["id"] for v in taker("volume", "GET", "/volumes").json()["volumes"]}
    assert (_used(giver), _used(taker)) == (given - 1, taken + 1)
    taker.until("volume", f"/volumes/{volume}", lambda a: a.json()["volume"]["status"] == "available")
    assert taker("volume", "DELETE", f"/volumes/{volume}").status == 202
    taker.until("volume", f"/volumes/{volume}", lambda a: a.status == 404)
    end = time.monotonic() + 15
    while _used(taker) != taken:
        assert time.monotonic() < end
        time.sleep(0.5)

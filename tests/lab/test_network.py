"""One network in two sites: the hub's addresses, the sites' state, and nothing left at either when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.rest import Cloud

SITES = ("paris", "tokyo")
NAME = "lab-network"


def until(look: Callable[[], Any], seconds: float = 40) -> Any:
    """What ``look`` gives once it is something, or what it gave last."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def rows(cloud: Cloud, path: str, **params: Any) -> list[dict[str, Any]]:
    """A Neutron list."""
    found: list[dict[str, Any]] = cloud("network", "GET", f"/v2.0/{path}", **params).json()[path.replace("-", "_")]
    return found


def copy(site: Cloud, path: str, hub_id: str) -> dict[str, Any] | None:
    """The site's copy of a hub thing."""
    return next(iter(rows(site, path, description=f"cascade:{hub_id}")), None)


@dataclass
class Stretched:
    """A network with a server in each site, behind one router."""

    net: str
    subnet: str
    router: str
    group: str
    servers: dict[str, str]
    ports: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def stretched(demo: Cloud, clouds: dict[str, Cloud]) -> Iterator[Stretched]:
    """Made and removed by the tenant; then nothing may be left at the sites."""

    def make(path: str, key: str, body: dict[str, Any]) -> str:
        answer = demo("network", "POST", f"/v2.0/{path}", {key: body})
        assert answer.status == 201, answer.body
        return str(answer.json()[key]["id"])

    net = make("networks", "network", {"name": NAME})
    subnet = make("subnets", "subnet", {"network_id": net, "name": NAME, "ip_version": 4, "cidr": "10.91.0.0/24"})
    outside = rows(demo, "networks", name="public")[0]["id"]
    router = make("routers", "router", {"name": NAME, "external_gateway_info": {"network_id": outside}})
    assert demo("network", "PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet}).status == 200
    group = make("security-groups", "security_group", {"name": NAME})
    image = demo("image", "POST", "/v2/images", {"name": NAME, "disk_format": "raw", "container_format": "bare"}).json()["id"]
    demo("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    servers = {}
    for site in SITES:
        body = {"name": f"{NAME}-{site}", "flavorRef": "42", "imageRef": image, "networks": [{"uuid": net}],
                "availability_zone": site, "security_groups": [{"name": group}]}  # fmt: skip
        servers[site] = demo("compute", "POST", "/servers", {"server": body}, version="2.60").json()["server"]["id"]
    for server in servers.values():
        demo.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield Stretched(net, subnet, router, group, servers, {s: rows(demo, "ports", device_id=i)[0] for s, i in servers.items()})
    for server in servers.values():
        demo("compute", "DELETE", f"/servers/{server}")
    for server in servers.values():
        demo.until("compute", f"/servers/{server}", lambda a: a.status == 404)
    demo("network", "PUT", f"/v2.0/routers/{router}/remove_router_interface", {"subnet_id": subnet})
    for path in (f"routers/{router}", f"networks/{net}", f"security-groups/{group}"):
        assert demo("network", "DELETE", f"/v2.0/{path}").status == 204, path
    demo("image", "DELETE", f"/v2/images/{image}")
    made = (("networks", net), ("subnets", subnet), ("routers", router), ("security-groups", group))
    for site in SITES:
        assert until(lambda site=site: all(copy(clouds[site], p, i) is None for p, i in made)), site  # type: ignore[misc]


@pytest.mark.parametrize("site", SITES)
def test_the_site_has_the_hubs_port(stretched: Stretched, clouds: dict[str, Cloud], site: str) -> None:
    """MAC and address are the hub's, the VLAN is the hub's, and Nova there plugged it."""
    port, here = stretched.ports[site], copy(clouds[site], "ports", stretched.ports[site]["id"])
    assert here is not None and here["mac_address"] == port["mac_address"]
    assert [f["ip_address"] for f in here["fixed_ips"]] == [f["ip_address"] for f in port["fixed_ips"]]
    assert here["device_id"] == stretched.servers[site] and here["binding:vif_type"] == "ovs"
    net, hub = copy(clouds[site], "networks", stretched.net), clouds["hub"]("network", "GET", f"/v2.0/networks/{stretched.net}")
    assert net is not None and net["provider:segmentation_id"] == hub.json()["network"]["provider:segmentation_id"]


def test_pools_are_disjoint(stretched: Stretched, clouds: dict[str, Cloud]) -> None:
    """Each site may hand out one address by itself, and it is nobody else's."""
    pools = [(copy(clouds[s], "subnets", stretched.subnet) or {})["allocation_pools"] for s in SITES]
    assert all(len(p) == 1 and p[0]["start"] == p[0]["end"] for p in pools)
    assert pools[0] != pools[1]


def test_one_site_answers_the_gateway(stretched: Stretched, clouds: dict[str, Cloud]) -> None:
    """The home site's router has the subnet's gateway address; the other's tells its guests its own."""

    def inside(site: str) -> str | None:
        router = copy(clouds[site], "routers", stretched.router)
        ports = rows(clouds[site], "ports", device_id=router["id"], device_owner="network:router_interface") if router else []
        return str(ports[0]["fixed_ips"][0]["ip_address"]) if ports else None

    addresses = {site: until(lambda site=site: inside(site)) for site in SITES}  # type: ignore[misc]
    assert list(addresses.values()).count("10.91.0.1") == 1 and None not in addresses.values()
    for site in SITES:
        assert (copy(clouds[site], "subnets", stretched.subnet) or {})["gateway_ip"] == addresses[site]


def test_the_administrator_sees_bindings(stretched: Stretched, admin: Cloud) -> None:
    """Host names carry their site; Cascade's own marks are not shown."""
    for site in SITES:
        port = admin("network", "GET", f"/v2.0/ports/{stretched.ports[site]['id']}").json()["port"]
        assert port["binding:host_id"].endswith(f".{site}") and port["binding:profile"] == {}


def test_a_floating_ip_follows_its_port(stretched: Stretched, demo: Cloud, clouds: dict[str, Cloud]) -> None:
    """Up in one site, then in the other, and never in both."""
    outside = rows(demo, "networks", name="public")[0]["id"]
    made = demo("network", "POST", "/v2.0/floatingips", {"floatingip": {"floating_network_id": outside}}).json()["floatingip"]["id"]
    path = f"/v2.0/floatingips/{made}"
    try:
        for here, there in (SITES, SITES[::-1]):
            demo("network", "PUT", path, {"floatingip": {"port_id": stretched.ports[here]["id"]}})
            assert until(lambda here=here: copy(clouds[here], "floatingips", made))  # type: ignore[misc]
            assert copy(clouds[there], "floatingips", made) is None
            assert until(lambda: demo("network", "GET", path).json()["floatingip"]["status"] == "ACTIVE")
    finally:
        assert demo("network", "DELETE", path).status == 204
    assert until(lambda: all(copy(clouds[s], "floatingips", made) is None for s in SITES))


def test_rules_follow(stretched: Stretched, demo: Cloud, clouds: dict[str, Cloud]) -> None:
    """A rule added and taken away is added and taken away in every site."""

    def open_ports(site: str) -> list[int]:
        group = copy(clouds[site], "security-groups", stretched.group) or {}
        return [r["port_range_min"] for r in group.get("security_group_rules", ()) if r["direction"] == "ingress"]

    http = {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
    rule = {"security_group_rule": {"security_group_id": stretched.group, **http}}
    made = demo("network", "POST", "/v2.0/security-group-rules", rule).json()["security_group_rule"]["id"]
    assert until(lambda: all(open_ports(s) == [80] for s in SITES))
    assert demo("network", "DELETE", f"/v2.0/security-group-rules/{made}").status == 204
    assert until(lambda: not any(open_ports(s) for s in SITES))


def test_zone_hints(demo: Cloud) -> None:
    """An agentless hub would refuse them; a zone that is none is refused in Neutron's words."""
    body = {"name": NAME, "availability_zone_hints": ["tokyo"]}
    made = demo("network", "POST", "/v2.0/networks", {"network": body}).json()["network"]
    assert made["availability_zone_hints"] == ["tokyo"] and made["tags"] == []
    assert demo("network", "DELETE", f"/v2.0/networks/{made['id']}").status == 204
    refused = demo("network", "POST", "/v2.0/networks", {"network": {**body, "availability_zone_hints": ["nowhere"]}})
    assert refused.status == 404 and refused.json()["NeutronError"]["type"] == "AvailabilityZoneNotFound"

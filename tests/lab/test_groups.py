"""Security groups over sites, QoS policies, trunks and what else a port can have, on real Neutrons of two releases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.rest import Cloud
from tests.lab.test_network import copy, rows, until

NAME = "lab-groups"
Doc = dict[str, Any]


@dataclass
class Tenant:
    """Makes things through the gateway and takes them away in reverse."""

    cloud: Cloud
    image: str = ""
    undo: list[str] = field(default_factory=list)

    def make(self, path: str, key: str, **body: Any) -> Doc:
        """A Neutron thing."""
        answer = self.cloud("network", "POST", f"/v2.0/{path}", {key: body})
        assert answer.status == 201, answer.body
        made: Doc = answer.json()[key]
        self.undo.append(f"/v2.0/{path}/{made['id']}")
        return made

    def put(self, path: str, key: str | None, status: int = 200, **body: Any) -> Doc:
        """A change."""
        answer = self.cloud("network", "PUT", f"/v2.0/{path}", {key: body} if key else body)
        assert answer.status == status, answer.body
        doc: Doc = answer.json()
        return doc

    def network(self, cidr: str) -> Doc:
        """A network with a subnet."""
        net = self.make("networks", "network", name=NAME)
        self.make("subnets", "subnet", network_id=net["id"], ip_version=4, cidr=cidr, name=NAME)
        return net

    def boot(self, site: str, wait: bool = True, **nic: str) -> str:
        """A server, ACTIVE."""
        server = {"name": NAME, "flavorRef": "42", "imageRef": self.image, "networks": [nic], "availability_zone": site}
        answer = self.cloud("compute", "POST", "/servers", {"server": server}, version="2.60")
        assert answer.status == 202, answer.body
        ident = str(answer.json()["server"]["id"])
        self.undo.append(f"/servers/{ident}")
        if wait:
            self.cloud.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        return ident

    def remove(self, server: str) -> None:
        """A server, gone."""
        self.cloud("compute", "DELETE", f"/servers/{server}")
        self.cloud.until("compute", f"/servers/{server}", lambda a: a.status == 404)

    def close(self) -> None:
        """Nothing stays."""
        for path in reversed(self.undo):
            if path.startswith("/servers/"):
                self.remove(path.removeprefix("/servers/"))
            else:
                assert until(lambda p=path: self.cloud("network", "DELETE", p).status in (204, 404), 20), path
        self.undo.clear()


@contextlib.contextmanager
def bootable(cloud: Cloud) -> Iterator[str]:
    """An image of this project's."""
    ident = cloud("image", "POST", "/v2/images", {"name": NAME, "disk_format": "raw", "container_format": "bare"}).json()["id"]
    cloud("image", "PUT", f"/v2/images/{ident}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    yield ident
    cloud("image", "DELETE", f"/v2/images/{ident}")


@pytest.fixture(scope="module")
def image(demo: Cloud) -> Iterator[str]:
    """Something to boot."""
    with bootable(demo) as ident:
        yield ident


@pytest.fixture
def tenant(demo: Cloud, image: str) -> Iterator[Tenant]:
    """The tenant ``demo``."""
    found = Tenant(demo, image)
    yield found
    found.close()


@pytest.fixture
def guest(clouds: dict[str, Cloud]) -> Iterator[Tenant]:
    """The tenant ``other``."""
    with bootable(clouds["cascade-other"]) as ident:
        found = Tenant(clouds["cascade-other"], ident)
        yield found
        found.close()


@pytest.fixture
def sites(clouds: dict[str, Cloud]) -> dict[str, Cloud]:
    """The sites' own Neutrons, as their owners see them."""
    return {"paris": clouds["paris-admin"], "tokyo": clouds["tokyo-admin"]}


def admitted(site: Cloud, group: str) -> set[str]:
    """Whom the companions of a group's rules let in at a site."""
    found = copy(site, "security-groups", group)
    named = {r["remote_address_group_id"] for r in found["security_group_rules"]} - {None} if found else set()
    return {a for i in named for a in site("network", "GET", f"/v2.0/address-groups/{i}").json()["address_group"]["addresses"]}


def becomes(look: Callable[[], Any], wanted: Any, seconds: float = 15) -> None:
    """``look`` gives that within seconds."""
    assert until(lambda: look() == wanted, seconds), (look(), wanted)


def address(port: Doc) -> str:
    return f"{port['fixed_ips'][0]['ip_address']}/32"


def test_members_in_the_other_site_are_admitted_until_they_leave(tenant: Tenant, sites: dict[str, Cloud]) -> None:
    net, web = tenant.network("10.93.0.0/24"), tenant.make("security-groups", "security_group", name=NAME)
    rule = tenant.make(
        "security-group-rules", "security_group_rule", security_group_id=web["id"], direction="ingress", protocol="tcp",
        port_range_min=80, port_range_max=80, remote_group_id=web["id"],
    )  # fmt: skip
    ports = {s: tenant.make("ports", "port", network_id=net["id"], security_groups=[web["id"]]) for s in sites}
    servers = {s: tenant.boot(s, port=p["id"]) for s, p in ports.items()}
    for here, there in (("paris", "tokyo"), ("tokyo", "paris")):
        becomes(lambda h=here: admitted(sites[h], web["id"]), {address(ports[there])})
    pairs = [{"ip_address": "10.93.7.0/24"}]
    tenant.put(f"ports/{ports['tokyo']['id']}", "port", allowed_address_pairs=pairs)
    becomes(lambda: admitted(sites["paris"], web["id"]), {address(ports["tokyo"]), "10.93.7.0/24"})
    shown = tenant.cloud("network", "GET", f"/v2.0/security-groups/{web['id']}").json()["security_group"]
    assert len(shown["security_group_rules"]) == 3 and rows(tenant.cloud, "address-groups", name="") == []
    tenant.put(f"ports/{ports['tokyo']['id']}", "port", security_groups=[])
    becomes(lambda: admitted(sites["paris"], web["id"]), set())
    tenant.put(f"ports/{ports['tokyo']['id']}", "port", security_groups=[web["id"]])
    becomes(lambda: admitted(sites["paris"], web["id"]), {address(ports["tokyo"]), "10.93.7.0/24"})
    tenant.remove(servers["tokyo"])
    becomes(lambda: admitted(sites["paris"], web["id"]), set())
    assert tenant.cloud("network", "DELETE", f"/v2.0/security-group-rules/{rule['id']}").status == 204
    becomes(lambda: copy(sites["paris"], "address-groups", web["id"] + ".members"), None)


def test_a_port_taken_from_a_running_server_boots_nowhere_else(tenant: Tenant, sites: dict[str, Cloud]) -> None:
    net = tenant.network("10.94.0.0/24")
    port = tenant.make("ports", "port", network_id=net["id"])
    server = tenant.boot("paris", port=port["id"])
    until(lambda: (copy(sites["paris"], "ports", port["id"]) or {}).get("device_id"))
    tenant.put(f"ports/{port['id']}", "port", device_id="")
    body = {"name": NAME, "flavorRef": "42", "imageRef": tenant.image, "networks": [{"port": port["id"]}],
            "availability_zone": "tokyo"}  # fmt: skip
    answer = tenant.cloud("compute", "POST", "/servers", {"server": body}, version="2.60")
    assert answer.status in (400, 409) and b"still in use" in answer.body, answer.body
    assert copy(sites["tokyo"], "ports", port["id"]) is None
    tenant.remove(server)
    tenant.boot("tokyo", port=port["id"])  # free now
    assert copy(sites["tokyo"], "ports", port["id"]) and copy(sites["paris"], "ports", port["id"]) is None


def test_a_qos_policy_goes_where_its_port_goes(tenant: Tenant, admin: Cloud, sites: dict[str, Cloud]) -> None:
    boss = Tenant(admin)
    policy = boss.make("qos/policies", "policy", name=NAME, shared=True)
    limits = f"qos/policies/{policy['id']}/bandwidth_limit_rules"
    rule = boss.cloud("network", "POST", f"/v2.0/{limits}", {"bandwidth_limit_rule": {"max_kbps": 3000}}).json()
    net = tenant.network("10.95.0.0/24")
    tenant.put(f"networks/{net['id']}", "network", qos_policy_id=policy["id"])
    port = tenant.make("ports", "port", network_id=net["id"], qos_policy_id=policy["id"])
    for site, cloud in sites.items():
        server = tenant.boot(site, port=port["id"])
        there = _policy(cloud, policy["id"])
        assert there is not None and [r["max_kbps"] for r in there["rules"]] == [3000]
        found = copy(cloud, "ports", port["id"])
        assert found is not None and found["qos_policy_id"] == there["id"]
        assert (copy(cloud, "networks", net["id"]) or {})["qos_policy_id"] == there["id"]
        tenant.remove(server)
    ident = rule["bandwidth_limit_rule"]["id"]
    boss.put(f"qos/alias_bandwidth_limit_rules/{ident}", "alias_bandwidth_limit_rule", max_kbps=4000)
    marks = {"dscp_marking_rule": {"dscp_mark": 26}}
    assert admin("network", "POST", f"/v2.0/qos/policies/{policy['id']}/dscp_marking_rules", marks).status == 201
    for cloud in sites.values():
        becomes(lambda c=cloud: sorted(r["type"] for r in _policy(c, policy["id"])["rules"]), ["bandwidth_limit", "dscp_marking"])
        becomes(lambda c=cloud: [r.get("max_kbps") for r in _policy(c, policy["id"])["rules"] if "max_kbps" in r], [4000])
    tenant.close()
    boss.close()
    for cloud in sites.values():
        becomes(lambda c=cloud: _policy(c, policy["id"]), None)


def _policy(site: Cloud, hub_id: str) -> Any:
    found = site("network", "GET", "/v2.0/qos/policies", description=f"cascade:{hub_id}").json()["policies"]
    return found[0] if found else None


def test_a_trunk_goes_where_its_parent_goes(tenant: Tenant, sites: dict[str, Cloud]) -> None:
    nets = [tenant.network(f"10.96.{n}.0/24") for n in range(3)]
    parent, *subs = (tenant.make("ports", "port", network_id=n["id"]) for n in nets)
    tagged = [{"port_id": s["id"], "segmentation_type": "vlan", "segmentation_id": 100 + n} for n, s in enumerate(subs)]
    trunk = tenant.make("trunks", "trunk", name=NAME, port_id=parent["id"], sub_ports=tagged[:1])
    for site, cloud in sites.items():
        server = tenant.boot(site, port=parent["id"])
        found = copy(cloud, "trunks", trunk["id"])
        assert found is not None and [s["segmentation_id"] for s in found["sub_ports"]] == [100]
        tenant.put(f"trunks/{trunk['id']}/add_subports", None, sub_ports=tagged[1:])
        becomes(lambda c=cloud: len((copy(c, "trunks", trunk["id"]) or {}).get("sub_ports", ())), 2)

        def statuses(cloud: Cloud = cloud) -> bool:
            """The site's is north's: it changes under way, by Neutron's own doing."""
            north = tenant.cloud("network", "GET", f"/v2.0/trunks/{trunk['id']}").json()["trunk"]["status"]
            return bool(north == (copy(cloud, "trunks", trunk["id"]) or {})["status"])

        becomes(statuses, True)
        tenant.put(f"trunks/{trunk['id']}/remove_subports", None, sub_ports=[{"port_id": subs[1]["id"]}])
        becomes(lambda c=cloud: copy(c, "ports", subs[1]["id"]), None)
        tenant.remove(server)
        for port in (parent, *subs):
            becomes(lambda c=cloud, p=port: copy(c, "ports", p["id"]), None)
        assert copy(cloud, "trunks", trunk["id"]) is None


def test_a_port_goes_from_server_to_server(tenant: Tenant, admin: Cloud, sites: dict[str, Cloud]) -> None:
    net = tenant.network("10.100.0.0/24")
    port = tenant.make("ports", "port", network_id=net["id"])
    path, body = f"ports/{port['id']}", {"interfaceAttachment": {"port_id": port["id"]}}
    boss = Tenant(admin)  # only he may change a MAC
    boss.put(path, "port", mac_address="fa:16:3e:7a:00:01")  # no server has it yet
    servers = {s: tenant.boot(s, uuid=net["id"]) for s in sites}
    for site, cloud in sites.items():
        attach = tenant.cloud("compute", "POST", f"/servers/{servers[site]}/os-interface", body)
        assert attach.status == 200 and attach.json()["interfaceAttachment"]["port_id"] == port["id"], attach.body
        assert (copy(cloud, "ports", port["id"]) or {})["mac_address"] == "fa:16:3e:7a:00:01"
        becomes(lambda c=cloud: bool((copy(c, "ports", port["id"]) or {}).get("device_id")), True)
        refused = boss.put(path, "port", 409, mac_address="fa:16:3e:7a:00:02")
        assert refused["NeutronError"]["type"] == "PortBound", refused
        wanted = f"10.100.0.{200 + len(site)}"
        tenant.put(path, "port", fixed_ips=[{"ip_address": wanted}])
        becomes(lambda c=cloud: (copy(c, "ports", port["id"]) or {})["fixed_ips"][0]["ip_address"], wanted)
        gone = tenant.cloud("compute", "DELETE", f"/servers/{servers[site]}/os-interface/{port['id']}")
        assert gone.status == 202, gone.body
        becomes(lambda c=cloud: copy(c, "ports", port["id"]), None)
        becomes(lambda: tenant.cloud("network", "GET", f"/v2.0/{path}").json()["port"]["device_id"], "")
    last = tenant.cloud("compute", "POST", f"/servers/{servers['paris']}/os-interface", body)
    assert last.status == 200, last.body
    assert admin("network", "DELETE", f"/v2.0/{path}").status == 204  # while the server has it
    becomes(lambda: copy(sites["paris"], "ports", port["id"]), None)


def test_a_network_is_shared_no_longer(tenant: Tenant, guest: Tenant, sites: dict[str, Cloud]) -> None:
    net = tenant.network("10.101.0.0/24")
    whom = guest.cloud.project_id
    body = {"object_type": "network", "object_id": net["id"], "action": "access_as_shared", "target_tenant": whom}
    policy = tenant.make("rbac-policies", "rbac_policy", **body)
    port = guest.make("ports", "port", network_id=net["id"])
    server = guest.boot("paris", port=port["id"])
    there = (copy(sites["paris"], "networks", net["id"]) or {})["id"]
    shared = lambda: len(rows(sites["paris"], "rbac-policies", object_id=there))  # noqa: E731
    assert shared() == 1
    assert tenant.cloud("network", "DELETE", f"/v2.0/rbac-policies/{policy['id']}").status == 409  # the hub's own word: in use
    guest.remove(server)
    guest.close()
    assert tenant.cloud("network", "DELETE", f"/v2.0/rbac-policies/{policy['id']}").status == 204
    becomes(shared, 0)


def test_what_else_a_port_can_have(tenant: Tenant, sites: dict[str, Cloud]) -> None:
    net, stateless = (
        tenant.network("10.97.0.0/24"), tenant.make("security-groups", "security_group", name=NAME, stateful=False),
    )  # fmt: skip
    options = [{"opt_name": "mtu", "opt_value": "1400", "ip_version": 4}]
    port = tenant.make(
        "ports", "port", network_id=net["id"], port_security_enabled=False, security_groups=[], extra_dhcp_opts=options,
        dns_name="lab-name",
    )  # fmt: skip
    for site, cloud in sites.items():
        server = tenant.boot(site, port=port["id"])
        there = copy(cloud, "ports", port["id"])
        assert there is not None and there["port_security_enabled"] is False and there["mac_address"] == port["mac_address"]
        assert [(o["opt_name"], o["opt_value"]) for o in there["extra_dhcp_opts"]] == [("mtu", "1400")]
        pairs = [{"ip_address": "10.97.0.77", "mac_address": "00:00:5e:00:01:07"}]
        foreign = [{"ip_address": "10.97.0.78", "mac_address": "fa:16:3e:11:22:33"}]  # OVN of 2026.2 takes no such pair
        body = {"port_security_enabled": True, "security_groups": [stateless["id"]], "allowed_address_pairs": pairs + foreign}
        tenant.put(f"ports/{port['id']}", "port", **body)
        taken = pairs if site == "paris" else pairs + foreign
        becomes(lambda c=cloud: (copy(c, "ports", port["id"]) or {})["allowed_address_pairs"], taken)
        assert (copy(cloud, "security-groups", stateless["id"]) or {})["stateful"] is False
        shown = tenant.cloud("network", "GET", f"/v2.0/ports/{port['id']}").json()["port"]
        assert shown["status"] == (copy(cloud, "ports", port["id"]) or {})["status"] and "binding:host_id" not in shown
        tenant.remove(server)
        tenant.put(f"ports/{port['id']}", "port", allowed_address_pairs=[])
        tenant.put(f"ports/{port['id']}", "port", port_security_enabled=False, security_groups=[])


def test_only_the_revision_that_was_read_is_changed(tenant: Tenant) -> None:
    net = tenant.network("10.98.0.0/24")
    for path, key in ((f"networks/{net['id']}", "network"),):
        revision = tenant.cloud("network", "GET", f"/v2.0/{path}").json()[key]["revision_number"]
        headers = {"If-Match": f"revision_number={revision}"}
        for status in (200, 412):
            answer = tenant.cloud("network", "PUT", f"/v2.0/{path}", {key: {"description": "x"}}, headers=headers)
            assert answer.status == status, answer.body


def test_every_kind_of_rule_arrives(tenant: Tenant, sites: dict[str, Cloud]) -> None:
    net, group = tenant.network("10.99.0.0/24"), tenant.make("security-groups", "security_group", name=NAME)
    ours = tenant.make("address-groups", "address_group", name=NAME, addresses=["192.0.2.0/24", "2001:db8::/32"])
    shapes: list[Doc] = [
        {"protocol": "udp", "port_range_min": 1, "port_range_max": 65535},
        {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0, "remote_ip_prefix": "203.0.113.0/24"},
        {"protocol": "ipv6-icmp", "ethertype": "IPv6"},
        {"protocol": "132", "port_range_min": 5, "port_range_max": 6},
        {"protocol": "vrrp"},
        {"direction": "egress", "protocol": "tcp", "ethertype": "IPv6", "remote_ip_prefix": "2001:db8:1::/48"},
        {"protocol": "tcp", "remote_address_group_id": ours["id"]},
        {"remote_group_id": group["id"], "ethertype": "IPv6"},
    ]
    for shape in shapes:
        body = {"direction": "ingress", "security_group_id": group["id"], **shape}
        tenant.make("security-group-rules", "security_group_rule", **body)
    port = tenant.make("ports", "port", network_id=net["id"], security_groups=[group["id"]])
    keys = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix")
    shown = tenant.cloud("network", "GET", f"/v2.0/security-groups/{group['id']}").json()["security_group"]
    wanted = sorted(str([r[k] for k in keys]) for r in shown["security_group_rules"])
    for site, cloud in sites.items():
        server = tenant.boot(site, port=port["id"])
        there = copy(cloud, "security-groups", group["id"])
        assert there is not None
        own = [r for r in there["security_group_rules"] if not (r["description"] or "").endswith(".members")]
        assert sorted(str([r[k] for k in keys]) for r in own) == wanted and len(there["security_group_rules"]) == len(own) + 1
        tenant.remove(server)

"""What the computed ports stand on: of each tenant a network, a subnet and a security group, at the hub and as copies in sites."""

from __future__ import annotations

from sim.computed import uuid_of
from sim.neutron_groups import add_rule
from sim.neutron_ipam import default_pools, used
from sim.neutron_tables import KINDS
from sim.population import tenant
from sim.population_ports import BASE, GROUP, NETWORK, STAMP, SUBNET, Layout, Leases, Ports
from sim.world import Cloud, Row

RULE, RESERVATION = "96f1", "90f8"
"""In the ids of rules, and of the hub's ports that hold what a site may use by itself."""
VLAN = 1000
"""Of the first tenant's network."""


def plant(cloud: Cloud, layout: Layout, service: str, newest: float) -> None:
    """All of it. ``service``: the service account's project at the hub."""
    site = cloud.number
    ports = Ports(site, layout, newest)
    cloud.tables["ports"] = ports
    for one in layout.tenants[site] if site else sorted(layout.places):
        _network(cloud, layout, one, newest)
        _group(cloud, one, newest)
        cloud["ips"][uuid_of(SUBNET, site, one)] = Leases(ports, one)
        cloud["network_quotas"][tenant(one)[1]] = {"port": -1}  # however many servers there are
        if cloud.hub:
            for place in layout.places[one]:
                _reserve(cloud, layout, place, one, service, newest)


def _row(cloud: Cloud, kind: str, mark: str, one: int, newest: float) -> Row:
    """With defaults; a copy's has the hub's id."""
    ident, project = uuid_of(mark, cloud.number, one), tenant(one)[1]
    defaults = {name: attr.default for name, attr in KINDS[kind].attrs.items()}
    text = "" if cloud.hub else STAMP + uuid_of(mark, 0, one)
    return {
        **defaults, "id": ident, "project_id": project, "created_at": newest, "updated_at": newest, "revision_number": 1,
        "description": text, "tags": [],
    }  # fmt: skip


def _network(cloud: Cloud, layout: Layout, one: int, newest: float) -> None:
    name = tenant(one)[0]
    network = _row(cloud, "network", NETWORK, one, newest)
    network |= {
        "name": name, "mtu": 1500, "availability_zone_hints": [], "provider:network_type": "vlan",
        "provider:physical_network": "wan", "provider:segmentation_id": VLAN + one,
    }  # fmt: skip
    network.pop("segments")
    cloud["networks"][network["id"]] = network
    subnet = _row(cloud, "subnet", SUBNET, one, newest)
    gateway = str(BASE + 1)
    own = None if cloud.hub else layout.reserved(cloud.number, one)
    subnet |= {
        "name": name, "network_id": network["id"], "ip_version": 4, "cidr": str(layout.net), "gateway_ip": gateway,
        "allocation_pools": [{"start": own, "end": own}] if own else default_pools(layout.net, gateway), "host_routes": [],
        "dns_nameservers": [], "service_types": [],
    }  # fmt: skip
    for unseen in ("use_default_subnetpool", "prefixlen", "segment_id", "dns_publish_fixed_ip"):
        subnet.pop(unseen)
    cloud["subnets"][subnet["id"]] = subnet


def _group(cloud: Cloud, one: int, newest: float) -> None:
    group = _row(cloud, "security_group", GROUP, one, newest) | {"name": tenant(one)[0]}
    cloud["security_groups"][group["id"]] = group
    for version in ("IPv4", "IPv6"):  # which Neutron makes by itself
        add_rule(cloud, group, direction="egress", ethertype=version, belongs_to_default_sg=False)
    text = "" if cloud.hub else STAMP + uuid_of(RULE, 0, one)
    add_rule(cloud, group, id=uuid_of(RULE, cloud.number, one), direction="ingress", protocol="tcp", port_range_min=22,
             port_range_max=22, description=text)  # fmt: skip


def _reserve(cloud: Cloud, layout: Layout, site: int, one: int, service: str, newest: float) -> None:
    """The hub's port with the one address that the site's copy of the subnet has for itself."""
    address, subnet = layout.reserved(site, one), uuid_of(SUBNET, 0, one)
    port = _row(cloud, "port", RESERVATION, one, newest) | {
        "id": uuid_of(RESERVATION, site, one), "project_id": service, "network_id": uuid_of(NETWORK, 0, one),
        "device_id": f"cascade-{layout.sites[site]}", "device_owner": "network:dhcp", "security_groups": [],
        "port_security_enabled": False, "mac_address": f"fa:16:3f:{site >> 8:02x}:{site & 255:02x}:{one & 255:02x}",
        "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
    }  # fmt: skip
    for unseen in ("numa_affinity_policy", "device_profile", "propagate_uplink_status", "hints"):
        port.pop(unseen)
    cloud["ports"][port["id"]] = port
    used(cloud, subnet)[address] = {"port": port["id"]}

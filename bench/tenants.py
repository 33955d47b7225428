"""Tenants of the simulator with what a boot takes: a network behind a router, a security group, an image, no quota."""

from __future__ import annotations

from dataclasses import dataclass

from bench.client import User
from bench.world import World
from sim.population import shares
from sim.world import Options

FLAVOR, BITS = "42", bytes(1 << 20)
PLENTY = {"compute": {"instances": -1, "cores": -1, "ram": -1}, "volume": {"volumes": -1, "gigabytes": -1}}
ROOT = {"compute": "/compute/v2.1", "volume": "/volume/v3"}


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who boots, on which network, with which group ("": his default one)."""

    user: User
    network: str
    group: str = ""

    def server(self, name: str, image: str) -> dict[str, object]:
        """What he asks for."""
        groups = {"security_groups": [{"name": self.group}]} if self.group else {}
        return {"server": {"name": name, "flavorRef": FLAVOR, "imageRef": image, "networks": [{"uuid": self.network}], **groups}}


def count(world: World) -> int:
    """How many tenants the simulator has."""
    return len({n for some in shares(len(world.sites), Options.tenants).values() for n in some})


def image(admin: User, name: str) -> str:
    """A public image of one mebibyte."""
    doc = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    ident = str(admin.ask("POST", "/image/v2/images", doc)["id"])
    admin.put_data(f"/image/v2/images/{ident}/file", BITS)
    return ident


def network(user: User, name: str, shared: bool = False) -> tuple[str, str]:
    """Network and subnet."""
    more = {"shared": True} if shared else {}
    made = user.ask("POST", "/network/v2.0/networks", {"network": {"name": name, **more}})["network"]["id"]
    wish = {"network_id": made, "ip_version": 4, "cidr": "10.80.0.0/16"}
    return made, user.ask("POST", "/network/v2.0/subnets", {"subnet": wish})["subnet"]["id"]


def unlimited(admin: User, user: User) -> None:
    """No quota in the way."""
    for service, limits in PLENTY.items():
        admin.ask("PUT", f"{ROOT[service]}/os-quota-sets/{user.project_id}", {"quota_set": limits})
    admin.ask(
        "PUT", f"/network/v2.0/quotas/{user.project_id}", {"quota": {"port": -1, "security_group": -1, "security_group_rule": -1}}
    )


def furnished(world: World, number: int, outside: str) -> Tenant:
    """A tenant with a network of his own behind a router to ``outside``, and a security group with a rule."""
    user = world.tenant(number)
    unlimited(world.admin(), user)
    net, subnet = network(user, f"load-{number}")
    wish = {"router": {"name": f"load-{number}", "external_gateway_info": {"network_id": outside}}}
    router = user.ask("POST", "/network/v2.0/routers", wish)["router"]["id"]
    user.ask("PUT", f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
    group = user.ask("POST", "/network/v2.0/security-groups", {"security_group": {"name": f"load-{number}"}})["security_group"][
        "id"
    ]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    user.ask("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule})
    return Tenant(user, net, group)

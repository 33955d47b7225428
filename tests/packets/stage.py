"""Guests on networks made through Cascade: servers of the fake hypervisor, each with an endpoint that speaks for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lab.endpoints import Endpoint, Heard, endpoint
from tests.lab.rest import Cloud
from tests.lab.test_groups import Tenant
from tests.lab.test_network import copy, rows, until

SITES = ("paris", "tokyo")
NAME = "lab-packets"
QUICKLY = 2
"""Seconds after which an answer that did not come is taken not to come."""
Doc = dict[str, Any]
T = TypeVar("T")


@dataclass
class Guest:
    """A server and who speaks for it."""

    site: str
    server: str
    port: Doc
    """The hub's port."""
    host: str
    end: Endpoint
    address: str
    """The first of the hub's port."""

    def addresses(self, version: int) -> list[str]:
        """Those of one IP version."""
        return [f["ip_address"] for f in self.port["fixed_ips"] if (":" in f["ip_address"]) == (version == 6)]


@dataclass
class Stage:
    """What a tenant makes; taken away at the end, endpoints first."""

    tenant: Tenant
    clouds: dict[str, Cloud]
    guests: list[Guest] = field(default_factory=list)
    plugged: list[tuple[str, str]] = field(default_factory=list)
    """Routers and subnets of theirs."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, cloud: Cloud, clouds: dict[str, Cloud], image: str) -> Iterator[Stage]:
        """A stage, and nothing left of it at the end."""
        found = cls(Tenant(cloud, image), clouds)
        try:
            yield found
        finally:
            for guest in found.guests:
                guest.end.unplug()
            for path in [p for p in found.tenant.undo if p.startswith("/servers/")]:
                cloud("compute", "DELETE", path)  # all at once
            for ident in [p.removeprefix("/servers/") for p in found.tenant.undo if p.startswith("/servers/")]:
                found.tenant.remove(ident)
                found.tenant.undo.remove(f"/servers/{ident}")
            for path in [p for p in found.tenant.undo if p.startswith("/v2.0/floatingips/")]:
                cloud("network", "DELETE", path)  # a router's interface is not removed below one
            for router, subnet in found.plugged:
                found.tenant.put(f"routers/{router}/remove_router_interface", None, subnet_id=subnet)
            found.tenant.close()

    def router(self, net: str, **body: Any) -> str:
        """A router with all subnets of a network."""
        router = str(self.tenant.make("routers", "router", name=NAME, **body)["id"])
        self.connect(router, net)
        return router

    def connect(self, router: str, net: str) -> None:
        """All subnets of one more network."""
        for subnet in rows(self.tenant.cloud, "subnets", network_id=net):
            self.tenant.put(f"routers/{router}/add_router_interface", None, subnet_id=subnet["id"])
            self.plugged.append((router, subnet["id"]))

    def disconnect(self, router: str, net: str) -> None:
        """One network less."""
        for subnet in rows(self.tenant.cloud, "subnets", network_id=net):
            self.tenant.put(f"routers/{router}/remove_router_interface", None, subnet_id=subnet["id"])
            self.plugged.remove((router, subnet["id"]))

    def public(self) -> str:
        """The hub's external network."""
        return str(rows(self.tenant.cloud, "networks", name="public")[0]["id"])

    def inside(self, site: str, router: str) -> str | None:
        """The address that a site's router has on its one network."""
        ports = self.insides(site, router)
        return str(ports[0]["fixed_ips"][0]["ip_address"]) if ports else None

    def insides(self, site: str, router: str) -> list[Doc]:
        """Its interface ports there."""
        owner = self.clouds[f"{site}-admin"]
        here = copy(owner, "routers", router)
        return rows(owner, "ports", device_id=here["id"], device_owner="network:router_interface") if here else []

    def outside(self, site: str, router: str) -> str | None:
        """The address that a site's router has in the world outside."""
        here = copy(self.clouds[f"{site}-admin"], "routers", router)
        info = here and here["external_gateway_info"]
        return str(info["external_fixed_ips"][0]["ip_address"]) if info else None

    def group(self, *protocols: str, ethertype: str = "IPv4", **rule: Any) -> str:
        """A security group that lets these protocols in."""
        ident = str(self.tenant.make("security-groups", "security_group", name=NAME)["id"])
        for protocol in protocols:
            self.admit(ident, protocol=protocol, ethertype=ethertype, **rule)
        return ident

    def admit(self, group: str, **rule: Any) -> str:
        """One more rule; its id."""
        body = {"security_group_id": group, "direction": "ingress", **rule}
        return str(self.tenant.make("security-group-rules", "security_group_rule", **body)["id"])

    def refuse(self, rule: str) -> None:
        """One rule less."""
        path = f"/v2.0/security-group-rules/{rule}"
        assert self.tenant.cloud("network", "DELETE", path).status == 204
        self.tenant.undo.remove(path)

    def boot(self, net: str, *sites: str, groups: list[str], hints: Doc | None = None, **port_too: Any) -> list[Guest]:
        """A guest in each of the sites, plugged; none has asked for its address yet. ``port_too``: what else its port has."""
        made = []
        for site in sites:
            port = self.tenant.make("ports", "port", network_id=net, security_groups=groups, name=NAME, **port_too)
            server = {"name": NAME, "flavorRef": "42", "imageRef": self.tenant.image, "networks": [{"port": port["id"]}],
                      "availability_zone": site}  # fmt: skip
            body = {"server": server, **({"os:scheduler_hints": hints} if hints else {})}
            answer = self.tenant.cloud("compute", "POST", "/servers", body, version="2.60")
            assert answer.status == 202, answer.body
            ident = str(answer.json()["server"]["id"])
            self.tenant.undo.append(f"/servers/{ident}")
            made.append((site, ident, port))
        found = []
        for site, ident, port in made:
            self.tenant.cloud.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
            here = until(lambda s=site, p=port: copy(self.clouds[f"{s}-admin"], "ports", p["id"]))  # type: ignore[misc]
            assert here, f"no copy of {port['id']} at {site}"
            end = endpoint(site, here)
            guest = Guest(site, ident, port, here["binding:host_id"], end, port["fixed_ips"][0]["ip_address"])
            self.guests.append(guest)
            found.append(guest)
        return found

    def leased(self, net: str, *sites: str, groups: list[str], hints: Doc | None = None, **port_too: Any) -> list[Guest]:
        """The same, each with its address from its site's DHCP server."""
        found = self.boot(net, *sites, groups=groups, hints=hints, **port_too)
        for guest in found:
            lease = guest.end.lease()
            assert lease is not None and lease.address in guest.addresses(4), (guest.site, lease, guest.port["fixed_ips"])
        return found


def reaches(one: Guest, two: Guest, *, port: int = 80, version: int = 4, seconds: float = 10) -> Heard | None:
    """What a TCP server of the second guest heard of the first, if it did within the seconds."""
    address = two.addresses(version)[0]
    with two.end.serving(address, port):
        return soon(lambda: one.end.connect(address, port, seconds=QUICKLY), seconds)


def denied(one: Guest, two: Guest, *, port: int = 80, version: int = 4, seconds: float = 10) -> bool:
    """Whether the first guest cannot reach a server of the second one (any more), within the seconds."""
    address = two.addresses(version)[0]
    with two.end.serving(address, port):
        return bool(soon(lambda: one.end.connect(address, port, seconds=QUICKLY) is None, seconds))


def soon(look: Callable[[], T], seconds: float) -> T:
    """What ``look`` gives once it is something, or what it gave last."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found

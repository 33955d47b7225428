"""Neutron in memory, as hub and as site: ids, revisions, addresses, groups and routers with the rules that matter to copies.

Speaks the signatures of ``South``; no HTTP. ``Net.down`` makes a target unreachable.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json as jsonlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade.model.caller import Caller
from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.reconcile.network import Networks
from cascade.sites.registry import Sites
from cascade.store import Store
from tests.unit import network_parts_fake as parts_of
from tests.unit.sites_fake import caller

ME = caller("member", "reader")
"""A tenant."""
Doc = dict[str, Any]
Answer = tuple[int, Any]
Params = Sequence[tuple[str, str]]
SINGULAR = {
    "networks": "network", "subnets": "subnet", "ports": "port", "routers": "router", "floatingips": "floatingip",
    "security-groups": "security_group", "security-group-rules": "security_group_rule", "address-groups": "address_group",
    "rbac-policies": "rbac_policy", "trunks": "trunk", "qos": "policy",
}  # fmt: skip


def error(status: int, kind: str) -> Answer:
    return status, {"NeutronError": {"type": kind, "message": kind, "detail": ""}}


EXTENSIONS = ("address-group", "security-groups-remote-address-group", "qos", "trunk")
RULE_TYPES = ("bandwidth_limit", "dscp_marking", "minimum_bandwidth")


class Cloud:
    """One Neutron. The hub numbers MACs and addresses; a site takes what it is told and refuses what is taken."""

    def __init__(self, name: str, *, extensions: Sequence[str] = EXTENSIONS) -> None:
        self.name, self.extensions = name, extensions
        self.rows: dict[str, dict[str, Doc]] = {path: {} for path in SINGULAR}
        self.tags: dict[str, list[str]] = {}
        self.quotas: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []
        self.after: Callable[[str, str], None] = lambda method, path: None
        self.serial = 0
        self.own = f"{sum(name.encode()) % 256:02x}"  # no cloud gives a MAC that another gave
        external = self.add("networks", {"name": "public", "project_id": "ops", "router:external": True})
        self.external = external["id"]

    def add(self, path: str, body: Doc) -> Doc:
        """A row with what Neutron adds to it."""
        self.serial += 1
        row: Doc = {
            "id": str(uuid.uuid4()), "name": "", "description": "", "project_id": "svc", "revision_number": 1,
            "admin_state_up": True, "tags": [], **body,
        }  # fmt: skip
        if path == "networks":
            row = {"subnets": [], "shared": False, "router:external": False, "mtu": 1500, "port_security_enabled": True,
                   "availability_zone_hints": [], "availability_zones": [], **row}  # fmt: skip
            if self.name == "hub" and not row["router:external"]:
                row |= {"provider:network_type": "vlan", "provider:segmentation_id": 1000 + self.serial}
        elif path == "subnets":
            row = {"enable_dhcp": True, "dns_nameservers": [], "host_routes": [], "ipv6_ra_mode": None,
                   "ipv6_address_mode": None, **row}  # fmt: skip
            row.setdefault("gateway_ip", str(ipaddress.ip_network(row["cidr"])[1]))
            self.rows["networks"][row["network_id"]]["subnets"].append(row["id"])
        elif path == "ports":
            row = {"mac_address": f"fa:16:3e:{self.own}:{self.serial // 256:02x}:{self.serial % 256:02x}", "device_id": "",
                   "device_owner": "", "security_groups": [], "allowed_address_pairs": [], "extra_dhcp_opts": [],
                   "port_security_enabled": True,
                   "status": "DOWN", **row}  # fmt: skip
        elif path == "security-groups":
            row["security_group_rules"] = []
        elif path == "security-group-rules":
            row = dict.fromkeys(("protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
                                 "remote_address_group_id"), None) | {"ethertype": "IPv4"} | row  # fmt: skip
            group = self.rows["security-groups"][row["security_group_id"]]
            group["security_group_rules"].append(row)
            group["revision_number"] += 1
        elif path == "trunks":
            row = {"sub_ports": [], "status": "DOWN", **row}
            parts_of.trunk(self.rows, row)
        elif path == "qos":
            row = {"rules": [], "shared": False, **row}
        elif path == "routers":
            row = {"external_gateway_info": None, "routes": [], "status": "ACTIVE", "availability_zone_hints": [], **row}
        elif path == "floatingips":
            row = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": "DOWN", "port_forwardings": [], **row}
        self.rows[path][row["id"]] = row
        if path == "security-groups":
            for ethertype in ("IPv4", "IPv6"):
                self.add("security-group-rules", {"security_group_id": row["id"], "direction": "egress", "ethertype": ethertype})
        return row

    def only(self, path: str, **having: Any) -> Doc:
        """The one row that has these values."""
        found = [r for r in self.rows[path].values() if all(r.get(k) == v for k, v in having.items())]
        assert len(found) == 1, found
        return found[0]

    def copies(self, path: str) -> list[Doc]:
        """Rows with a stamp."""
        return [r for r in self.rows[path].values() if r["description"].startswith("cascade:")]

    # -- requests ----------------------------------------------------------------------------------------------------

    def serve(self, method: str, path: str, params: Params, doc: Any, headers: Mapping[str, str]) -> Answer:
        self.calls.append((method, path))
        answer = self._serve(method, path.removeprefix("/v2.0/").split("/"), params, doc, headers)
        answer = jsonlib.loads(jsonlib.dumps(answer))
        self.after(method, path)
        return answer[0], answer[1]

    def _serve(self, method: str, parts: list[str], params: Params, doc: Any, headers: Mapping[str, str]) -> Answer:
        path, one = parts[0], SINGULAR.get(parts[0], "")
        if path == "qos":
            if parts[1] == "rule-types":
                return 200, {"rule_types": [{"type": t} for t in RULE_TYPES]}
            parts = ["qos", *parts[2:]]
        if path == "extensions":
            return 200, {"extensions": [{"alias": a} for a in self.extensions]}
        if path == "quotas":
            self.quotas[parts[1]] = -1
            return 200, doc
        if path == "availability_zones":
            return 200, {path: []}
        if path not in self.rows:
            return error(404, "NotFound")
        if len(parts) == 1:
            if method == "POST":
                return self._create(path, one, doc[one])
            return 200, {{"qos": "policies"}.get(path, path.replace("-", "_")): self._list(path, params)}
        row = self.rows[path].get(parts[1])
        if row is None:
            return error(404, f"{one}NotFound")
        if parts[2:3] == ["port_forwardings"]:
            return parts_of.forwarding(method, row, "".join(parts[3:]), doc)
        if parts[2:3] == ["tags"]:
            return self._tags(method, row, parts[3:], doc)
        if path == "qos" and len(parts) > 2:
            return parts_of.qos_rule(method, row, parts[2].removesuffix("s"), "".join(parts[3:]), doc)
        if len(parts) == 3:
            return self._verb(row, parts[2], doc)
        if method == "DELETE":
            return self._delete(path, row)
        if method == "PUT":
            match = headers.get("If-Match")
            if match is not None and match != f"revision_number={row['revision_number']}":
                return error(412, "RevisionNumberConstraintFailed")
            if path == "routers" and not parts_of.reachable(self.rows, row["id"], doc[one].get("routes") or ()):
                return error(400, "InvalidRoutes")
            row.update(doc[one])
            row["revision_number"] += 1
            if path == "floatingips":
                self._associate(row)
        return 200, {one: row}

    def _list(self, path: str, params: Sequence[tuple[str, str]]) -> list[Doc]:
        if path == "security-groups":
            for project in [v for k, v in params if k == "project_id"]:
                if not any(g["project_id"] == project and g["name"] == "default" for g in self.rows[path].values()):
                    self.add(path, {"name": "default", "project_id": project})
        wanted: dict[str, set[str]] = {}
        for key, value in params:
            if key not in ("fields", "marker", "limit"):
                wanted.setdefault(key, set()).add(value)
        fields = {v for k, v in params if k == "fields"}

        def fits(row: Doc) -> bool:
            if path == "ports" and not wanted.get("security_groups", set()) <= set(row["security_groups"]):
                return False
            return all(k == "security_groups" or str(row.get(k)).lower() in {v.lower() for v in vs} for k, vs in wanted.items())

        return [{k: v for k, v in r.items() if not fields or k in fields} for r in self.rows[path].values() if fits(r)]

    def _create(self, path: str, one: str, body: Doc) -> Answer:
        if path == "networks" and body.get("availability_zone_hints"):
            return error(404, "AvailabilityZoneNotFound")
        if path == "security-groups" and body["name"] == "default":
            return error(409, "SecurityGroupDefaultAlreadyExists")
        if path == "routers" and self.quotas.get(body.get("project_id", ""), 0) == 1:
            return error(409, "OverQuota")
        if path == "ports":
            refusal = self._address(body)
            if refusal is not None:
                return refusal
        if path == "security-group-rules" and body.get("remote_address_group_id") not in {None, *self.rows["address-groups"]}:
            return error(404, "AddressGroupNotFound")
        if path == "trunks" and body["port_id"] not in self.rows["ports"]:
            return error(404, "TrunkPortNotFound")
        row = self.add(path, body)
        if path == "floatingips":
            self._associate(row)
        return 201, {one: row}

    def _address(self, body: Doc) -> Answer | None:
        if body["network_id"] not in self.rows["networks"]:
            return error(404, "NetworkNotFound")
        here = [p for p in self.rows["ports"].values() if p["network_id"] == body["network_id"]]
        taken = {f["ip_address"] for p in here for f in p["fixed_ips"]}
        if body.get("mac_address") in {p["mac_address"] for p in here}:
            return error(409, "MacAddressInUse")
        if "fixed_ips" not in body:
            body["fixed_ips"] = [{"subnet_id": s} for s in self.rows["networks"][body["network_id"]]["subnets"]]
        if not parts_of.slaac(self.rows, body):
            return error(400, "AllocationOnAutoAddressSubnet")
        for fixed in body["fixed_ips"]:
            subnet = self.rows["subnets"].get(fixed["subnet_id"])
            if subnet is None:
                return error(404, "SubnetNotFound")
            if fixed.get("ip_address") in taken:
                return error(409, "IpAddressAlreadyAllocated")
            if "ip_address" not in fixed:
                hosts = (str(h) for h in ipaddress.ip_network(subnet["cidr"]).hosts())
                free = next((h for h in hosts if h not in taken and h != subnet["gateway_ip"]), None)
                if free is None:
                    return error(409, "IpAddressGenerationFailure")
                fixed["ip_address"] = free
        return None

    def _associate(self, row: Doc) -> None:
        port = self.rows["ports"].get(row["port_id"] or "")
        row["fixed_ip_address"] = port["fixed_ips"][0]["ip_address"] if port else None
        routers = [p["device_id"] for p in self.rows["ports"].values() if port and p["network_id"] == port["network_id"]
                   and p["device_owner"] == "network:router_interface"]  # fmt: skip
        row["router_id"] = routers[0] if routers else None
        row["status"] = "ACTIVE" if port and self.name != "hub" else "DOWN"

    def _tags(self, method: str, row: Doc, rest: list[str], doc: Any) -> Answer:
        if method == "PUT" and rest:
            row["tags"].append(rest[0].replace("%3D", "="))
            row["revision_number"] += 1
            return 201, {}
        if method == "PUT":
            row["tags"] = doc["tags"]
        elif method == "DELETE":
            row["tags"] = [] if not rest else [t for t in row["tags"] if t != rest[0].replace("%3D", "=")]
            return 204, None
        return 200, {"tags": row["tags"]}

    def _verb(self, row: Doc, verb: str, doc: Any) -> Answer:
        if verb == "add_router_interface" and "subnet_id" in doc:
            if parts_of.overlaps(self.rows, row["id"], {doc["subnet_id"]}):
                return error(400, "BadRequest")
            made = self.add("ports", parts_of.interface(row, self.rows["subnets"][doc["subnet_id"]]))
            return 200, {"port_id": made["id"]}
        if verb == "add_router_interface":
            port = self.rows["ports"].get(doc["port_id"])
            if port is None:
                return error(404, "PortNotFound")
            if parts_of.overlaps(self.rows, row["id"], {f["subnet_id"] for f in port["fixed_ips"]}):
                return error(400, "BadRequest")
            port.update(device_id=row["id"], device_owner="network:router_interface", status="ACTIVE")
        elif verb == "remove_router_interface" and parts_of.routed_over(self.rows, row, doc["port_id"]):
            return error(409, "RouterInterfaceInUseByRoute")
        elif verb == "remove_router_interface":
            del self.rows["ports"][doc["port_id"]]
        elif verb in ("add_subports", "remove_subports"):
            parts_of.subports(self.rows, row, doc["sub_ports"], add=verb == "add_subports")
        elif verb == "add_addresses":
            row["addresses"] += doc["addresses"]
        elif verb == "remove_addresses":
            row["addresses"] = [a for a in row["addresses"] if a not in doc["addresses"]]
        return 200, row

    def _delete(self, path: str, row: Doc) -> Answer:
        ident = row["id"]
        refusal = parts_of.in_use(self.rows, path, ident)
        if refusal is not None:
            return error(409, refusal)
        if path == "trunks":
            parts_of.untrunk(self.rows, row)
        if path == "security-groups":
            for rule in list(self.rows["security-group-rules"].values()):
                if ident in (rule["security_group_id"], rule["remote_group_id"]):
                    self._delete("security-group-rules", rule)
        inside = [p for p in self.rows["ports"].values() if p["network_id"] == ident]
        if path == "networks" and any(p["device_owner"] != "network:dhcp" for p in inside):
            return error(409, "NetworkInUse")
        if path == "routers" and any(p["device_id"] == ident for p in self.rows["ports"].values()):
            return error(409, "RouterInUse")
        if path == "subnets" and parts_of.addressed(self.rows, ident):
            return error(409, "SubnetInUse")
        if path == "subnets":
            self.rows["networks"][row["network_id"]]["subnets"].remove(ident)
        if path == "networks":
            for subnet in row["subnets"]:
                del self.rows["subnets"][subnet]
            self.rows["ports"] = {k: p for k, p in self.rows["ports"].items() if p["network_id"] != ident}
        if path == "security-group-rules":
            group = self.rows["security-groups"][row["security_group_id"]]
            group["security_group_rules"] = [r for r in group["security_group_rules"] if r["id"] != ident]
            group["revision_number"] += 1
        if path == "ports":
            for floating in self.rows["floatingips"].values():
                if floating["port_id"] == ident:
                    floating.update(port_id=None, status="DOWN")
        del self.rows[path][ident]
        return 204, None


class _Shadow:
    async def project(self, site: str, project_id: str) -> str:
        return f"{site}-{project_id}"


class FakeSouth:
    """``South`` over Clouds."""

    def __init__(self, clouds: dict[str, Cloud], down: set[str]) -> None:
        self._clouds, self._down, self.shadow = clouds, down, _Shadow()

    async def call(
        self, target: str, service: str, method: str, path: str, *, as_: Caller | None = None, json: Any = None,
        body: bytes | None = None, headers: Mapping[str, str] | None = None, params: Any = None, timeout: float | None = None,
        version: str | None = None,
    ) -> Reply:  # fmt: skip
        if target in self._down:
            raise SiteUnreachable(target, "down")
        doc = json if json is not None else jsonlib.loads(body) if body else None
        status, answer = self._clouds[target].serve(method, path, list(params or ()), doc, headers or {})
        sent = b"" if answer is None else jsonlib.dumps(answer).encode()
        return Reply(target, status, {"content-type": "application/json"}, sent)

    async def project_id(self, target: str, caller: Caller | None) -> str | None:
        return caller.project_id if caller else "svc"

    def base_urls(self, target: str) -> dict[str, str]:
        return {}


class Net:
    """A hub, two sites and what is tested, on a real store."""

    def __init__(self, store: Store, sites: Sites) -> None:
        self.store, self.sites = store, sites
        self.hub, self.paris, self.tokyo = Cloud("hub"), Cloud("paris"), Cloud("tokyo")
        self.down: set[str] = set()
        self.south: Any = FakeSouth({"hub": self.hub, "paris": self.paris, "tokyo": self.tokyo}, self.down)
        self.networks = Networks(store, self.south, sites)

    @classmethod
    async def open(cls, path: Any) -> Net:
        store = await Store.open(f"sqlite+aiosqlite:///{path}/net.db")
        for number, name in enumerate(("paris", "tokyo"), 1):
            await store.sites.add(Site(name=name, number=number, cloud=name))
        sites = Sites(store)
        await sites.reload()
        return cls(store, sites)

    async def settle(self) -> None:
        """Work off what is due, and what a first try found out of order."""
        for _ in range(30):
            await self.networks.queue.drain()
            if not len(self.networks.queue) or self.down:
                return
            await asyncio.sleep(0.05)

    def network(self, name: str = "net", cidr: str = "10.0.0.0/24", **more: Any) -> tuple[Doc, Doc]:
        """A hub network with one subnet."""
        net = self.hub.add("networks", {"name": name, "project_id": "p1", **more})
        body = {"network_id": net["id"], "cidr": cidr, "ip_version": 4, "name": name, "project_id": "p1"}
        return net, self.hub.add("subnets", body)

    def group(self, name: str = "web", project: str = "p1") -> Doc:
        """A hub security group with the usual egress rules."""
        return self.hub.add("security-groups", {"name": name, "project_id": project})

    def port(self, net: Doc, *groups: Doc, **more: Any) -> Doc:
        """A hub port as its owner gets it."""
        body = {"network_id": net["id"], "project_id": "p1", "security_groups": [g["id"] for g in groups], **more}
        assert self.hub._address(body) is None
        made: Doc = jsonlib.loads(jsonlib.dumps(self.hub.add("ports", body)))
        return made

    def router(self, net: Doc, subnet: Doc, **more: Any) -> Doc:
        """A hub router with an interface at the subnet's gateway and a way out."""
        outside = {"network_id": self.hub.external}
        router = self.hub.add("routers", {"name": "r", "project_id": "p1", "external_gateway_info": outside, **more})
        fixed = [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
        owner = {"device_id": router["id"], "device_owner": "network:router_interface"}
        self.hub.add("ports", {"network_id": net["id"], "project_id": "p1", "fixed_ips": fixed, **owner})
        return router

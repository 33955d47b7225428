"""Trunks, QoS rules, addresses from MACs, router interfaces and what is in use, for ``network_fake``."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

Doc = dict[str, Any]
Rows = dict[str, dict[str, Doc]]
_USES = {
    "address-groups": ("security-group-rules", "remote_address_group_id", "AddressGroupInUse"),
    "ports": ("trunks", "port_id", "PortInUseAsTrunkParent"),
    "qos": ("ports", "qos_policy_id", "QosPolicyInUse"),
}
"""Path -> where a row of it may be named, how, and what Neutron says then to a delete."""


def in_use(rows: Rows, path: str, ident: str) -> str | None:
    """Why a row cannot be deleted."""
    where, key, kind = _USES.get(path, ("", "", ""))
    return kind if where and any(r.get(key) == ident for r in rows[where].values()) else None


def addressed(rows: Rows, subnet: str) -> bool:
    """Whether ports that do not go by themselves have addresses of it."""
    held = [p for p in rows["ports"].values() if any(f["subnet_id"] == subnet for f in p["fixed_ips"])]
    return any(p["device_owner"] != "network:dhcp" for p in held)


def trunk(rows: Rows, row: Doc) -> None:
    """A parent shows its trunk, a subport belongs to it."""
    parent = rows["ports"][row["port_id"]]
    parent["trunk_details"] = {"trunk_id": row["id"], "sub_ports": row["sub_ports"]}
    for sub in row["sub_ports"]:
        rows["ports"][sub["port_id"]].update(device_id=row["id"], device_owner="trunk:subport")


def subports(rows: Rows, row: Doc, given: list[Doc], *, add: bool) -> None:
    """``add_subports`` and ``remove_subports``."""
    ids = {s["port_id"] for s in given}
    row["sub_ports"] = [s for s in row["sub_ports"] if s["port_id"] not in ids] + (given if add else [])
    for port in ids if not add else ():
        rows["ports"][port].update(device_id="", device_owner="")
    trunk(rows, row)


def untrunk(rows: Rows, row: Doc) -> None:
    """A trunk goes."""
    rows["ports"][row["port_id"]].pop("trunk_details", None)
    for sub in row["sub_ports"]:
        rows["ports"][sub["port_id"]].update(device_id="", device_owner="")


def qos_rule(method: str, policy: Doc, one: str, ident: str, doc: Any) -> tuple[int, Any]:
    """A rule below its policy."""
    rules: list[Doc] = policy["rules"]
    if method == "POST":
        rules.append({"id": str(uuid.uuid4()), "type": one.removesuffix("_rule"), **doc[one]})
        return 201, {one: rules[-1]}
    rule = next((r for r in rules if r["id"] == ident), None)
    if rule is None:
        return 404, {"NeutronError": {"type": "QosRuleNotFound", "message": ident, "detail": ""}}
    if method == "DELETE":
        rules.remove(rule)
        return 204, None
    rule.update(doc[one])
    return 200, {one: rule}


def slaac(rows: Rows, body: Doc) -> bool:
    """Give a port the addresses that follow from its MAC; False where it asks for one itself, as only a router's may."""
    for subnet in (rows["subnets"][s] for s in rows["networks"][body["network_id"]]["subnets"]):
        if subnet.get("ipv6_address_mode") != "slaac" or body.get("device_owner") == "network:router_interface":
            continue
        if any(f["subnet_id"] == subnet["id"] and "ip_address" in f for f in body["fixed_ips"]):
            return False
        mac = int(body.setdefault("mac_address", f"fa:16:3e:{uuid.uuid4().hex[:6]}").replace(":", ""), 16)
        address = str(ipaddress.ip_network(subnet["cidr"])[mac])
        others = [f for f in body["fixed_ips"] if f["subnet_id"] != subnet["id"]]
        body["fixed_ips"] = [*others, {"subnet_id": subnet["id"], "ip_address": address}]
    return True


def overlaps(rows: Rows, router: str, subnets: set[str]) -> bool:
    """Whether a router has a port on one of these subnets already."""
    return any(f["subnet_id"] in subnets for p in rows["ports"].values() if p["device_id"] == router for f in p["fixed_ips"])


def interface(router: Doc, subnet: Doc) -> Doc:
    """The port that Neutron makes when a router is given a subnet."""
    return {
        "network_id": subnet["network_id"], "project_id": router["project_id"], "device_id": router["id"],
        "device_owner": "network:router_interface", "status": "ACTIVE",
        "fixed_ips": [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}],
    }  # fmt: skip


def _ranges(rows: Rows, router: str, but: str = "") -> list[Any]:
    ports = [p for p in rows["ports"].values() if p["device_id"] == router and p["id"] != but]
    return [ipaddress.ip_network(rows["subnets"][f["subnet_id"]]["cidr"]) for p in ports for f in p["fixed_ips"]]


def reachable(rows: Rows, router: str, routes: Any) -> bool:
    """Whether Neutron takes these static routes: it wants every next hop on a subnet of the router."""
    near = _ranges(rows, router)
    return all(any(ipaddress.ip_address(r["nexthop"]) in n for n in near) for r in routes)


def routed_over(rows: Rows, router: Doc, port: str) -> bool:
    """Whether a static route has its next hop behind this interface only."""
    near = _ranges(rows, router["id"], port)
    return any(not any(ipaddress.ip_address(r["nexthop"]) in n for n in near) for r in router["routes"])


def forwarding(method: str, floating: Doc, ident: str, doc: Any) -> tuple[int, Any]:
    """What is below a floating IP."""
    rows: list[Doc] = floating["port_forwardings"]
    if method == "GET":
        return 200, {"port_forwardings": rows}
    if method == "POST":
        made = {"id": str(uuid.uuid4()), "internal_port": None, "external_port": None, "description": "", **doc["port_forwarding"]}
        if any(r["protocol"] == made["protocol"] and r["external_port"] == made["external_port"] for r in rows):
            return 400, {"NeutronError": {"type": "BadRequest", "message": "collision", "detail": ""}}
        rows.append(made)
        return 201, {"port_forwarding": made}
    row = next((r for r in rows if r["id"] == ident), None)
    if row is None:
        return 404, {"NeutronError": {"type": "PortForwardingNotFound", "message": ident, "detail": ""}}
    if method == "DELETE":
        rows.remove(row)
        return 204, None
    row.update(doc["port_forwarding"])
    return 200, {"port_forwarding": row}

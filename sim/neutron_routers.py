"""Routers, their interfaces and gateways, floating IPs, and hooks of the small kinds."""

from __future__ import annotations

import ipaddress

import sim.neutron_ports  # noqa: F401 (its hooks)
from sim.faults import Refused
from sim.neutron_core import bad, bump, conflict, disallowed, fetch, hook, match_revision, owned, prepare
from sim.neutron_extensions import aliases
from sim.neutron_ipam import exhausted, free_address, give, network_of, used
from sim.neutron_ports import check_zones, remove_port
from sim.neutron_tables import KINDS
from sim.population_ports import ports_having
from sim.web import Call, route
from sim.world import Cloud, Row

NETWORK, SUBNET, PORT, ROUTER = KINDS["network"], KINDS["subnet"], KINDS["port"], KINDS["router"]
INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"


def _system_port(call: Call, network: Row, project: str, router: Row, owner: str, fixed: object) -> Row:
    """A port that Neutron itself makes."""
    from sim.neutron_ipam import new_mac

    port = prepare(call, PORT, {"network_id": network["id"]})
    port |= {"project_id": project, "device_id": router["id"], "device_owner": owner, "mac_address": new_mac(call.cloud)}
    port |= {"port_security_enabled": False, "security_groups": [], "status": "DOWN" if call.cloud.hub else "ACTIVE"}
    for name in ("numa_affinity_policy", "device_profile", "propagate_uplink_status", "hints"):
        port.pop(name)
    port["fixed_ips"] = give(call, port, fixed)
    call.cloud["ports"][port["id"]] = port
    return port


def ports_of(cloud: Cloud, router: Row, owner: str = "") -> list[Row]:
    """The router's ports."""
    owners = (owner or INTERFACE, owner)
    return [p for p in ports_having(cloud["ports"], "device_id", router["id"]) if p["device_owner"] in owners]


@hook("router", "create")
def _router(call: Call, row: Row, given: Row) -> None:
    check_zones(row)
    _may_gateway(call, given, "create_router")
    row["external_gateway_info"] = None
    for name in (
        "distributed",
        "enable_ndp_proxy",
        *(("enable_default_route_ecmp", "enable_default_route_bfd") if call.cloud.hub else ()),
    ):
        row.pop(name)  # fmt: skip
    row["ha"] = not call.cloud.hub


@hook("router", "created")
def _router_made(call: Call, row: Row, given: Row) -> None:
    if given.get("external_gateway_info"):
        try:
            set_gateway(call, row, given["external_gateway_info"])
        except Refused:
            del call.cloud["routers"][row["id"]]
            raise


def _may_gateway(call: Call, given: Row, rule: str) -> None:
    info = given.get("external_gateway_info") or {}
    for name in ("external_fixed_ips", "enable_snat"):
        free = name == "enable_snat" and info.get(name) is True
        if name in info and not (call.who.admin or free):
            rules = f"rule:{rule} and rule:{rule}:external_gateway_info and rule:{rule}:external_gateway_info:{name}"
            raise Refused(403, f"({rules}) is disallowed by policy", kind="PolicyNotAuthorized")


def set_gateway(call: Call, row: Row, info: Row | None) -> None:
    """Give a router a gateway, or take it. Raises Refused."""
    cloud = call.cloud
    for p in ports_of(cloud, row, GATEWAY):
        if p["device_owner"] == GATEWAY:
            if any(f["router_id"] == row["id"] for f in cloud["floatingips"].values()) and not info:
                text = f"Gateway cannot be updated for router {row['id']}, since a gateway to external network "
                text += f"{p['network_id']} is required by one or more floating IPs."
                raise conflict("RouterExternalGatewayInUseByFloatingIp", text)
            remove_port(cloud, p)
    if not info:
        row["external_gateway_info"] = None
        return
    network = fetch(call, NETWORK, str(info.get("network_id")))
    if not network["router:external"]:
        raise bad(f"Bad router request: Network {network['id']} is not an external network.", "BadRequest")
    port = _system_port(call, network, "", row, GATEWAY, info.get("external_fixed_ips"))
    row["external_gateway_info"] = {
        "network_id": network["id"],
        "external_fixed_ips": port["fixed_ips"],
        "enable_snat": info.get("enable_snat", True),
    }


@hook("router", "update")
def _update_router(call: Call, row: Row, given: Row) -> None:
    _may_gateway(call, given, "update_router")
    if "external_gateway_info" in given:
        old, new = row["external_gateway_info"], given["external_gateway_info"]
        same = old and new and old["network_id"] == new.get("network_id") and "external_fixed_ips" not in new
        if same:
            old["enable_snat"] = new.get("enable_snat", old["enable_snat"])
        else:
            set_gateway(call, row, new)
    for r in given.get("routes") or ():
        network_of(r.get("destination"), "destination")
        hop = ipaddress.ip_address(r["nexthop"])
        near = [call.cloud["subnets"][f["subnet_id"]] for p in ports_of(call.cloud, row, GATEWAY) for f in p["fixed_ips"]]
        if not any(hop in ipaddress.ip_network(s["cidr"]) for s in near):
            text = f"Invalid format for routes: [{r}], the nexthop is not connected with router"
            raise bad(text, "InvalidRoutes")


@hook("router", "show")
def _show_router(call: Call, row: Row, doc: Row) -> None:
    doc["availability_zones"] = []
    info = row["external_gateway_info"]
    if not call.cloud.hub:
        keys = ("network_id", "external_fixed_ips")
        doc["external_gateways"] = [{k: info[k] for k in keys}] if info else []
        if "router-enable-snat" in aliases(call.cloud):
            doc["enable_snat"] = info["enable_snat"] if info else True


@hook("router", "delete")
def _drop_router(call: Call, row: Row, given: Row) -> None:
    held = [p["id"] for p in ports_of(call.cloud, row)]
    if held:
        raise conflict("RouterInUse", f"Router {row['id']} has ports still attached: {', '.join(held)}")
    set_gateway(call, row, None)


def _router_of(call: Call, ident: str, rule: str) -> Row:
    row = fetch(call, ROUTER, ident)
    if not owned(call, row) or not call.who.may("member"):
        raise disallowed(rule)
    match_revision(call, row)
    if not isinstance(call.doc, dict) or not ({"subnet_id", "port_id"} & set(call.doc)):
        raise bad("Bad router request: Either subnet_id or port_id must be specified.", "BadRequest")
    return row


def _interface(cloud: Cloud, row: Row, port: Row, subnet_id: str) -> Row:
    return {"id": row["id"], "project_id" if cloud.newest else "tenant_id": row["project_id"], "port_id": port["id"],
            "network_id": port["network_id"], "subnet_id": subnet_id,
            "subnet_ids": [f["subnet_id"] for f in port["fixed_ips"]]}  # fmt: skip


@route("network", "PUT", "/v2.0/routers/{ident}/add_router_interface", "any")
def add_interface(call: Call, ident: str) -> Row:
    cloud, row = call.cloud, _router_of(call, ident, "add_router_interface")
    mine = [f["subnet_id"] for p in ports_of(cloud, row) for f in p["fixed_ips"]]
    if "port_id" in call.doc:
        port = fetch(call, PORT, str(call.doc["port_id"]))
        if port["device_id"]:
            text = f"Unable to complete operation on port {port['id']} for network {port['network_id']}. "
            raise conflict("PortInUse", text + f"Port already has an attached device {port['device_id']}.")
        if not port["fixed_ips"]:
            raise bad("Bad router request: Router port must have at least one fixed IP.", "BadRequest")
        subnet_id = port["fixed_ips"][0]["subnet_id"]
        _no_overlap(cloud, mine, cloud["subnets"][subnet_id], row)
        port |= {"device_id": row["id"], "device_owner": INTERFACE, "status": "DOWN" if cloud.hub else "ACTIVE"}
        bump(cloud, port)
    else:
        subnet = fetch(call, SUBNET, str(call.doc["subnet_id"]))
        subnet_id = subnet["id"]
        if subnet["gateway_ip"] is None:
            raise bad("Bad router request: Subnet for router interface must have a gateway IP.", "BadRequest")
        _no_overlap(cloud, mine, subnet, row)
        holder = used(cloud, subnet_id).get(subnet["gateway_ip"])
        if holder is not None:
            text = f"IP address {subnet['gateway_ip']} already allocated in subnet {subnet_id}"
            raise conflict("IpAddressAlreadyAllocated", text)
        fixed = [{"subnet_id": subnet_id, "ip_address": subnet["gateway_ip"]}]
        network = cloud["networks"][subnet["network_id"]]
        port = _system_port(call, network, row["project_id"], row, INTERFACE, fixed)
    bump(cloud, row)
    return _interface(cloud, row, port, subnet_id)


def _no_overlap(cloud: Cloud, mine: list[str], subnet: Row, router: Row) -> None:
    if subnet["id"] in mine:
        raise bad(f"Bad router request: Router already has a port on subnet {subnet['id']}.", "BadRequest")
    cidr = ipaddress.ip_network(subnet["cidr"])
    for other in mine:
        theirs = cloud["subnets"][other]["cidr"]
        if cidr.overlaps(ipaddress.ip_network(theirs)):
            text = f"Bad router request: Cidr {cidr} of subnet {subnet['id']} overlaps with cidr {theirs} of subnet {other}."
            raise bad(text, "BadRequest")


@route("network", "PUT", "/v2.0/routers/{ident}/remove_router_interface", "any")
def remove_interface(call: Call, ident: str) -> Row:
    cloud, row = call.cloud, _router_of(call, ident, "remove_router_interface")
    port_id, subnet_id = call.doc.get("port_id"), call.doc.get("subnet_id")
    for port in ports_of(cloud, row):
        subnets = [f["subnet_id"] for f in port["fixed_ips"]]
        if port["id"] == port_id or (port_id is None and subnet_id in subnets):
            held = [f for f in cloud["floatingips"].values() if f["router_id"] == row["id"] and f["port_id"]]
            if any(x["subnet_id"] in subnets for f in held for x in cloud["ports"][f["port_id"]]["fixed_ips"]):
                text = f"Router interface for subnet {subnets[0]} on router {row['id']} cannot be deleted, as it is required by "
                raise conflict("RouterInterfaceInUseByFloatingIP", text + "one or more floating IPs.")
            answer = _interface(cloud, row, port, subnets[0])
            remove_port(cloud, port)
            bump(cloud, row)
            return answer
    what = f"with id {port_id}" if port_id else f"on subnet {subnet_id}"
    kind = "RouterInterfaceNotFound" if port_id else "RouterInterfaceNotFoundForSubnet"
    raise Refused(404, f"Router {row['id']} has no interface {what}", kind=kind)


# Floating IPs


def _associate(call: Call, row: Row, port_id: str | None, fixed: str | None) -> None:
    cloud = call.cloud
    if not port_id:
        row.update(port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
        return
    port = fetch(call, PORT, port_id)
    addresses = [f for f in port["fixed_ips"] if ":" not in f["ip_address"]]
    if fixed is not None:
        addresses = [f for f in addresses if f["ip_address"] == fixed]
    if not addresses:
        raise bad(f"Bad floatingip request: Port {port_id} does not have fixed ip {fixed or 'v4'}.", "BadRequest")
    address = addresses[0]
    for other in cloud["floatingips"].values():
        if other["id"] != row["id"] and other["port_id"] == port_id and other["fixed_ip_address"] == address["ip_address"]:
            text = f"Cannot associate floating IP {row['floating_ip_address']} ({row['id']}) with port {port_id} using fixed IP "
            text += f"{address['ip_address']}, as that fixed IP already has a floating IP on external network "
            raise conflict("FloatingIPPortAlreadyAssociated", f"{text}{row['floating_network_id']}.")
    for router in cloud["routers"].values():
        info = router["external_gateway_info"]
        if info and info["network_id"] == row["floating_network_id"]:
            subnets = {f["subnet_id"] for p in ports_of(cloud, router) for f in p["fixed_ips"]}
            if address["subnet_id"] in subnets:
                active = port["status"] == "ACTIVE" and not cloud.hub
                row.update(port_id=port_id, fixed_ip_address=address["ip_address"], router_id=router["id"])
                row["status"] = "ACTIVE" if active else "DOWN"
                return
    text = f"External network {row['floating_network_id']} is not reachable from subnet {address['subnet_id']}.  "
    text += f"Therefore, cannot associate Port {port_id} with a Floating IP."
    raise Refused(404, text, kind="ExternalGatewayForFloatingIPNotFound")


@hook("floatingip", "create")
def _floating(call: Call, row: Row, given: Row) -> None:
    cloud = call.cloud
    network = fetch(call, NETWORK, row["floating_network_id"])
    if not network["router:external"]:
        raise bad(f"Bad floatingip request: Network {network['id']} is not a valid external network.", "BadRequest")
    subnets = [s for s in cloud["subnets"].values() if s["network_id"] == network["id"] and s["ip_version"] == 4]
    if row["subnet_id"]:
        subnets = [s for s in subnets if s["id"] == row["subnet_id"]]
    wanted = row["floating_ip_address"]
    for s in subnets:
        if wanted:
            if ipaddress.ip_address(wanted) in ipaddress.ip_network(s["cidr"]):
                if wanted in used(cloud, s["id"]):
                    text = f"IP address {wanted} already allocated in subnet {s['id']}"
                    raise conflict("IpAddressAlreadyAllocated", text)
                break
        else:
            wanted = free_address(cloud, s)
            if wanted:
                break
    else:
        raise exhausted(network["id"])
    row["floating_ip_address"] = wanted
    _associate(call, row, given.get("port_id"), given.get("fixed_ip_address"))
    used(cloud, s["id"])[wanted] = {"port": row["id"]}
    row.pop("subnet_id")


@hook("floatingip", "update")
def _update_floating(call: Call, row: Row, given: Row) -> None:
    if "port_id" in given or "fixed_ip_address" in given:
        _associate(call, row, given.get("port_id", row["port_id"]), given.get("fixed_ip_address"))
        given["fixed_ip_address"], given["port_id"] = row["fixed_ip_address"], row["port_id"]


@hook("floatingip", "deleted")
def _drop_floating(call: Call, row: Row, given: Row) -> None:
    for subnet in call.cloud["subnets"].values():
        if subnet["network_id"] == row["floating_network_id"]:
            used(call.cloud, subnet["id"]).pop(row["floating_ip_address"], None)


@hook("floatingip", "show")
def _show_floating(call: Call, row: Row, doc: Row) -> None:
    port = call.cloud["ports"].get(row["port_id"] or "")
    keys = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
    doc["port_details"] = {k: port[k] for k in keys} if port else None
    doc["port_forwardings"] = []


# Small kinds


@hook("subnetpool", "create")
def _pool(call: Call, row: Row, given: Row) -> None:
    nets = [network_of(p, "prefixes") for p in row["prefixes"]]
    if not nets:
        raise bad("Empty subnet pool prefix list.", "EmptySubnetPoolPrefixList")
    row["ip_version"] = nets[0].version
    row["min_prefixlen"] = int(row["min_prefixlen"] or (8 if nets[0].version == 4 else 64))
    row["default_prefixlen"] = int(row["default_prefixlen"] or row["min_prefixlen"])
    row["max_prefixlen"] = int(row["max_prefixlen"] or (32 if nets[0].version == 4 else 128))


@hook("rbac_policy", "create")
def _rbac(call: Call, row: Row, given: Row) -> None:
    kind = KINDS.get(row["object_type"])
    if kind is None:
        raise bad(f"Invalid input for object_type. Reason: '{row['object_type']}' is not supported.")
    target = fetch(call, kind, row["object_id"])
    if not owned(call, target) or (row["target_tenant"] == "*" and not call.who.admin):
        raise disallowed("create_rbac_policy:target_tenant")
    if row["action"] == "access_as_external" and not call.who.admin:
        raise disallowed("create_rbac_policy")


@hook("trunk", "create")
def _trunk(call: Call, row: Row, given: Row) -> None:
    port = fetch(call, PORT, row["port_id"])
    if any(t["port_id"] == port["id"] for t in call.cloud["trunks"].values()):
        raise conflict("PortInUseAsTrunkParent", f"Port {port['id']} is currently a parent port for trunk.")

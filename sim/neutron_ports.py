"""Networks, subnets and ports: what they check and what they take with them."""

from __future__ import annotations

import ipaddress

from sim.faults import Refused
from sim.neutron_core import bad, bump, conflict, fetch, hook, missing, owned
from sim.neutron_extensions import aliases
from sim.neutron_groups import default_group
from sim.neutron_ipam import default_pools, give, give_back, network_of, new_mac, slaac, used
from sim.neutron_tables import AUTO_DELETED, KINDS
from sim.population_ports import ports_having
from sim.web import Call
from sim.world import Cloud, Row

NETWORK, SUBNET, PORT, GROUP = KINDS["network"], KINDS["subnet"], KINDS["port"], KINDS["security_group"]


@hook("network", "create")
def _network(call: Call, row: Row, given: Row) -> None:
    check_zones(row)
    default_group(call.cloud, row["project_id"])
    overlay = "vlan" if call.cloud.hub else "geneve"
    row["provider:network_type"] = row["provider:network_type"] or overlay
    kind = row["provider:network_type"]
    if kind == "vlan" and row["provider:physical_network"] is None:
        row["provider:physical_network"] = "wan"
    where = (row["provider:network_type"], row["provider:physical_network"])
    others = [n for n in call.cloud["networks"].values() if (n["provider:network_type"], n["provider:physical_network"]) == where]
    taken = {n["provider:segmentation_id"] for n in others}
    segment = row["provider:segmentation_id"]
    if kind == "flat":
        if others:
            message = f"Unable to create the flat network. Physical network {where[1]} is in use."
            raise conflict("FlatNetworkInUse", message)
    elif segment is None:
        row["provider:segmentation_id"] = next(n for n in range(1000 if kind == "vlan" else 1, 1 << 24) if n not in taken)
    elif int(segment) in taken:
        message = f"Unable to create the network. The VLAN {segment} on physical network {where[1]} is in use."
        raise conflict("VlanIdInUse", message)
    row["mtu"] = row["mtu"] or (1442 if kind == "geneve" else 1500)
    row.pop("segments")


def check_zones(row: Row) -> None:
    """No cloud here has agents of a zone, so every hint is unknown. Raises Refused 404."""
    for zone in row["availability_zone_hints"]:
        raise Refused(404, f"AvailabilityZone {zone} could not be found.", kind="AvailabilityZoneNotFound")


@hook("network", "show")
def _show_network(call: Call, row: Row, doc: Row) -> None:
    subnets = sorted(s["id"] for s in call.cloud["subnets"].values() if s["network_id"] == row["id"])
    doc |= {"subnets": subnets, "availability_zones": [], "ipv4_address_scope": None, "ipv6_address_scope": None}
    if not call.cloud.hub:
        doc["l2_adjacency"] = True
    if not row["router:external"] and (call.method != "POST" or not call.cloud.newest):
        doc.pop("is_default", None)
    for name, alias in (("qinq", "qinq"), ("vlan_transparent", "vlan-transparent")):
        if alias not in aliases(call.cloud):
            doc.pop(name, None)
    doc["shared"] = bool(row["shared"]) or any(
        r["object_id"] == row["id"] and r["action"] == "access_as_shared" and r["target_tenant"] in ("*", call.who.project_id)
        for r in call.cloud["rbac_policies"].values()
    )


@hook("network", "delete")
def _drop_network(call: Call, row: Row, given: Row) -> None:
    ports = list(ports_having(call.cloud["ports"], "network_id", row["id"]))
    held = [p["id"] for p in ports if p["device_owner"] not in AUTO_DELETED]
    if held:
        message = f"Unable to complete operation on network {row['id']}. There are one or more ports still in use on the network, "
        raise conflict("NetworkInUse", message + f"id for these ports is: {','.join(held)}.")
    for p in ports:
        remove_port(call.cloud, p)
    for s in [s for s in call.cloud["subnets"].values() if s["network_id"] == row["id"]]:
        del call.cloud["subnets"][s["id"]]
        call.cloud["ips"].pop(s["id"], None)


# Subnets


@hook("subnet", "create")
def _subnet(call: Call, row: Row, given: Row) -> None:
    cloud = call.cloud
    network = fetch(call, NETWORK, row["network_id"])
    if not owned(call, network):
        raise Refused(403, "rule:create_subnet is disallowed by policy", kind="PolicyNotAuthorized")
    row["project_id"] = given.get("project_id") or given.get("tenant_id") or row["project_id"]
    _choose_cidr(call, row)
    cidr = network_of(row["cidr"])
    if row["ip_version"] is None:
        raise bad("Failed to parse request. Required attribute 'ip_version' not specified")
    if cidr.version != row["ip_version"]:
        raise bad(
            f"Invalid input for operation: cidr '{row['cidr']}' does not match the ip_version '{row['ip_version']}'.",
            "InvalidInput",
        )
    row["cidr"] = str(cidr)
    for other in cloud["subnets"].values():
        if other["network_id"] == network["id"] and cidr.overlaps(ipaddress.ip_network(other["cidr"])):
            what = f"Requested subnet with cidr: {row['cidr']} for network: {network['id']} overlaps with another subnet"
            raise bad(f"Invalid input for operation: {what}.", "InvalidInput")
    if row["gateway_ip"] == "":
        anycast = cidr.version == 6 and not slaac(row)
        row["gateway_ip"] = str(cidr.network_address + (0 if anycast else 1))
    if row["gateway_ip"]:
        _address(row["gateway_ip"], "gateway_ip")
    pools = row["allocation_pools"]
    if pools is None:
        row["allocation_pools"] = default_pools(cidr, row["gateway_ip"])
    else:
        check_pools(row, pools)
    for name in ("use_default_subnetpool", "prefixlen", "segment_id", "dns_publish_fixed_ip"):
        row.pop(name)


def _address(text: object, what: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        raise bad(f"Invalid input for {what}. Reason: '{text}' is not a valid IP address.") from None


def check_pools(row: Row, pools: object) -> None:
    """Raises Refused 400 or 409 for pools outside of the subnet, upside down, or over the gateway."""
    cidr = network_of(row["cidr"])
    if not isinstance(pools, list):
        raise bad(f"Invalid input for allocation_pools. Reason: Invalid data format for IP pool: '{pools}'.")
    for p in pools:
        low, high = _address(p.get("start"), "allocation_pools"), _address(p.get("end"), "allocation_pools")
        if low not in cidr or high not in cidr:
            text = f"The allocation pool {low}-{high} spans beyond the subnet cidr {row['cidr']}."
            raise bad(text, "OutOfBoundsAllocationPool")
        if int(high) < int(low):
            raise bad(f"The allocation pool {low}-{high} is not valid.", "InvalidAllocationPool")
        gateway = row["gateway_ip"]
        if gateway and int(low) <= int(ipaddress.ip_address(gateway)) <= int(high):
            text = f"Gateway ip {gateway} conflicts with allocation pool {low}-{high}."
            raise conflict("GatewayConflictWithAllocationPools", text)


def _choose_cidr(call: Call, row: Row) -> None:
    pools = call.cloud["subnetpools"]
    ident = row["subnetpool_id"]
    if row["use_default_subnetpool"] and ident is None:
        ident = next((p["id"] for p in pools.values() if p["is_default"] and p["ip_version"] == (row["ip_version"] or 4)), None)
        if ident is None:
            raise bad(f"No default subnetpool found for IPv{row['ip_version']}", "BadRequest")
    row["subnetpool_id"] = ident
    if ident is None:
        if not row["cidr"]:
            raise bad("Bad subnets request: a subnetpool must be specified in the absence of a cidr.", "BadRequest")
        return
    pool = fetch(call, KINDS["subnetpool"], ident)
    row["ip_version"] = pool["ip_version"]
    if row["cidr"]:
        return
    length = int(row["prefixlen"] or pool["default_prefixlen"])
    taken = [ipaddress.ip_network(s["cidr"]) for s in call.cloud["subnets"].values() if s["subnetpool_id"] == ident]
    for prefix in pool["prefixes"]:
        for net in ipaddress.ip_network(prefix).subnets(new_prefix=length):
            if not any(net.overlaps(t) for t in taken):
                row["cidr"] = str(net)
                return
    raise Refused(503, "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /" + str(length) + ".",
                  kind="SubnetAllocationError")  # fmt: skip


@hook("subnet", "created")
@hook("subnet", "deleted")
def _touch_network(call: Call, row: Row, given: Row) -> None:
    network = call.cloud["networks"].get(row["network_id"])
    if network is not None:
        bump(call.cloud, network)


@hook("subnet", "update")
def _update_subnet(call: Call, row: Row, given: Row) -> None:
    after = {**row, **given}
    if "allocation_pools" in given or given.get("gateway_ip"):
        check_pools(after, after["allocation_pools"])
    gateway = row["gateway_ip"]
    if "gateway_ip" in given and given["gateway_ip"] != gateway and gateway in used(call.cloud, row["id"]):
        port = used(call.cloud, row["id"])[gateway]["port"]
        text = f"Current gateway ip {gateway} already in use by port {port}. Unable to update."
        raise conflict("GatewayIpInUse", text)


@hook("subnet", "show")
def _show_subnet(call: Call, row: Row, doc: Row) -> None:
    doc["router:external"] = call.cloud["networks"][row["network_id"]]["router:external"]
    if call.who.admin and not call.cloud.hub:
        doc["segment_id"] = None


@hook("subnet", "delete")
def _drop_subnet(call: Call, row: Row, given: Row) -> None:
    cloud = call.cloud
    holders = [cloud["ports"][a["port"]] for a in list(used(cloud, row["id"]).values()) if a["port"] in cloud["ports"]]
    if any(p["device_owner"] not in AUTO_DELETED and not slaac(row) for p in holders) or any(
        p["device_owner"] == "network:router_interface" for p in holders
    ):
        text = f"Unable to complete operation on subnet {row['id']}: One or more ports have an IP allocation from this subnet."
        raise conflict("SubnetInUse", text)
    for p in holders:
        p["fixed_ips"] = [f for f in p["fixed_ips"] if f["subnet_id"] != row["id"]]
        if not p["fixed_ips"] and p["device_owner"] in AUTO_DELETED:
            remove_port(cloud, p)
    cloud["ips"].pop(row["id"], None)


# Ports


def remove_port(cloud: Cloud, port: Row) -> None:
    """A port is no more, wherever it was named."""
    give_back(cloud, port)
    cloud["ports"].pop(port["id"], None)
    for fip in cloud["floatingips"].values():
        if fip["port_id"] == port["id"]:
            fip.update(port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
            bump(cloud, fip)


def _network_owner_only(call: Call, network: Row, given: Row, verb: str) -> None:
    """What only the network's owner, a service or an administrator may give. Raises Refused 403."""
    if call.who.admin or call.who.service or network["project_id"] == call.who.project_id:
        return
    fixed = given.get("fixed_ips")
    refused: list[str] = [n for n in ("mac_address", "port_security_enabled", "allowed_address_pairs") if n in given]
    if isinstance(fixed, list) and any("ip_address" in f for f in fixed if isinstance(f, dict)):
        refused.append("fixed_ips:ip_address")
    if str(given.get("device_owner", "")).startswith("network:"):
        refused.append("device_owner")
    if refused:
        rules = f"rule:{verb}_port and rule:{verb}_port:{refused[0]}"
        raise Refused(403, f"({rules}) is disallowed by policy", kind="PolicyNotAuthorized")


@hook("port", "create")
def _port(call: Call, row: Row, given: Row) -> None:
    cloud = call.cloud
    network = fetch(call, NETWORK, row["network_id"])
    shared_out = network["router:external"] and not network["shared"]
    if shared_out and not owned(call, network) and not call.who.service:
        raise Refused(403, "rule:create_port is disallowed by policy", kind="PolicyNotAuthorized")
    _network_owner_only(call, network, given, "create")
    if row["mac_address"]:
        _free_mac(cloud, row["network_id"], row["mac_address"], row["id"])
    row["mac_address"] = (row["mac_address"] or new_mac(cloud)).lower()
    if "port_security_enabled" not in given:
        system = row["device_owner"].startswith("network:")
        row["port_security_enabled"] = bool(network.get("port_security_enabled", True)) and not system
    _groups(call, row, given)
    row["fixed_ips"] = give(call, row, given.get("fixed_ips"))
    for name in ("numa_affinity_policy", "device_profile", "propagate_uplink_status", "hints"):
        row.pop(name)
    bind(cloud, row)


def _free_mac(cloud: Cloud, network_id: str, mac: str, port_id: str) -> None:
    for p in ports_having(cloud["ports"], "network_id", network_id):
        if p["mac_address"] == mac.lower() and p["id"] != port_id:
            text = f"Unable to complete operation for network {network_id}. The mac address {mac} is in use."
            raise conflict("MacAddressInUse", text)


def _groups(call: Call, row: Row, given: Row) -> None:
    wanted = given.get("security_groups")
    if wanted is None:
        system = row["device_owner"].startswith("network:") or not row["port_security_enabled"]
        row["security_groups"] = [] if system else [default_group(call.cloud, row["project_id"])["id"]]
        return
    if wanted and not row["port_security_enabled"]:
        raise conflict(
            "PortSecurityAndIPRequiredForSecurityGroups",
            "Port security must be enabled and port must have an IP address in order to use security groups.",
        )
    for ident in wanted:
        if ident not in call.cloud["security_groups"]:
            raise missing(GROUP, ident)
        fetch(call, GROUP, ident)
    row["security_groups"] = list(wanted)


def bind(cloud: Cloud, port: Row) -> None:
    """What happens when a host is named: nothing good at a hub; at a site the port becomes ACTIVE soon."""
    host = port["binding:host_id"]
    if not host:
        port.update({"binding:vif_type": "unbound", "binding:vif_details": {}, "status": "DOWN"})
    elif cloud.hub:
        port.update({"binding:vif_type": "binding_failed", "binding:vif_details": {}, "status": "DOWN"})
    else:
        details = {"port_filter": True, "connectivity": "l2", "bridge_name": "br-int", "bound_drivers": {"0": "ovn"}}
        port.update({"binding:vif_type": "ovs", "binding:vif_details": details, "status": "ACTIVE"})
    for fip in cloud["floatingips"].values():
        if fip["port_id"] == port["id"]:
            fip["status"] = "ACTIVE" if port["status"] == "ACTIVE" else "DOWN"


@hook("port", "update")
def _update_port(call: Call, row: Row, given: Row) -> None:
    network = call.cloud["networks"][row["network_id"]]
    _network_owner_only(call, network, given, "update")
    if "mac_address" in given:
        _free_mac(call.cloud, row["network_id"], given["mac_address"], row["id"])
    if given.get("security_groups") is not None or "security_groups" in given:
        row["port_security_enabled"] = given.get("port_security_enabled", row["port_security_enabled"])
        _groups(call, row, {"security_groups": given["security_groups"] or []})
        given["security_groups"] = row["security_groups"]
    if "fixed_ips" in given:
        give_back(call.cloud, row)
        before, row["fixed_ips"] = row["fixed_ips"], []
        try:
            row["fixed_ips"] = give(call, row, given["fixed_ips"])
        except Refused:
            row["fixed_ips"] = before
            for f in before:
                used(call.cloud, f["subnet_id"])[f["ip_address"]] = {"port": row["id"]}
            raise
    if "binding:host_id" in given:
        row["binding:host_id"] = given["binding:host_id"] or ""
        given["binding:host_id"] = row["binding:host_id"]
        bind(call.cloud, row)


@hook("port", "show")
def _show_port(call: Call, row: Row, doc: Row) -> None:
    name = row["dns_name"]
    doc["dns_assignment"] = [
        {"ip_address": f["ip_address"], "hostname": h, "fqdn": f"{h}.lab.example."}
        for f in row["fixed_ips"]
        for h in [name or "host-" + f["ip_address"].replace(".", "-").replace(":", "-")]
    ]


@hook("port", "delete")
def _drop_port(call: Call, row: Row, given: Row) -> None:
    owner = row["device_owner"]
    if owner in ("network:router_interface", "network:router_gateway", "network:floatingip"):
        reason = f"has device owner {owner}"
        raise conflict("ServicePortInUse", f"Port {row['id']} cannot be deleted directly via the port API: {reason}.")
    if owner.startswith("compute:") and call.cloud.newest and not (call.who.admin or call.who.service):
        raise Refused(403, "rule:delete_port is disallowed by policy", kind="PolicyNotAuthorized")
    if any(t["port_id"] == row["id"] for t in call.cloud["trunks"].values()):
        raise conflict("PortInUse", f"Port {row['id']} is in use by a trunk.")


@hook("port", "deleted")
def _port_gone(call: Call, row: Row, given: Row) -> None:
    remove_port(call.cloud, row)

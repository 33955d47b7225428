"""Addresses: pools, allocation, MAC addresses."""

from __future__ import annotations

import ipaddress
from typing import Any

from sim.neutron_core import bad, conflict, fetch
from sim.neutron_tables import KINDS
from sim.web import Call
from sim.world import Cloud, Row

Net = ipaddress.IPv4Network | ipaddress.IPv6Network
SLAAC = ("slaac", "dhcpv6-stateless")


def network_of(text: Any, what: str = "cidr") -> Net:
    """A CIDR. Raises Refused 400."""
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        raise bad(f"Invalid input for {what}. Reason: '{text}' is not a valid IP subnet.") from None


def used(cloud: Cloud, subnet_id: str) -> Row:
    """Address -> port of a subnet's allocations; the index of ports' fixed_ips."""
    return cloud["ips"].setdefault(subnet_id, {})


def slaac(subnet: Row) -> bool:
    """Whether its addresses follow from the MAC."""
    return subnet["ipv6_address_mode"] in SLAAC


def eui64(cidr: str, mac: str) -> str:
    """The address a port makes for itself."""
    b = bytearray.fromhex(mac.replace(":", ""))
    b[0] ^= 2
    host = int.from_bytes(bytes(b[:3]) + b"\xff\xfe" + bytes(b[3:]), "big")
    return str(ipaddress.ip_address(int(ipaddress.ip_network(cidr).network_address) | host))


def default_pools(cidr: Net, gateway: str | None) -> list[Row]:
    """Everything but network, broadcast and gateway."""
    low = int(cidr.network_address) + 1
    high = int(cidr.broadcast_address) - (1 if cidr.version == 4 and cidr.prefixlen < 31 else 0)
    if cidr.version == 4 and cidr.prefixlen >= 31:
        low -= 1
    spans = [(low, high)]
    if gateway:
        g = int(ipaddress.ip_address(gateway))
        spans = [s for a, b in spans for s in ((a, min(b, g - 1)), (max(a, g + 1), b)) if s[0] <= s[1]]
    kind = type(cidr.network_address)
    return [{"start": str(kind(a)), "end": str(kind(b))} for a, b in spans]


def free_address(cloud: Cloud, subnet: Row) -> str | None:
    """The lowest free address of the pools; None = exhausted."""
    taken = used(cloud, subnet["id"])
    for pool in subnet["allocation_pools"]:
        first, last = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        for n in range(int(first), int(last) + 1):
            text = str(type(first)(n))
            if text not in taken:
                return text
    return None


def give(call: Call, port: Row, wanted: Any) -> list[Row]:
    """Allocate a port's addresses: what was asked for, or one of each family. Raises Refused 400, 404, 409."""
    cloud = call.cloud
    subnets = [s for s in cloud["subnets"].values() if s["network_id"] == port["network_id"]]
    if wanted is None or wanted == "":
        return _any(cloud, port, subnets)
    if not isinstance(wanted, list) or not all(isinstance(w, dict) for w in wanted):
        raise bad("Invalid input for fixed_ips. Reason: Invalid data format for fixed IP.")
    found = []
    for w in wanted:
        found.append(_one(call, port, subnets, w))
        used(cloud, found[-1]["subnet_id"])[found[-1]["ip_address"]] = {"port": port["id"]}
    return found


def _one(call: Call, port: Row, subnets: list[Row], wanted: Row) -> Row:
    cloud, address, ident = call.cloud, wanted.get("ip_address"), wanted.get("subnet_id")
    if ident is not None:
        subnet = fetch(call, KINDS["subnet"], ident)
        if subnet["network_id"] != port["network_id"]:
            raise bad(
                f"Failed to create port on network {port['network_id']}, because fixed_ips included invalid subnet {ident}.",
                "InvalidInput",
            )
        if address is None:
            got = eui64(subnet["cidr"], port["mac_address"]) if slaac(subnet) else free_address(cloud, subnet)
            if got is None:
                raise exhausted(port["network_id"])
            return {"subnet_id": ident, "ip_address": got}
    try:
        ip = ipaddress.ip_address(str(address))
    except ValueError:
        raise bad(f"Invalid input for fixed_ips. Reason: '{address}' is not a valid IP address.") from None
    places = [s for s in subnets if ip in ipaddress.ip_network(s["cidr"]) and ident in (None, s["id"])]
    if not places:
        if ident is not None:
            raise bad(f"IP address {address} is not a valid IP for the specified subnet.", "InvalidIpForSubnet")
        raise bad(f"IP address {address} is not a valid IP for any of the subnets on the specified network.", "InvalidIpForNetwork")
    subnet, text = places[0], str(ip)
    if (
        slaac(subnet)
        and port["device_owner"] not in ("network:router_interface",)
        and text != eui64(subnet["cidr"], port["mac_address"])
    ):
        what = f"IPv6 address {text} can not be directly assigned to a port on subnet {subnet['id']}"
        why = "as the subnet is configured for automatic addresses"
        raise bad(f"Invalid input for operation: {what} {why}.", "AllocationOnAutoAddressSubnet")
    holder = used(cloud, subnet["id"]).get(text)
    if holder is not None and holder["port"] != port["id"]:
        raise conflict("IpAddressAlreadyAllocated", f"IP address {text} already allocated in subnet {subnet['id']}")
    return {"subnet_id": subnet["id"], "ip_address": text}


def _any(cloud: Cloud, port: Row, subnets: list[Row]) -> list[Row]:
    owner = port["device_owner"]
    subnets = [s for s in subnets if not s["service_types"] or owner in s["service_types"]]
    found = []
    for version in (4, 6):
        choice = [s for s in subnets if s["ip_version"] == version and not slaac(s)]
        for subnet in choice:
            address = free_address(cloud, subnet)
            if address is not None:
                found.append({"subnet_id": subnet["id"], "ip_address": address})
                break
        else:
            if choice:
                raise exhausted(port["network_id"])
    for subnet in subnets:
        if slaac(subnet):
            found.append({"subnet_id": subnet["id"], "ip_address": eui64(subnet["cidr"], port["mac_address"])})
    for f in found:
        used(cloud, f["subnet_id"])[f["ip_address"]] = {"port": port["id"]}
    return found


def exhausted(network_id: str) -> Exception:
    """The refusal of a full network."""
    return conflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network_id}.")


def give_back(cloud: Cloud, port: Row) -> None:
    """Free a port's addresses."""
    for f in port["fixed_ips"]:
        used(cloud, f["subnet_id"]).pop(f["ip_address"], None)


def new_mac(cloud: Cloud) -> str:
    """A MAC address of the cloud's own range."""
    cloud.random.random()
    tail = ":".join(f"{b:02x}" for b in cloud.random.getrandbits(24).to_bytes(3, "big"))
    return f"fa:16:{0x3E + cloud.number // 64:02x}:{0xC0 + cloud.number % 64:02x}:{tail[:5]}"

"""Addresses of servers by Nova's own actions (up to 2.43): the hub's port or floating IP is changed, its replica follows.

Forwarded as they are they would take an address from the site's own tiny pool (design review 2.8). The site's Neutron
tells its Nova of the change, as it does of any.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from cascade.api.core import Core
from cascade.api.request import Request, Response
from cascade.api.zonal import at_site
from cascade.model.errors import Fault, NativeFault
from cascade.store.index import IndexEntry

FIXED_IP = ("addFixedIp", "removeFixedIp")
FLOATING_IP = ("addFloatingIp", "removeFloatingIp")
ADDRESSES_UNTIL = (2, 44)
FOLLOW = 3.0
"""Seconds a change waits for the site: Nova does it in the call, and its clients look at the server at once."""


async def fixed_ip(core: Core, req: Request, entry: IndexEntry, what: dict[str, Any], *, add: bool) -> Response:
    """One address more or less on a server. Malformed bodies are the site's to refuse."""
    network, address = what.get("networkId"), what.get("address")
    if len(what) != 1 or not isinstance(network if add else address, str):
        return await at_site(core, req, entry)
    for port in await core.ports.of_device(entry.id):
        have = port["fixed_ips"]
        if add and port["network_id"] == network and have:
            wanted = [*have, {"subnet_id": have[0]["subnet_id"]}]
        elif not add and any(f["ip_address"] == address for f in have):
            wanted = [f for f in have if f["ip_address"] != address]
        else:
            continue
        async with core.networks.change(("port", port["id"])) as change:
            reply = await core.south.call(
                "hub", "network", "PUT", f"/v2.0/ports/{port['id']}", as_=req.caller, json={"port": {"fixed_ips": wanted}}
            )
            change.refused = not reply.ok
        reply.expect(200)
        await core.networks.followed("port", port["id"], FOLLOW)
        return Response(status=202, headers={"Content-Type": "application/json"})
    if add:
        raise Fault(404, f"Network could not be found for instance {entry.id}.")
    raise Fault(400, f"Fixed IP not found for instance {entry.id}.")


async def floating_ip(core: Core, req: Request, entry: IndexEntry, what: dict[str, Any], *, add: bool) -> Response:
    """A floating IP to a server or away from it. Malformed bodies are the site's to refuse."""
    address = what.get("address")
    if what.keys() - {"address", *(["fixed_address"] if add else [])} or not all(_is_address(a) for a in (address, *what.values())):
        return await at_site(core, req, entry)
    found = await core.south.call(
        "hub", "network", "GET", "/v2.0/floatingips", as_=req.caller, params=[("floating_ip_address", str(address))]
    )
    floating = next(iter(found.expect(200).json()["floatingips"]), None)
    ports = await core.ports.of_device(entry.id)
    if add:
        port, fixed = _fixed(entry.id, ports, what)
    if floating is None:
        raise Fault(404, "floating IP not found")
    if add:
        wanted: dict[str, str | None] = {"port_id": port, "fixed_ip_address": fixed}
    elif floating["port_id"] in {p["id"] for p in ports}:
        port, wanted = floating["port_id"], {"port_id": None}
    else:
        raise Fault(409, f"Floating IP {address} is not associated with instance {entry.id}.")
    async with core.networks.change(("floating_ip", floating["id"]), ("port", port)) as change:
        path = f"/v2.0/floatingips/{floating['id']}"
        reply = await core.south.call("hub", "network", "PUT", path, as_=req.caller, json={"floatingip": wanted})
        change.refused = not reply.ok
    try:
        reply.expect(200)
    except NativeFault as e:
        text = f"Unable to associate floating IP {address} to fixed IP {wanted.get('fixed_ip_address')} for instance {entry.id}."
        raise Fault(403 if e.status == 403 else 400, f"{text} Error: {e.message()}") from e
    await core.networks.followed("floating_ip", floating["id"], FOLLOW)
    return Response(status=202, headers={"Content-Type": "application/json"})


def _fixed(server: str, ports: list[dict[str, Any]], what: dict[str, Any]) -> tuple[str, str]:
    """Port and address a floating IP goes to: those asked for, else the first of IPv4. Raises Nova's Fault 400."""
    have = [(str(p["id"]), str(f["ip_address"])) for p in ports for f in p["fixed_ips"]]
    if not have:
        raise Fault(400, "No fixed IPs associated to instance")
    if "fixed_address" in what:
        chosen = [pair for pair in have if pair[1] == what["fixed_address"]]
        why = "Specified fixed address not assigned to instance"
    else:
        chosen = [pair for pair in have if ip_address(pair[1]).version == 4]
        why = (
            f"Unable to associate floating IP {what['address']} to any fixed IPs for instance {server}. "
            "Instance has no fixed IPv4 addresses to associate."
        )
    if not chosen:
        raise Fault(400, why)
    return chosen[0]


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False

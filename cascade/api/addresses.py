"""addFixedIp and removeFixedIp (Nova up to 2.43): the hub's port is changed, its replica follows.

Forwarded as they are they would take an address from the site's own tiny pool (design review 2.8). The site's Neutron
tells its Nova of the change, as it does of any.
"""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.api.request import Request, Response
from cascade.api.zonal import at_site
from cascade.model.errors import Fault
from cascade.store.index import IndexEntry

FIXED_IP = ("addFixedIp", "removeFixedIp")
FIXED_IP_UNTIL = (2, 44)


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
        reply = await core.south.call(
            "hub", "network", "PUT", f"/v2.0/ports/{port['id']}", as_=req.caller, json={"port": {"fixed_ips": wanted}}
        )
        reply.expect(200)
        await core.networks.sync("port", port["id"])
        return Response(status=202, headers={"Content-Type": "application/json"})
    if add:
        raise Fault(404, f"Network could not be found for instance {entry.id}.")
    raise Fault(400, f"Fixed IP not found for instance {entry.id}.")

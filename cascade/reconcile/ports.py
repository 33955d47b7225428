"""A server's ports at the hub, from intent to end. The hub's ``device_id`` is the record: no table of ours repeats it."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.model.crash import point
from cascade.model.errors import BadReply
from cascade.reconcile.net.replica import PORT
from cascade.reconcile.network import Networks
from cascade.sites.south import South

MADE = "cascade_made"
"""In ``binding:profile`` (administrators only) of a hub port Cascade made for a server: it goes when the server goes."""


class Ports:
    """Owner changes of hub ports, all by the service account; judged before, by the hub, where a user asked."""

    def __init__(self, south: South, networks: Networks) -> None:
        self._south, self._networks = south, networks

    @staticmethod
    def made(port: dict[str, Any]) -> bool:
        """Whether Cascade made this hub port for a server."""
        return bool((port.get("binding:profile") or {}).get(MADE))

    async def of_device(self, device: str) -> list[dict[str, Any]]:
        """The hub ports that carry this device id."""
        reply = await self._south.call("hub", "network", "GET", "/v2.0/ports", params=[("device_id", device)], timeout=10)
        rows: list[dict[str, Any]] = reply.expect(200).json()["ports"]
        return rows

    async def own(self, intent: str, server: str, site: str, *, mine: set[str]) -> None:
        """From the intent's id to the server's. ``mine``: ports the user brought, which outlive the server."""
        await asyncio.gather(*(self.give(p["id"], server, site, made=p["id"] not in mine) for p in await self.of_device(intent)))

    async def give(self, port: str, server: str, site: str, *, made: bool) -> None:
        """Set one hub port's server."""
        body: dict[str, Any] = {"device_id": server, "device_owner": f"compute:{site}"}
        if made:
            body["binding:profile"] = {MADE: True}
        reply = await self._south.call("hub", "network", "PUT", f"/v2.0/ports/{port}", json={"port": body}, timeout=10)
        if not reply.ok and reply.status != 404:
            raise BadReply("hub", f"port {port}: {reply.status}")

    async def release(self, device: str, site: str, *, keep: set[str] | None) -> None:
        """Ports of a device that is no more: Cascade's own are deleted, the user's are freed; replicas go first.

        ``site``: where it was; no other is waited for. ``keep``: the user's ports; None = read from each port's own mark.
        """
        for port in await self.of_device(device):
            made = port["id"] not in keep if keep is not None else self.made(port)
            await self.drop(port, site, delete=made)

    async def drop(self, port: dict[str, Any], site: str, *, delete: bool) -> None:
        """One port (the hub's document) away from its server, in the site and then at the hub.

        A copy in another site, which is away, follows what becomes of the port when that is back.
        """
        left = await self._networks.drop_port(port["id"], site, port.get("security_groups") or ())
        point("ports:site-dropped")
        async with self._networks.change(*([(PORT.name, port["id"])] if left else [])):
            await self._freed(port, delete)
        point("ports:hub-dropped")

    async def _freed(self, port: dict[str, Any], delete: bool) -> None:
        path = f"/v2.0/ports/{port['id']}"
        if delete:
            reply = await self._south.call("hub", "network", "DELETE", path, timeout=10)
        else:
            body = {"port": {"device_id": "", "device_owner": ""}}
            reply = await self._south.call("hub", "network", "PUT", path, json=body, timeout=10)
        if not reply.ok and reply.status != 404:
            raise BadReply("hub", f"port {port['id']}: {reply.status}")

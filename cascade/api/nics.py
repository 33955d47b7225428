"""The ports of one boot: made or claimed at the hub, whose Neutron is the one IPAM, then put into the site."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.api.boot import Boot
from cascade.api.core import Core
from cascade.api.request import Request
from cascade.model.crash import point
from cascade.model.errors import Fault, NativeFault
from cascade.model.reply import Reply
from cascade.reconcile.net.span import alone


class Nics:
    """Ports for the server an intent stands for. ``device`` is the intent's id until the server has one."""

    def __init__(self, core: Core, req: Request, site: str, device: str) -> None:
        self._core, self._req, self._site, self._device = core, req, site, device
        self._claimed: list[str] = []

    async def prepare(self, boot: Boot) -> list[dict[str, Any]] | str:
        """The ``networks`` value of the site's body. Raises NativeFault (target hub) where the hub refuses."""
        wanted = await self._wanted(boot)
        if isinstance(wanted, str):
            return wanted
        groups = await self._groups(boot)
        out = []
        for nic in wanted:
            port = await self._claimed_port(nic["port"]) if nic.get("port") else await self.make(nic, groups)
            point("server.create:hub-port")
            site_port = await self._core.networks.materialise_port(self._site, port, self._req.caller)
            point("server.create:site-port")
            out.append({"port": site_port, **({"tag": nic["tag"]} if "tag" in nic else {})})
        return out

    async def one(self, nic: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """One more port for a server that runs: ``(hub port, made by us)``."""
        if nic.get("port"):
            return await self._claimed_port(nic["port"]), False
        return await self.make(nic, None), True

    async def undo(self) -> None:
        """Everything this boot made or claimed, hub and site."""
        await self._core.ports.release(self._device, self._site, keep=set(self._claimed))

    async def make(self, nic: dict[str, Any], groups: list[str] | None) -> dict[str, Any]:
        """A new hub port on a network, as the caller: his quota, his policy, Neutron's own refusals."""
        port: dict[str, Any] = {
            "network_id": nic["uuid"], "device_id": self._device, "device_owner": f"compute:{self._site}", "admin_state_up": True,
        }  # fmt: skip
        if nic.get("fixed_ip"):
            port["fixed_ips"] = [{"ip_address": nic["fixed_ip"]}]
        if groups is not None:
            port["security_groups"] = groups
        reply = await self._hub("POST", "/v2.0/ports", json={"port": port})
        if reply.status == 403:
            for row in await self._rows("networks", ("fields", "router:external"), ("fields", "shared"), ("id", nic["uuid"])):
                if row["router:external"] and not row["shared"]:
                    raise Fault(403, f"It is not allowed to create an interface on external network {nic['uuid']}")
        made: dict[str, Any] = reply.expect(201).json()["port"]
        return made

    async def _wanted(self, boot: Boot) -> list[dict[str, Any]] | str:
        nets = boot.networks
        if nets == "none":
            return "none"
        if isinstance(nets, list) and nets:
            return nets
        found = await self.available()
        if len(found) > 1:
            # Nova: NetworkAmbiguous, 409; the hub's Nova says it.
            raise NativeFault(409, b"", {}, "hub")
        if found:
            return [{"uuid": found[0]}]
        if nets != "auto":
            return "none"
        topology = await self._hub("GET", f"/v2.0/auto-allocated-topology/{self._req.caller.project_id}")
        return [{"uuid": topology.expect(200).json()["auto_allocated_topology"]["id"]}]

    async def available(self) -> list[str]:
        """What Nova takes as the project's networks: its own, and shared ones that are not external."""
        own, shared = await asyncio.gather(
            self._hub("GET", "/v2.0/networks", params=[("tenant_id", self._req.caller.project_id or ""), ("shared", "false")]),
            self._hub("GET", "/v2.0/networks", params=[("shared", "true")]),
        )
        rows = own.expect(200).json()["networks"] + [
            n for n in shared.expect(200).json()["networks"] if not n.get("router:external")
        ]
        return [n["id"] for n in rows if n.get("subnets")]

    async def _groups(self, boot: Boot) -> list[str] | None:
        """Ids of the security groups named; None = Neutron's own default."""
        named = [g.get("name") for g in boot.server.get("security_groups") or () if isinstance(g, dict)]
        if not named or named == ["default"]:
            return None
        reply = await self._hub(
            "GET",
            "/v2.0/security-groups",
            params=[("fields", "id"), ("fields", "name"), ("tenant_id", self._req.caller.project_id or "")],
        )
        rows = reply.expect(200).json()["security_groups"]
        out = []
        for name in named:
            ids = [g["id"] for g in rows if name in (g["id"], g["name"])]
            if len(ids) != 1:
                raise NativeFault(400, b"", {}, "hub")  # unknown or ambiguous
            out.append(ids[0])
        return out

    async def _claimed_port(self, ident: str) -> dict[str, Any]:
        port = (await self._hub("GET", f"/v2.0/ports/{ident}")).expect(200).json()["port"]
        if port.get("device_id") or not port.get("fixed_ips"):
            raise NativeFault(400, b"", {}, "hub")
        self._claimed.append(ident)
        claimed: dict[str, Any] = await self._core.networks.claim_port(port, self._device)
        return claimed

    async def zones(self, boot: Boot) -> dict[str, str]:
        """Networks the request names, by themselves or by a port, that stay in one site -> that site."""
        nics = boot.networks if isinstance(boot.networks, list) else []
        ports = [("id", n["port"]) for n in nics if n.get("port")]
        found = await self._rows("ports", ("fields", "network_id"), *ports) if ports else []
        wanted = {n["uuid"] for n in nics if n.get("uuid") and not n.get("port")} | {p["network_id"] for p in found}
        if not wanted:
            return {}
        rows = await self._rows("networks", ("fields", "id"), ("fields", "tags"), *(("id", n) for n in sorted(wanted)))
        return {r["id"]: site for r in rows if (site := alone(self._core.sites, r)) is not None}

    async def _rows(self, path: str, *params: tuple[str, str]) -> list[dict[str, Any]]:
        reply = await self._hub("GET", f"/v2.0/{path}", params=list(params))
        rows: list[dict[str, Any]] = reply.json()[path] if reply.status == 200 else []
        return rows

    async def _hub(self, method: str, path: str, **kw: Any) -> Reply:
        return await self._core.south.call("hub", "network", method, path, as_=self._req.caller, **kw)

"""QoS policies in sites: made where a port or network that uses one stands, with those rules the site can enforce."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

import structlog

from cascade.reconcile.net.replica import QOS, Doc, Replicas, accepted, changes

log = structlog.get_logger(__name__)

RULES: Mapping[str, tuple[str, ...]] = {
    "bandwidth_limit": ("max_kbps", "max_burst_kbps", "direction"),
    "packet_rate_limit": ("max_kpps", "max_burst_kpps", "direction"),
    "minimum_bandwidth": ("min_kbps", "direction"),
    "minimum_packet_rate": ("min_kpps", "direction"),
    "dscp_marking": ("dscp_mark",),
}
"""Type of a rule -> its fields. Of a type there is one per direction."""
BELIEVED = 300.0
"""Seconds a site's list of rule types is believed."""


class QosPolicies:
    """``ensure`` is what a boot needs; ``sync`` follows a change at the hub."""

    def __init__(self, replicas: Replicas) -> None:
        self._r = replicas
        self._done: set[tuple[str, str]] = set()
        """(site, hub policy) whose rules this process has seen there: a maker may die between policy and rules."""
        self._types: dict[str, tuple[float, frozenset[str]]] = {}

    async def localised(self, site: str, extensions: frozenset[str], *docs: Doc) -> list[Doc]:
        """Documents of ports or networks with the site's id of the policy they use; without any where the site knows no QoS."""
        if "qos" not in extensions:
            return [{k: v for k, v in d.items() if k != "qos_policy_id"} for d in docs]
        there = await self.ensure(site, {d["qos_policy_id"] for d in docs if d.get("qos_policy_id")})
        return [{**d, "qos_policy_id": there.get(d["qos_policy_id"])} if "qos_policy_id" in d else d for d in docs]

    async def ensure(self, site: str, ids: Iterable[str]) -> dict[str, str]:
        """hub policy -> the site's, rules in force; one that is gone at the hub is left out."""
        out: dict[str, str] = {}
        late = []
        for hub_id in ids:
            known = await self._r.site_id(site, QOS, hub_id)
            if known is not None and (site, hub_id) in self._done:
                out[hub_id] = known
            else:
                late.append(hub_id)
        policies = (await asyncio.gather(*(self._r.hub(QOS, i) for i in late))) if late else []
        for policy in policies:
            if policy is not None:
                out[policy["id"]] = await self._make(site, policy)
        return out

    async def sync(self, site: str, policy: Doc, site_id: str) -> bool:
        """Name and rules as the hub has them; False where the copy is gone."""
        row = await self._r.show(site, QOS, site_id)
        if row is None:
            self._done.discard((site, policy["id"]))
            return False
        await self._r.update(site, QOS, row, {"name": policy["name"]})
        async with self._r.alone(site, "qos-rules", policy["id"]):
            await self._rules(site, policy, site_id)
        self._done.add((site, policy["id"]))
        return True

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's policy is gone. Refused while a copy of its last user still has it: tried again."""
        self._done.discard((site, hub_id))
        await self._r.delete(site, QOS, hub_id, site_id)

    async def _make(self, site: str, policy: Doc) -> str:
        project = await self._r.south.shadow.project(site, policy["project_id"])

        async def make() -> Doc:
            return {"name": policy["name"]}

        for _ in range(2):
            owner = None if policy.get("shared") else policy["project_id"]
            site_id, _row = await self._r.ensure(site, QOS, policy["id"], owner=owner, project=project, make=make)
            if await self.sync(site, policy, site_id):
                break
            await self._r.store.pairs.drop(QOS.name, policy["id"], site)
        return site_id

    async def _rules(self, site: str, policy: Doc, site_id: str) -> None:
        """One rule per type and direction. Types the site's drivers cannot enforce are left out, and said in the log."""
        row = await self._r.show(site, QOS, site_id) or {"rules": []}
        have = {(r["type"], r.get("direction")): r for r in row["rules"]}
        types = await self._supported(site) if policy["rules"] else frozenset()
        for rule in policy["rules"]:
            kind = rule["type"]
            here = have.pop((kind, rule.get("direction")), None)
            if kind not in types:
                log.warning("quality of service not enforced here", site=site, policy=policy["id"], rule=kind)
                continue
            want = {k: rule[k] for k in RULES[kind] if k in rule}
            path = f"{QOS.path}/{site_id}/{kind}_rules"
            if here is None:
                accepted(site, "qos_rule", await self._r.call(site, "POST", path, {f"{kind}_rule": want}), 409)
            elif more := changes(here, want):
                accepted(site, "qos_rule", await self._r.call(site, "PUT", f"{path}/{here['id']}", {f"{kind}_rule": more}))
        for (kind, _), here in have.items():
            path = f"{QOS.path}/{site_id}/{kind}_rules/{here['id']}"
            accepted(site, "qos_rule", await self._r.call(site, "DELETE", path), 404)

    async def _supported(self, site: str) -> frozenset[str]:
        known = self._types.get(site)
        if known is None or time.monotonic() - known[0] > BELIEVED:
            reply = await self._r.call(site, "GET", "/v2.0/qos/rule-types")
            known = (time.monotonic(), frozenset(t["type"] for t in reply.expect(200).json()["rule_types"]) & RULES.keys())
            self._types[site] = known
        return known[1]

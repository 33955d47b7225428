"""Who may use a network's copy in a site: an RBAC policy per consuming shadow project, made at its first use there
(``NetworkReplicas``) and taken away when the hub's policy is."""

from __future__ import annotations

from cascade.reconcile.net.replica import NETWORK, Doc, Kind, Replicas, accepted, stamped

POLICY = Kind("rbac_policy", "/v2.0/rbac-policies", "rbac_policy")
SHARING = "sharing"
"""Kind of the key that means a network's policies; its hub id is the network's."""


class Sharing:
    """Only takes away: what a consumer needs is made with his first port."""

    def __init__(self, replicas: Replicas) -> None:
        self._r = replicas

    async def allowed(self, network: str) -> set[str] | None:
        """The hub projects that may use a network beside its owner; None = every one."""
        rows = await self._r.hub_list(POLICY, ("object_type", "network"), ("object_id", network), ("action", "access_as_shared"))
        found = {_target(r) for r in rows}
        return None if "*" in found else found

    async def sync(self, site: str, network: str, copy: str, allowed: set[str] | None) -> None:
        """Policies of the copy whose project may not use the hub's network any more go.

        Raises Refused while something of that project is still in the copy: tried again.
        """
        row = await self._r.show(site, NETWORK, copy) if allowed is not None else None
        if allowed is None or row is None or stamped(row) != network:  # an external network is the site's own
            return
        rows = await self._r.site_list(site, POLICY, ("object_type", "network"), ("object_id", copy))
        projects = await self._r.store.pairs.to_hub(site, [_target(r) for r in rows])
        for row in rows:
            pair = projects.get(_target(row))
            hub = pair.hub_id if pair is not None and pair.kind == "project" else _target(row)
            if hub not in allowed:
                accepted(site, POLICY.name, await self._r.call(site, "DELETE", f"{POLICY.path}/{row['id']}"), 404)


def _target(row: Doc) -> str:
    return str(row.get("target_tenant") or row.get("target_project") or "")

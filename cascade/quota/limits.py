"""What a project may use: the hub's own quota sets, read by the service account and believed for a few seconds.

What it does use is the ledger's (store); together they decide a create in one database transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cascade.model.errors import BadReply
from cascade.sites.south import South

COMPUTE = ("instances", "cores", "ram")
VOLUME = ("volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes", "groups")


class Limits:
    """Limits per (service, project[, user])."""

    def __init__(self, south: South, *, ttl: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._south, self._ttl, self._clock = south, ttl, clock
        self._known: dict[tuple[str, str, str | None], tuple[float, dict[str, int]]] = {}

    async def of(self, service: str, project: str) -> dict[str, int]:
        """Limits the ledger counts against. Raises SiteError if the hub does not say."""
        return {k: v for k, v in (await self.whole(service, project)).items() if v >= 0 and counted(k)}

    async def of_user(self, service: str, project: str, user: str) -> dict[str, int]:
        """Where one user of a project has limits of his own (Nova); his use alone counts against them."""
        if service != "compute":
            return {}
        whole, his = await self.whole(service, project), await self.whole(service, project, user)
        return {k: v for k, v in his.items() if v >= 0 and counted(k) and v != whole.get(k)}

    async def whole(self, service: str, project: str, user: str | None = None) -> dict[str, int]:
        """Every number of the quota set; -1 is unlimited."""
        hit = self._known.get((service, project, user))
        if hit is not None and hit[0] > self._clock():
            return hit[1]
        params = [("user_id", user)] if user is not None else []
        reply = await self._south.call("hub", service, "GET", f"/os-quota-sets/{project}", params=params)
        if reply.status != 200:
            raise BadReply("hub", f"quota set of {project}: {reply.status}")
        rows = reply.json()["quota_set"]
        limits = {k: v for k, v in rows.items() if isinstance(v, int)}
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[service, project, user] = (self._clock() + self._ttl, limits)
        return limits

    def forget(self, project: str | None = None) -> None:
        """After a write to a quota set or class."""
        for key in [k for k in self._known if project is None or k[1] == project]:
            del self._known[key]


def counted(resource: str) -> bool:
    """Resources the ledger keeps; the hub itself counts the rest, which it owns. Per type: ``gigabytes_<type>``."""
    return (
        resource in COMPUTE
        or resource in VOLUME
        or resource.startswith(tuple(f"{v}_" for v in ("volumes", "snapshots", "gigabytes")))
    )

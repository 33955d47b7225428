"""Hub writes to all sites: one key per (kind, hub id, site), level-triggered, tried again until the site has it.

Nothing is stored: a change missed by a crash is found again by ``sweep``, which compares a whole site with the hub, at
start, when a site joins and when one comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from cascade.model.errors import SiteUnreachable
from cascade.model.site import HUB
from cascade.reconcile.compute import Compute
from cascade.reconcile.volume import Volumes
from cascade.reconcile.workqueue import WorkQueue
from cascade.sites.registry import Sites

log = structlog.get_logger(__name__)

Key = tuple[str, str, str]
"""(kind, hub id, site); of a key pair the id is ``<user id>/<name>``."""
EVERYTHING = "*"
"""As hub id: compare all of that kind (``flavor``, ``volume_type``) at the site."""
SETTLE, BETWEEN = 1.0, 0.1
"""Seconds from the start to the first site's comparison, and from one site to the next."""


class Replicas:
    """``run`` works until cancelled."""

    def __init__(self, sites: Sites, compute: Compute, volumes: Volumes) -> None:
        self._sites, self._compute, self._volumes = sites, compute, volumes
        self.queue: WorkQueue[Key] = WorkQueue(self._work, name="replicas", limit=8)
        sites.health.on_up.append(self._returned)
        self._steps: dict[str, Callable[[str, str], Awaitable[object]]] = {
            "flavor": compute.flavors.sync,
            "keypair": self._keypair,
            "server_group": compute.sync_server_group,
            "volume_type": lambda site, hub_id: volumes.sync("volume_type", site, hub_id),
            "group_type": lambda site, hub_id: volumes.sync("group_type", site, hub_id),
            "qos_spec": volumes.qos.sync,
        }

    def changed(self, kind: str, hub_id: str) -> None:
        """The hub's object was written through us: every enabled site follows, the dead ones when they are back."""
        for site in self._sites.names():
            self.queue.add((kind, hub_id, site))

    def sweep(self, site: str, delay: float = 0.0) -> None:
        """Compare everything at one site with the hub, ``delay`` seconds from now."""
        self.queue.add(("flavor", EVERYTHING, site), delay)
        self.queue.add(("volume_type", EVERYTHING, site), delay)

    def _returned(self, target: str) -> None:
        """A site may have been written to while it was away, and has missed what changed here."""
        if target in self._sites.names():
            self.sweep(target)
        self.queue.hurry(lambda key: target in (key[2], HUB))

    async def run(self) -> None:
        """At start every site may have missed something; who waits for the first answer comes first."""
        for number, site in enumerate(self._sites.names()):
            self.sweep(site, SETTLE + number * BETWEEN)
        await self.queue.run()

    async def _work(self, key: Key) -> float | None:
        kind, hub_id, site = key
        if site not in self._sites.names():
            return None
        if not self._sites.usable(site):
            raise SiteUnreachable(site, "down")
        if hub_id == EVERYTHING:
            problems = await (self._compute.sync_flavors(site) if kind == "flavor" else self._volumes.sync_types(site))
            for problem in problems:
                log.error("replica differs; an operator has to look", site=site, problem=problem)
        else:
            await self._steps[kind](site, hub_id)
        return None

    async def _keypair(self, site: str, ident: str) -> None:
        user, _, name = ident.partition("/")
        await self._compute.sync_keypair(site, user, name)

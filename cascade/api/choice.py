"""From a request to a site: the facts ``routing.plan`` decides on, and its verdicts as the service's own faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cascade.api.core import Core
from cascade.api.request import Request
from cascade.api.zones import zone_sites
from cascade.model.errors import Fault
from cascade.routing import plan


@dataclass
class Spread:
    """Servers that must not share hosts: how many of them each site has, and how many of them a host takes."""

    members: dict[str, int] = field(default_factory=dict)
    per_host: int = 1


async def choose(
    core: Core, req: Request, *, zone: str | None, named: Mapping[str, str], volumes: bool = True, spread: Spread | None = None
) -> plan.Choice:
    """The site for a create. Raises the fault Nova or Cinder gives for the same mistake, before any side effect.

    ``spread``: a server is made, of this anti-affinity group or of none.
    """
    project = req.caller.project_id or ""
    names = core.sites.names()
    eligible = [n for n in names if core.sites.usable(n) and not core.sites.get(n).draining]
    home = await core.store.docs.get(f"home/{project}") or await core.store.index.home_of(project)
    if isinstance(home, dict):
        home = home.get("site")
    if home not in names:
        home = None
    if zone is None and not named:
        home, eligible = await _roomy(core, project, home, eligible, spread)
    try:
        choice = plan.choose(
            zone=zone, zones=zone_sites(core, req.service), named=named, home=home, project_id=project, eligible=eligible
        )
    except plan.NoSuchZone as e:
        raise _no_zone(req.service, str(e)) from e
    except plan.TwoSites as e:
        if volumes:
            raise Fault(400, "Invalid volume: Instance and volume are not in the same availability_zone.") from e
        raise Fault(400, "No valid host was found. What the request names is in more than one availability zone.") from e
    except plan.Nowhere as e:
        raise Fault(503, "No availability zone can take this request at the moment.", headers={"Retry-After": "10"}) from e
    if not core.sites.usable(choice.site):
        raise Fault(503, f"Availability zone {choice.site} is not available at the moment.", headers={"Retry-After": "10"})
    if core.sites.get(choice.site).draining and not named:
        raise Fault(503, f"Availability zone {choice.site} takes no new resources at the moment.", headers={"Retry-After": "60"})
    return choice


async def _roomy(
    core: Core, project: str, home: str | None, eligible: list[str], spread: Spread | None
) -> tuple[str | None, list[str]]:
    """Home and eligible sites, as far as they have a compute host to spare; as they were where none has: Nova will say so.

    Home is left only by a server, and only where no host of it could take one.
    """
    if home is not None and (spread is None or home not in eligible):
        return home, eligible
    spread = spread or Spread()
    for site in dict.fromkeys([*([home] if home else []), *plan.ranked(project, eligible)]):
        hosts = await core.hosts.ready(site)
        if site == home and hosts is None:
            break  # not known to be without room
        if (hosts or 0) * spread.per_host > spread.members.get(site, 0):
            return (home, eligible) if site == home else (None, [site])
    return home, eligible


def _no_zone(service: str, zone: str) -> Fault:
    if service == "volume":
        return Fault(400, f"Availability zone '{zone}' is invalid.")
    return Fault(400, "The requested availability zone is not available")

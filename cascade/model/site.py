"""A site as every layer sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HUB = "hub"
"""The target name of the hub. No site may be called so."""

Identity = Literal["mapped", "shared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One row of the sites table; changed only through the admin API."""

    name: str
    """Also its default availability zone's name north."""
    number: int
    """Small, unique, never used again: carried in integer ids (model.ids)."""
    cloud: str
    """Entry of clouds.yaml."""
    identity: Identity = "mapped"
    enabled: bool = True
    draining: bool = False
    zones: Mapping[str, str] = field(default_factory=dict)
    """Site zone -> north zone, for zones whose north name is not simply their own; the default zone maps to ``name``."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Per-site settings: ``wan_physnet``, ``external_network``, ``default_zone``..."""

    @property
    def default_zone(self) -> str:
        """The site's own name of the zone that is shown under the site's: no API says it, ``nova`` is the services' default."""
        return self.options.get("default_zone", "nova")


OPTIONS: Mapping[str, str] = {
    "default_zone": "The site's own name of its default availability zone; nova unless set.",
    "wan_physnet": "Physical network on which networks stand at this site as provider VLANs; wan unless set.",
    "interconnect": "What joins its wan_physnet with those of sites that have the same word here; none: nothing; wan unless set.",
    "external_network": "Name or id of its network for floating IPs and gateways; the one named as the hub's unless set.",
    "console_hosts": "Hosts, comma separated, that its consoles may be on beside the hosts of its APIs.",
    "domain": "Name of the domain at a mapped site that holds the shadow projects and users; cascade unless set.",
}
"""Every option a site may have. Values are strings."""

"""What the lab is made of, as data: releases, the hub, the sites, ports and quotas.

Adding a release or a site is adding one entry here; no other module names one.
"""

import os
from dataclasses import dataclass
from enum import StrEnum

SERVICES = ("keystone", "placement", "glance", "nova", "neutron", "cinder")
"""The services of a cloud. The place in this tuple is the offset from the cloud's base port."""

CONSOLES = {
    # program: the offset from the cloud's base port of the port it listens on
    "nova-novncproxy": 10,
    "nova-spicehtml5proxy": 11,
    "nova-serialproxy": 12,
}
"""Console proxies of a site."""

DATABASES: dict[str, tuple[str, ...]] = {service: (service,) for service in SERVICES if service != "nova"} | {
    "nova": ("nova_api", "nova_cell0", "nova")
}

PASSWORD = "secret"
"""The one password of the lab. Nothing here listens anywhere but on loopback."""

USER_REGION = "cascade"
"""The region of the hub's catalogue that users see: every endpoint in it is the gateway's."""

EXTERNAL_CIDR = "203.0.113.0/24"
EXTERNAL_GATEWAY = "203.0.113.1"

PORT_OFFSET = int(os.environ.get("CASCADE_LAB_PORT_OFFSET", "0"))
"""Added to every port, so that a second lab (with its own state folder) can stand beside the first."""

DATABASE_PORT = 13306 + PORT_OFFSET
BROKER_PORT = 15671 + PORT_OFFSET
BROKER_DIST_PORT = 15670 + PORT_OFFSET
EPMD_PORT = 14369 + PORT_OFFSET
GATEWAY_PORT = 19000 + PORT_OFFSET
GATEWAY_URL = f"http://127.0.0.1:{GATEWAY_PORT}"


class Identity(StrEnum):
    """Whose Keystone a cloud uses."""

    HUB = "hub"
    """It is the hub: it has the Keystone everybody logs in to."""
    MAPPED = "mapped"
    """A Keystone of its own, with users and projects of its own."""
    SHARED = "shared"
    """None of its own: its services trust the hub's Keystone."""


@dataclass(frozen=True)
class Release:
    """One OpenStack release line, installed into one virtual environment."""

    name: str
    requirements: tuple[str, ...]
    exclude_newer: str
    """Libraries published after this day are not considered. It replaces a constraints file."""
    eventlet: bool = False
    """Nova still monkey-patches with eventlet, in its WSGI module or in daemons alone: its API gets processes, not threads."""
    slow_rpc_poll: bool = False
    """oslo.messaging 14.9 to 17.3 look for an RPC reply only twice a second (lp#2035113)."""


@dataclass(frozen=True)
class Cloud:
    """One complete OpenStack: the hub or a site."""

    name: str
    release: str
    base_port: int
    identity: Identity
    base_mac: str
    """Own per cloud: ports of several clouds meet on one stretched network."""
    external_pool: tuple[int, int]
    """Last octets of the external addresses this cloud may hand out; disjoint over all clouds."""
    computes: int = 1
    autostart: bool = True

    @property
    def is_hub(self) -> bool:
        """Whether this is the hub: API services only, no broker, no agents."""
        return self.identity is Identity.HUB

    @property
    def services(self) -> tuple[str, ...]:
        """The services that run here."""
        without = {Identity.HUB: "placement", Identity.SHARED: "keystone"}.get(self.identity)
        return tuple(service for service in SERVICES if service != without)

    def port(self, service: str) -> int:
        """The port on which a service's API listens."""
        return self.base_port + PORT_OFFSET + SERVICES.index(service)

    def console_port(self, program: str) -> int:
        """The port on which a console proxy listens."""
        return self.base_port + PORT_OFFSET + CONSOLES[program]

    def url(self, service: str) -> str:
        """The root of a service's API."""
        return f"http://127.0.0.1:{self.port(service)}"

    @property
    def identity_url(self) -> str:
        """The Keystone this cloud's services and users authenticate against."""
        keystone = HUB if self.identity is Identity.SHARED else self
        return f"{keystone.url('keystone')}/v3"

    def database(self, name: str) -> str:
        """The name of a database on the lab's one server."""
        return f"{self.name}_{name}"

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"mysql+pymysql://root@127.0.0.1:{DATABASE_PORT}/{self.database(name)}?charset=utf8"

    @property
    def volume_quotas(self) -> dict[str, int]:
        """Cinder's default quotas: the hub's are what a tenant has in all, a site never says no first."""
        factor = 1 if self.is_hub else 10
        return {"volumes": 200 * factor, "snapshots": 200 * factor, "gigabytes": 20000 * factor}

    @property
    def transport_url(self) -> str:
        """The message bus. The hub has no daemons to talk to."""
        return "fake://" if self.is_hub else f"rabbit://guest:guest@127.0.0.1:{BROKER_PORT}/{self.name}"


_TOOLS = ("pymysql", "python-memcached", "uwsgi")

RELEASES = {
    release.name: release
    for release in (
        Release(
            "2026.2",
            (
                "nova==34.0.0",
                "neutron==29.0.0",
                "keystone==30.0.0",
                "cinder==29.0.0",
                "glance==33.0.0",
                "openstack-placement==16.0.0",
                *_TOOLS,
            ),
            exclude_newer="2026-11-23",
        ),
        Release(
            # What 2025.1 is upgraded to: both are SLURP releases, so the step over 2025.2 is one the services support.
            "2026.1",
            (
                "nova~=33.0",
                "neutron~=28.0",
                "keystone~=29.0",
                "cinder~=28.0",
                "glance~=32.0",
                "openstack-placement~=15.0",
                "cryptography<47",  # of that month, and without a curve that Nova's cursive names
                *_TOOLS,
            ),
            exclude_newer="2026-04-25",
            eventlet=True,
            slow_rpc_poll=True,
        ),
        Release(
            "2025.1",
            (
                "nova~=31.0",
                "neutron~=26.0",
                "keystone~=27.0",
                "cinder~=26.0",
                "glance~=30.0",
                "openstack-placement~=13.0",
                *_TOOLS,
            ),
            exclude_newer="2025-04-25",
            eventlet=True,
            slow_rpc_poll=True,
        ),
    )
}


def supported_step(old: str, new: str) -> bool:
    """Whether the services support going from one release to the other at once: the next one, or from SLURP to SLURP."""
    (year, half), (new_year, new_half) = (tuple(map(int, name.split("."))) for name in (old, new))
    releases = 2 * (new_year - year) + new_half - half
    return releases == 1 or (releases == 2 and half == 1)


HUB = Cloud("hub", "2026.2", 20000, Identity.HUB, "fa:16:3e:c0:00:00", (10, 99))

SITES = {
    site.name: site
    for site in (
        Cloud("paris", "2026.2", 21000, Identity.MAPPED, "fa:16:3e:c1:00:00", (100, 149), computes=2),
        Cloud("tokyo", "2025.1", 22000, Identity.MAPPED, "fa:16:3e:c2:00:00", (150, 199), computes=2),
        Cloud("osaka", "2026.2", 23000, Identity.SHARED, "fa:16:3e:c3:00:00", (200, 249), autostart=False),
    )
}

CLOUDS = {HUB.name: HUB} | SITES

CATALOGUE: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    # service: (catalogue type, catalogue name, path at the service, path at the gateway)
    "keystone": (("identity", "keystone", "/v3", "/identity/v3"),),
    "placement": (("placement", "placement", "", "/placement"),),
    "glance": (("image", "glance", "", "/image"),),
    "nova": (("compute", "nova", "/v2.1", "/compute/v2.1"),),
    "neutron": (("network", "neutron", "", "/network"),),
    "cinder": (
        ("block-storage", "cinder", "/v3", "/volume/v3"),
        ("volumev3", "cinderv3", "/v3", "/volume/v3"),
    ),
}

ROLES = ("admin", "manager", "member", "reader", "service")

TENANTS = (
    # project, user, role: at the hub, and at mapped sites for comparing direct with through-the-gateway
    ("demo", "demo", "member"),
    ("demo", "demo-reader", "reader"),
    ("other", "other", "member"),
)

FLAVORS = (
    # id, name, MiB, vcpus, GiB
    ("42", "m1.nano", 128, 1, 1),
    ("84", "m1.micro", 192, 1, 1),
    ("1", "m1.tiny", 512, 1, 1),
)

SITE_FLAVORS = (("direct", "direct", 64, 1, 1),)

SUBNET_POOLS = (
    # name, prefix, default prefix length
    ("default-v4", "10.64.0.0/12", 26),
    ("default-v6", "fd00:ca5c::/48", 64),
)

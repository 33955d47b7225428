"""What every cloud has from the start, as the lab's clouds have it."""

from __future__ import annotations

from sim import seed_population
from sim.keystone_directory import grant, made
from sim.world import SERVICES, Cloud, Row, World, new_id

PASSWORD = "secret"
ROLES = ("admin", "manager", "member", "reader", "service")
ACCOUNTS = (
    # user, project, roles
    ("admin", "admin", ("admin",)),
    ("cascade", "service", ("admin", "service")),
    ("demo", "demo", ("member",)),
    ("demo-reader", "demo", ("reader",)),
    ("other", "other", ("member",)),
)
FLAVORS = (("42", "m1.nano", 128, 1, 1), ("84", "m1.micro", 192, 1, 1), ("1", "m1.tiny", 512, 1, 1))
SITE_FLAVORS = (("direct", "direct", 64, 1, 1),)
CATALOGUE = (
    # service, type, name, path below the service's root
    ("identity", "identity", "keystone", "/v3"),
    ("placement", "placement", "placement", ""),
    ("image", "image", "glance", ""),
    ("compute", "compute", "nova", "/v2.1"),
    ("network", "network", "neutron", ""),
    ("volume", "block-storage", "cinder", "/v3"),
    ("volume", "volumev3", "cinderv3", "/v3"),
)
EXTERNAL = "203.0.113.0/24"
EXTERNAL_GATEWAY = "203.0.113.1"
SUBNET_POOLS = (("default-v4", ["10.64.0.0/12"], 26, 4), ("default-v6", ["fd00:ca5c::/48"], 64, 6))


def plant(world: World, clouds: list[Cloud]) -> None:
    """Fill empty clouds. The hub's Keystone also names the endpoints users see, and those of sites that share it."""
    for cloud in clouds:
        if cloud.keystone is None:
            _identity(cloud)
            _endpoints(cloud, cloud.name, cloud.root)
            if cloud.hub:
                _endpoints(cloud, world.options.region, world.options.gateway_url)
                for site in world.clouds.values():
                    if site.keystone is cloud:
                        _endpoints(cloud, site.name, site.root)
    for cloud in clouds:
        _flavors(cloud)
        _networks(cloud)
        _volumes(cloud)
        if world.options.servers:
            seed_population.plant(world, cloud, PASSWORD)


def _identity(cloud: Cloud) -> None:
    made(cloud, "domains", id="default", name="Default", description="The default domain")
    roles = {name: made(cloud, "roles", name=name, options={"immutable": True}) for name in ROLES}
    for user, project, granted in ACCOUNTS:
        place = next((p for p in cloud["projects"].values() if p["name"] == project), None) or made(
            cloud, "projects", name=project, domain_id="default", parent_id="default"
        )
        who = made(cloud, "users", name=user, domain_id="default", password=PASSWORD, default_project_id=place["id"])
        for role in granted:
            grant(cloud, "project", place["id"], who["id"], roles[role]["id"])
        if user == "admin":
            grant(cloud, "system", "all", who["id"], roles["admin"]["id"])


def _endpoints(cloud: Cloud, region: str, root: str) -> None:
    cloud["regions"][region] = {"id": region, "description": "", "parent_region_id": None}
    for service, kind, name, path in CATALOGUE:
        if cloud.hub and service == "placement" and region == cloud.name:
            continue
        row = next((s for s in cloud["services"].values() if s["name"] == name), None)
        row = row or made(cloud, "services", name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            url = root + SERVICES[service] + path
            made(cloud, "endpoints", service_id=row["id"], interface=interface, region_id=region, url=url)


def project(cloud: Cloud, name: str) -> str:
    """The id of a seeded project."""
    return next(str(p["id"]) for p in cloud.identity["projects"].values() if p["name"] == name)


def flavor(ident: str, name: str, ram: int, vcpus: int, disk: int) -> Row:
    """A flavor's row."""
    return {
        "id": ident, "name": name, "ram": ram, "vcpus": vcpus, "disk": disk, "ephemeral": 0, "swap": 0, "public": True,
        "disabled": False, "rxtx": 1.0, "description": None, "extra_specs": {}, "access": [],
    }  # fmt: skip


def _flavors(cloud: Cloud) -> None:
    for spec in FLAVORS + (() if cloud.hub else SITE_FLAVORS):
        cloud["flavors"][spec[0]] = flavor(*spec)


def _networks(cloud: Cloud) -> None:
    now, owner = cloud.now(), project(cloud, "admin")
    base = {"project_id": owner, "created_at": now, "updated_at": now, "revision_number": 1, "tags": [], "description": ""}
    first = 10 if cloud.hub else 100 + (cloud.number - 1) % 3 * 50
    subnet, network = new_id(), new_id()
    cloud["networks"][network] = {
        **base, "id": network, "name": "public", "admin_state_up": True, "mtu": 1500, "status": "ACTIVE", "shared": False,
        "router:external": True, "is_default": True, "provider:network_type": "flat", "provider:physical_network": "public",
        "provider:segmentation_id": None, "availability_zone_hints": [], "port_security_enabled": True, "qos_policy_id": None,
        "dns_domain": "", "vlan_transparent": False, "qinq": False,
    }  # fmt: skip
    cloud["subnets"][subnet] = {
        **base, "id": subnet, "name": "public", "network_id": network, "ip_version": 4, "cidr": EXTERNAL, "enable_dhcp": False,
        "gateway_ip": EXTERNAL_GATEWAY, "subnetpool_id": None, "ipv6_ra_mode": None, "ipv6_address_mode": None,
        "allocation_pools": [{"start": f"203.0.113.{first}", "end": f"203.0.113.{first + (89 if cloud.hub else 49)}"}],
        "host_routes": [], "dns_nameservers": [], "service_types": [],
    }  # fmt: skip
    if cloud.hub:
        for name, prefixes, length, version in SUBNET_POOLS:
            pool = new_id()
            cloud["subnetpools"][pool] = {
                **base, "id": pool, "name": name, "default_prefixlen": length, "min_prefixlen": 8 if version == 4 else 64,
                "max_prefixlen": 32 if version == 4 else 128, "is_default": True, "shared": True, "prefixes": prefixes,
                "ip_version": version, "default_quota": None, "address_scope_id": None,
            }  # fmt: skip


def _volumes(cloud: Cloud) -> None:
    ident = new_id()
    cloud["volume_types"][ident] = {
        "id": ident, "name": "__DEFAULT__", "description": "Default Volume Type", "public": True, "extra_specs": {},
        "qos_specs_id": None, "access": [], "encryption": None, "n": cloud.serial(),
    }  # fmt: skip
    ident = new_id()
    cloud["group_types"][ident] = {
        "id": ident, "name": "default_cgsnapshot_type", "description": "Default group type for migrating cgsnapshot",
        "public": True, "access": [], "group_specs": {"consistent_group_snapshot_enabled": "<is> True"},
    }  # fmt: skip

"""Who may use a cloud and what is in it from the start. Everything here may run again at any time."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from lab.data import (
    CATALOGUE,
    EXTERNAL_CIDR,
    EXTERNAL_GATEWAY,
    FLAVORS,
    GATEWAY_URL,
    HUB,
    PASSWORD,
    ROLES,
    SITE_FLAVORS,
    SUBNET_POOLS,
    TENANTS,
    USER_REGION,
    Cloud,
    Identity,
)
from lab.rest import Json, Rest

INTERFACES = ("public", "internal", "admin")


def identity(cloud: Cloud) -> None:
    """Accounts and catalogue of a cloud, in its own Keystone or (shared identity) in the hub's."""
    admin = Rest(cloud.identity_url, "admin", "admin")
    if cloud.identity is not Identity.SHARED:
        _accounts(cloud, admin)
    _catalogue(cloud, admin)


def data(cloud: Cloud) -> None:
    """Flavors and networks of a cloud."""
    admin = Rest(cloud.identity_url, "admin", "admin")
    _flavors(cloud, admin)
    _networks(cloud, admin)


def collection(admin: Rest, url: str, kind: str, **common: str) -> Callable[..., Json]:
    """A function that gives back what has a name in a collection, created if there is none. ``common``: a filter, and part of
    what is created."""
    query = f"?{urlencode(common)}" if common else ""
    known: dict[str, Json] = {item["name"]: item for item in admin.get(url + query)[f"{kind}s"]}

    def ensure(name: str, **attributes: Any) -> Json:
        if name not in known:
            made: Json = admin.post(url, {kind: {"name": name, **common, **attributes}})
            known[name] = made[kind]
        return known[name]

    return ensure


def _accounts(cloud: Cloud, admin: Rest) -> None:
    url = cloud.identity_url
    role = collection(admin, f"{url}/roles", "role")
    project = collection(admin, f"{url}/projects", "project")
    user = collection(admin, f"{url}/users", "user")
    roles = {name: role(name)["id"] for name in ROLES}
    granted = {
        (item["user"]["id"], item["scope"]["project"]["id"], item["role"]["id"])
        for item in admin.get(f"{url}/role_assignments")["role_assignments"]
        if "user" in item and "project" in item["scope"]
    }

    def grant(name: str, where: str, what: str) -> None:
        place = project(where, domain_id="default")["id"]
        who = user(name, password=PASSWORD, domain_id="default", default_project_id=place)["id"]
        if (who, place, roles[what]) not in granted:
            admin.put(f"{url}/projects/{place}/users/{who}/roles/{roles[what]}")

    # The hub's service users also serve sites with shared identity, hence placement even there.
    for name in ("placement", "glance", "nova", "neutron", "cinder", "cascade"):
        for what in ("admin", "service"):
            grant(name, "service", what)
    for where, name, what in TENANTS:
        grant(name, where, what)
    admin.put(f"{url}/system/users/{user('admin')['id']}/roles/{roles['admin']}")


def service(cloud: Cloud, users: Iterable[str], offered: tuple[str, str], urls: Mapping[str, str]) -> bool:
    """A further service of a cloud that runs: its accounts, and ``offered`` (type, name) in its catalogue at a URL per region.

    True where the catalogue was changed.
    """
    url, admin = cloud.identity_url, Rest(cloud.identity_url, "admin", "admin")
    kind, name = offered
    for who in users:
        service_user(admin, url, who)
    catalogue = Catalogue(admin, url)
    for region, address in urls.items():
        catalogue.register(kind, name, region, address)
    return catalogue.changed


class Catalogue:
    """A Keystone's catalogue, as it was when this was made and with what was registered since."""

    def __init__(self, admin: Rest, url: str) -> None:
        """Read it."""
        self._admin, self._url = admin, url
        self._regions = {item["id"] for item in admin.get(f"{url}/regions")["regions"]}
        self._services = {item["type"]: item["id"] for item in admin.get(f"{url}/services")["services"]}
        self._endpoints = {
            (item["service_id"], item["region_id"], item["interface"]): item for item in admin.get(f"{url}/endpoints")["endpoints"]
        }
        self.changed = False

    def register(self, kind: str, name: str, region: str, address: str) -> None:
        """Have a service at an address in a region, on every interface."""
        if region not in self._regions:
            self._admin.post(f"{self._url}/regions", {"region": {"id": region}})
            self._regions.add(region)
        if kind not in self._services:
            made = self._admin.post(f"{self._url}/services", {"service": {"type": kind, "name": name}})
            self._services[kind] = made["service"]["id"]
        for interface in INTERFACES:
            self._endpoint(self._services[kind], region, interface, address)

    def _endpoint(self, service: str, region: str, interface: str, address: str) -> None:
        known = self._endpoints.get((service, region, interface))
        if known is None:
            endpoint = {"service_id": service, "region_id": region, "interface": interface, "url": address}
            self._admin.post(f"{self._url}/endpoints", {"endpoint": endpoint})
        elif known["url"] != address:
            self._admin.patch(f"{self._url}/endpoints/{known['id']}", {"endpoint": {"url": address}})
        else:
            return
        self.changed = True


def _catalogue(cloud: Cloud, admin: Rest) -> None:
    catalogue = Catalogue(admin, cloud.identity_url)
    keystone = HUB if cloud.identity is Identity.SHARED else cloud
    for service in ("keystone", *(name for name in cloud.services if name != "keystone")):
        owner = keystone if service == "keystone" else cloud
        for kind, name, path, gateway_path in CATALOGUE[service]:
            catalogue.register(kind, name, cloud.name, owner.url(service) + path)
            if cloud.is_hub:
                catalogue.register(kind, name, USER_REGION, GATEWAY_URL + gateway_path)
    if cloud.is_hub:  # it has none itself; the gateway shows the sites'
        for kind, name, _, gateway_path in CATALOGUE["placement"]:
            catalogue.register(kind, name, USER_REGION, GATEWAY_URL + gateway_path)


def service_user(admin: Rest, url: str, name: str) -> None:
    """A service's account in the project of services."""
    project = collection(admin, f"{url}/projects", "project")("service", domain_id="default")["id"]
    user = collection(admin, f"{url}/users", "user")(name, password=PASSWORD, domain_id="default")["id"]
    role = collection(admin, f"{url}/roles", "role")
    for what in ("admin", "service"):
        admin.put(f"{url}/projects/{project}/users/{user}/roles/{role(what)['id']}")


def _flavors(cloud: Cloud, admin: Rest) -> None:
    url = f"{cloud.url('nova')}/v2.1/flavors"
    known = {item["id"] for item in admin.get(f"{url}?is_public=None")["flavors"]}
    wanted: Iterable[tuple[str, str, int, int, int]] = FLAVORS if cloud.is_hub else SITE_FLAVORS
    for ident, name, ram, vcpus, disk in wanted:
        if ident not in known:
            admin.post(url, {"flavor": {"id": ident, "name": name, "ram": ram, "vcpus": vcpus, "disk": disk}})


def _networks(cloud: Cloud, admin: Rest) -> None:
    url = f"{cloud.url('neutron')}/v2.0"
    network = collection(admin, f"{url}/networks", "network")(
        "public",
        **{
            "router:external": True,
            "is_default": True,
            "provider:network_type": "flat",
            "provider:physical_network": "public",
        },
    )
    first, last = (EXTERNAL_CIDR.rsplit(".", 1)[0] + f".{octet}" for octet in cloud.external_pool)
    collection(admin, f"{url}/subnets", "subnet")(
        "public",
        network_id=network["id"],
        ip_version=4,
        cidr=EXTERNAL_CIDR,
        gateway_ip=EXTERNAL_GATEWAY,
        enable_dhcp=False,
        allocation_pools=[{"start": first, "end": last}],
    )
    if cloud.is_hub:
        pool = collection(admin, f"{url}/subnetpools", "subnetpool")
        for name, prefix, length in SUBNET_POOLS:
            pool(name, prefixes=[prefix], default_prefixlen=length, is_default=True, shared=True)

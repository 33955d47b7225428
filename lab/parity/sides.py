"""The sides of a comparison: a site asked directly, and the gateway in front of all of them."""

from dataclasses import dataclass
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from lab.data import GATEWAY_URL, SITES, USER_REGION, Identity
from lab.paths import State
from lab.report import LabError

CASCADE = "cascade"


@dataclass(frozen=True)
class Side:
    """A cloud as Tempest sees it: a Keystone, and a region of its catalogue."""

    name: str
    auth_url: str
    region: str

    @property
    def account(self) -> str:
        """Its administrator in clouds.yaml."""
        return f"{self.name}-admin"


DIRECT: dict[str, Side] = {
    # A site that shares the hub's Keystone cannot be asked past the hub.
    site.name: Side(site.name, site.identity_url, site.name)
    for site in SITES.values()
    if site.identity is Identity.MAPPED
}
SIDES: dict[str, Side] = DIRECT | {CASCADE: Side(CASCADE, f"{GATEWAY_URL}/identity/v3", USER_REGION)}
DEFAULT_DIRECT = next(iter(DIRECT))


@dataclass(frozen=True)
class Ability:
    """What a cloud says it can do."""

    compute: tuple[int, int]
    """Highest microversion."""
    volume: tuple[int, int]
    extensions: tuple[str, ...]
    """Of Neutron."""
    backends: tuple[str, ...]
    """Of Cinder."""
    vendor: str
    protocol: str
    computes: int
    backup: bool


def connect(state: State, account: str) -> Any:
    """A connection with an account of clouds.yaml."""
    config = openstack.config.OpenStackConfig(config_files=[str(state.clouds_file)])
    return openstack.connection.Connection(config=config.get_one(account))


def microversions(connection: Any) -> dict[str, tuple[int, int]]:
    """The highest microversions of Nova and Cinder."""
    try:
        return {
            "compute": connection.compute.get_endpoint_data().max_microversion,
            "volume": connection.block_storage.get_endpoint_data().max_microversion,
        }
    except (SDKException, ClientException) as error:
        raise LabError(f"{connection.config.name} does not answer: {error}") from None


def measure(state: State, direct: Side) -> Ability:
    """What the direct side can do, with the highest microversions that both it and Cascade have."""
    connection = connect(state, direct.account)
    here, there = microversions(connection), microversions(connect(state, SIDES[CASCADE].account))
    pools = list(connection.block_storage.backend_pools())
    if not pools:
        raise LabError(f"{direct.name}: Cinder knows no backend")
    first = pools[0].capabilities
    return Ability(
        compute=min(here["compute"], there["compute"]),
        volume=min(here["volume"], there["volume"]),
        extensions=tuple(sorted(item.alias for item in connection.network.extensions())),
        backends=tuple(sorted({pool.capabilities["volume_backend_name"] for pool in pools})),
        vendor=first["vendor_name"],
        protocol=first["storage_protocol"],
        computes=sum(1 for item in connection.compute.services(binary="nova-compute") if item.state == "up"),
        backup=any(item.state == "up" for item in connection.block_storage.services(binary="cinder-backup")),
    )

"""What Cascade is for, in one minute, as an ordinary tenant through the ordinary API."""

import os
from collections.abc import Callable
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException
from rich.table import Table

from lab.data import SITES
from lab.paths import State
from lab.report import LabError, console, say, step

NAME = "demo"
CIDR = "10.20.0.0/24"


ADVICE = (
    "Go on by hand:",
    "  eval $(bin/lab env)            # you are now user demo of project demo, at the gateway",
    "  .venv/bin/openstack server list --long",
    "  bin/lab freeze tokyo           # a site hangs; list again, then: bin/lab thaw tokyo",
    "  bin/lab status                 # what runs underneath",
)


def run(state: State, advice: tuple[str, ...] = ADVICE) -> None:
    """Play the demo; what an earlier run left is removed first. ``advice``: what to say at the end."""
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(state.clouds_file)
    try:
        _play(openstack.connect(cloud="cascade"))
    except (SDKException, ClientException) as error:
        raise LabError(f"the gateway says: {error}") from error
    for line in advice:
        say(line)


def _play(conn: Any) -> None:
    zones = [zone.name for zone in conn.compute.availability_zones() if zone.name in SITES and zone.state["available"]]
    if not zones:
        raise LabError("the gateway shows no site that is up; is the lab up?")
    with step("remove what an earlier demo left"):
        _clean(conn)
    say("One network, one image, servers wherever they are wanted, one API.")
    with step("network and subnet, made once"):
        network = conn.network.create_network(name=NAME)
        conn.network.create_subnet(network_id=network.id, name=NAME, cidr=CIDR, ip_version=4)
    with step("image, uploaded once"):
        image = conn.image.create_image(
            name=NAME, disk_format="raw", container_format="bare", data=b"cascade" * 1000, validate_checksum=False
        )
    flavor = conn.compute.find_flavor("m1.nano", ignore_missing=False)
    servers = {}
    for zone in (*zones, None):
        with step(f"server in {zone or 'any zone'}"):
            where = {"availability_zone": zone} if zone else {}
            servers[zone] = conn.compute.create_server(
                name=f"{NAME}-{zone or 'anywhere'}",
                image_id=image.id,
                flavor_id=flavor.id,
                networks=[{"uuid": network.id}],
                **where,
            )
    for zone, server in servers.items():
        with step(f"server in {zone or 'any zone'} is ACTIVE"):
            servers[zone] = conn.compute.wait_for_server(server, interval=0.5, wait=120)
    for zone in zones:
        with step(f"volume in {zone}, attached"):
            volume = conn.block_storage.create_volume(name=f"{NAME}-{zone}", size=1, availability_zone=zone)
            conn.block_storage.wait_for_status(volume, "available", ["error"], 0.3, 60)
            conn.compute.create_volume_attachment(servers[zone], volume_id=volume.id)
            conn.block_storage.wait_for_status(volume, "in-use", ["error"], 0.3, 60)
    _show(conn)


def _clean(conn: Any) -> None:
    """Remove our own earlier resources, servers first."""
    servers = [server for server in conn.compute.servers() if server.name.startswith(f"{NAME}-")]
    for server in servers:
        conn.compute.delete_server(server)
    for server in servers:
        conn.compute.wait_for_delete(server, interval=0.3, wait=120)
    for volume in [found for found in conn.block_storage.volumes() if (found.name or "").startswith(f"{NAME}-")]:
        if volume.status == "in-use":
            conn.block_storage.wait_for_status(volume, "available", ["error"], 0.3, 60)
        conn.block_storage.delete_volume(volume)
    for image in conn.image.images(name=NAME, owner=conn.current_project_id):
        conn.image.delete_image(image)
    for network in conn.network.networks(name=NAME, project_id=conn.current_project_id):
        for port in conn.network.ports(network_id=network.id):
            if not port.device_owner.startswith("network:"):
                conn.network.delete_port(port)
        conn.network.delete_network(network)


def _show(conn: Any) -> None:
    """What the command line would show, and how to go on."""

    def zone_state(zone: Any) -> str:
        return "available" if zone.state["available"] else "not available"

    _table(
        "openstack server list --long",
        conn.compute.servers(),
        {
            "Name": lambda server: server.name,
            "Status": lambda server: server.status,
            "Networks": lambda server: ", ".join(
                f"{name}={', '.join(entry['addr'] for entry in entries)}" for name, entries in (server.addresses or {}).items()
            ),
            "Availability Zone": lambda server: server.availability_zone,
        },
    )
    _table(
        "openstack volume list --long",
        conn.block_storage.volumes(),
        {
            "Name": lambda volume: volume.name,
            "Status": lambda volume: volume.status,
            "Zone": lambda volume: volume.availability_zone,
        },
    )
    _table(
        "openstack availability zone list --compute",
        conn.compute.availability_zones(),
        {"Zone Name": lambda zone: zone.name, "Zone Status": zone_state},
    )


def _table(title: str, rows: Any, columns: dict[str, Callable[[Any], object]]) -> None:
    table = Table(*columns, title=f"$ {title}", title_justify="left")
    for row in rows:
        table.add_row(*(str(show(row)) for show in columns.values()))
    console.print(table)

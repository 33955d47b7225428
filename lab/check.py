"""Prove that hub and sites really work, past the gateway: `python -m lab.check [SITE...]`."""

import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack import exceptions

from lab.data import HUB, SITES
from lab.paths import state
from lab.report import LabError, console, say, step


def site(name: str) -> None:
    """Image, network, server with a port that OVN binds, volume, attachment; then everything is deleted."""
    conn: Any = openstack.connect(cloud=f"{name}-demo")
    tag = f"check-{uuid.uuid4().hex[:6]}"
    undo: list[Callable[[], object]] = []
    try:
        with step(f"{name}: image"):
            image = conn.image.create_image(
                name=tag, disk_format="raw", container_format="bare", data=b"x" * 1024, validate_checksum=False
            )
            undo.append(lambda: conn.image.delete_image(image))
        with step(f"{name}: network"):
            network = conn.network.create_network(name=tag)
            undo.append(lambda: conn.network.delete_network(network))
            conn.network.create_subnet(network_id=network.id, cidr="10.99.0.0/24", ip_version=4, name=tag)
        with step(f"{name}: server ACTIVE"):
            server = conn.compute.create_server(name=tag, image_id=image.id, flavor_id="direct", networks=[{"uuid": network.id}])
            undo.append(lambda: _delete_server(conn, server))
            server = conn.compute.wait_for_server(server, interval=0.2, wait=90)
        port = next(openstack.connect(cloud=f"{name}-admin").network.ports(device_id=server.id))
        if port.status != "ACTIVE" or port.binding_vif_type != "ovs":
            raise LabError(f"{name}: port is {port.status}, bound as {port.binding_vif_type}")
        with step(f"{name}: volume available"):
            volume = conn.block_storage.create_volume(size=1, name=tag)
            undo.insert(0, lambda: conn.block_storage.delete_volume(volume))  # last: only then it is surely free
            conn.block_storage.wait_for_status(volume, "available", ["error"], 0.2, 60)
        with step(f"{name}: volume attached"):
            conn.compute.create_volume_attachment(server, volume_id=volume.id)
            volume = conn.block_storage.get_volume(volume.id)
            conn.block_storage.wait_for_status(volume, "in-use", ["error"], 0.2, 60)
            conn.compute.delete_volume_attachment(server, volume.id)
            conn.block_storage.wait_for_status(volume, "available", ["error"], 0.2, 60)
    finally:
        with step(f"{name}: everything deleted"):
            for action in reversed(undo):
                action()


def _delete_server(conn: Any, server: Any) -> None:
    conn.compute.delete_server(server)
    conn.compute.wait_for_delete(server, interval=0.2, wait=60)


def hub() -> None:
    """The hub's Nova and Cinder give their native faults."""
    conn: Any = openstack.connect(cloud="hub-demo")
    image = conn.image.create_image(name="check", disk_format="raw", container_format="bare", data=b"x", validate_checksum=False)
    unknown = str(uuid.uuid4())

    def boot() -> None:
        conn.compute.create_server(name="check", image_id=image.id, flavor_id="42", networks=[{"uuid": unknown}])

    try:
        _expect(400, "Nova, a server on an unknown network", boot)
        _expect(404, "Nova, an unknown server", lambda: conn.compute.get_server(unknown))
        _expect(404, "Cinder, an unknown volume", lambda: conn.block_storage.get_volume(unknown))
    finally:
        conn.image.delete_image(image)
    with step("hub: auto-allocated topology"):
        conn.network.get_auto_allocated_topology()
        conn.network.delete_auto_allocated_topology()


def _expect(status: int, what: str, call: Callable[[], object]) -> None:
    with step(f"hub: {what} is {status}"):
        try:
            call()
        except exceptions.HttpException as error:
            if error.status_code != status:
                raise LabError(f"hub: {what}: {error.status_code} {error}") from error
            say(f"      {error.details or error}")
        else:
            raise LabError(f"hub: {what}: no fault at all")


def main(names: list[str]) -> int:
    """Check the hub and the sites named (or those that start by themselves)."""
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(state().clouds_file)
    try:
        for name in names or [HUB.name, *(found.name for found in SITES.values() if found.autostart)]:
            hub() if name == HUB.name else site(name)
    except (LabError, exceptions.SDKException, ClientException) as error:
        console.print(str(error), markup=False, style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

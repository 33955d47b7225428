"""What Tempest must find in a cloud before it starts. May run any number of times; names what it makes after the side,
since what is made through Cascade also appears at the sites."""

from dataclasses import dataclass
from typing import Any

from lab.parity.sides import Side
from lab.report import LabError

IMAGE_BYTES = b"parity" * 10923
FLAVORS = (
    # id, name, MiB; of the lab anyway, made again where they are missing
    ("42", "m1.nano", 128),
    ("84", "m1.micro", 192),
)
PUBLIC = "public"


@dataclass(frozen=True)
class Resources:
    """Names and ids for tempest.conf."""

    image: str
    image_name: str
    image_alt: str
    flavor: str
    flavor_name: str
    flavor_alt: str
    flavor_alt_name: str
    network: str
    multiattach: str


def ensure(connection: Any, side: Side) -> Resources:
    """Make what is missing."""
    first = f"parity-{side.name}-1"
    one, two = _image(connection, first), _image(connection, f"parity-{side.name}-2")
    for ident, name, ram in FLAVORS:
        if not connection.compute.find_flavor(ident, ignore_missing=True):
            connection.compute.create_flavor(id=ident, name=name, ram=ram, vcpus=1, disk=1)
    network = next(iter(connection.network.networks(name=PUBLIC, is_router_external=True)), None)
    if network is None:
        raise LabError(f"{side.name}: no external network {PUBLIC}; bin/lab up makes it")
    multiattach = f"parity-{side.name}-multiattach"
    if not connection.block_storage.find_type(multiattach, ignore_missing=True):
        connection.block_storage.create_type(name=multiattach, extra_specs={"multiattach": "<is> True"})
    return Resources(one, first, two, *FLAVORS[0][:2], *FLAVORS[1][:2], network.id, multiattach)


def _image(connection: Any, name: str) -> str:
    """The id of a small public image."""
    for image in connection.image.images(name=name, status="active"):
        return str(image.id)
    image = connection.image.create_image(
        name=name,
        disk_format="raw",
        container_format="bare",
        visibility="public",
        data=IMAGE_BYTES,
        validate_checksum=False,
    )
    return str(image.id)

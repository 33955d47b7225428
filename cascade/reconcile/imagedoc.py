"""Image documents: what of them goes from hub to site and back, and whether two images hold the same bits. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cascade.routing import translate

Doc = dict[str, Any]

STAMP = "cascade_image:"
"""Before the hub's id, as a *tag* of every image at a site that stands for a hub image. Not a property: Nova and
Cinder copy properties of an image into its servers, volumes and their snapshots, and a copied stamp would lie."""
HIDDEN = "cascade_"
"""No property or tag that begins so is ever anything a user said."""
_BASE = frozenset({
    "id", "name", "visibility", "owner", "protected", "status", "container_format", "disk_format", "created_at",
    "updated_at", "min_disk", "min_ram", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "file",
    "self", "schema", "locations", "direct_url", "tags", "stores", "os_hidden",
})  # fmt: skip
_RESERVED = (HIDDEN, "os_glance_", "location", "deleted")
"""Glance refuses them from anybody (``deleted``, ``deleted_at``, ``location``, its own namespace); and ours."""
_LOCAL = frozenset({
    "base_image_ref", "boot_roles", "instance_uuid", "owner_id", "owner_project_name", "owner_user_name", "user_id",
    "image_state", "image_location", "kernel_id", "ramdisk_id",
})  # fmt: skip
"""Nova's notes on where a snapshot came from: true only where it was made. Kernel and ramdisk are images themselves."""
NAMES = ("owner_project_name", "owner_user_name")
"""Nova's names of a snapshot's owner: at a site those of a shadow. The birth writes the right ones."""
_SIGNED = "img_signature"
"""A signature is checked when data is uploaded, with a certificate that only the hub's key manager has."""


def stamp(hub_id: str) -> str:
    """The tag of a replica."""
    return STAMP + hub_id


def stamped(image: Mapping[str, Any]) -> str | None:
    """The hub's id a site's image stands for."""
    return next((t.removeprefix(STAMP) for t in image.get("tags") or () if t.startswith(STAMP)), None)


def properties(image: Mapping[str, Any], *, local: bool) -> dict[str, str]:
    """The custom properties worth having elsewhere; with ``local`` also those true only where the image was made."""
    return {
        k: v
        for k, v in image.items()
        if k not in _BASE
        and isinstance(v, str)
        and not k.startswith(_RESERVED)
        and (local or (k not in _LOCAL and not k.startswith(_SIGNED)))
    }


def south(image: Mapping[str, Any], mapping: Mapping[str, str]) -> Doc:
    """The body of a replica's create, without an id: never public, never protected, hidden from the site's own lists."""
    return {
        **_facts(image),
        **translate.rewrite(properties(image, local=False), mapping, opaque=()),
        "visibility": "shared",
        "protected": False,
        "tags": sorted({t for t in image.get("tags") or () if not t.startswith(HIDDEN)} | {stamp(image["id"])}),
    }


def north(image: Mapping[str, Any], mapping: Mapping[str, str]) -> Doc:
    """The body of the hub's record of an image born at a site, without an id."""
    return {
        **_facts(image),
        **{k: v for k, v in translate.rewrite(properties(image, local=True), mapping, opaque=()).items() if k not in NAMES},
        "visibility": image["visibility"] if image.get("visibility") in ("private", "shared") else "private",
        "tags": sorted(t for t in image.get("tags") or () if not t.startswith(HIDDEN)),
    }


def _facts(image: Mapping[str, Any]) -> Doc:
    keys = ("name", "disk_format", "container_format", "min_disk", "min_ram")
    return {k: image[k] for k in keys if image.get(k) is not None}


def patch(want: Mapping[str, Any], have: Mapping[str, Any]) -> list[Doc]:
    """JSON-patch operations from ``have`` (an image document) to ``want`` (a body of ``south`` or ``north``).

    Removes only what such a body could have brought there; ``visibility`` and ``protected`` are left alone.
    """
    out = []
    for key, value in want.items():
        if key in ("visibility", "protected") or have.get(key) == value:
            continue
        if key == "tags" and set(have.get("tags") or ()) == set(value):
            continue
        out.append({"op": "replace" if key in have else "add", "path": _pointer(key), "value": value})
    gone = properties(have, local=False).keys() - want.keys()
    return out + [{"op": "remove", "path": _pointer(key)} for key in sorted(gone)]


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def same_bits(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    """By what both services recorded; None where they have nothing comparable."""
    if one.get("size") is not None and other.get("size") is not None and one["size"] != other["size"]:
        return False
    algorithm = one.get("os_hash_algo")
    if algorithm and algorithm == other.get("os_hash_algo"):
        return bool(one.get("os_hash_value") == other.get("os_hash_value"))
    if one.get("checksum") and other.get("checksum"):
        return bool(one["checksum"] == other["checksum"])
    return None


class Digest:
    """Hashes bits as they pass: the source's own algorithm, and Glance's default in case the target differs."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        named = str(source.get("os_hash_algo") or "md5")  # before Rocky there was only ``checksum``
        names = {"sha512", *({named} & hashlib.algorithms_guaranteed - {"shake_128", "shake_256"})}
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(names)}
        self.size = 0

    async def through(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks."""
        async for chunk in chunks:
            self.size += len(chunk)
            for one in self._hashes.values():
                one.update(chunk)
            yield chunk

    def complaint(self, image: Mapping[str, Any]) -> str | None:
        """Why what passed is not what this active image holds; None when nothing speaks against it."""
        if image.get("size") is not None and image["size"] != self.size:
            return f"size is {image['size']}, {self.size} passed"
        for name, value in ((image.get("os_hash_algo"), image.get("os_hash_value")), ("md5", image.get("checksum"))):
            if name in self._hashes and value and self._hashes[name].hexdigest() != value:
                return f"{name} differs"
        return None

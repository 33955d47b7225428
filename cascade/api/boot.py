"""Reading a server create: what it names, and the body the site gets. No call is made here."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from cascade.model.ids import split_host
from cascade.sites.versions import parse

STAMP_FROM = (2, 52)
"""Tags at create: an older request goes south in exactly this version, with the stamp ``cascade.<intent>`` (design review 3.2)."""
_NEWER_THAN_21 = {"description": (2, 19), "tags": (2, 52), "trusted_image_certificates": (2, 63), "host": (2, 74),
                  "hypervisor_hostname": (2, 74), "hostname": (2, 90)}  # fmt: skip
_TRUE = frozenset(("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"))
_FALSE = frozenset(("False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"))
"""Nova's booleans in words."""


@dataclass(kw_only=True)
class Boot:
    """The references of one POST /servers body; malformed parts are simply not seen, the site's schema refuses them."""

    server: dict[str, Any]
    hints: dict[str, Any]
    version: tuple[int, int]
    zone: str | None = None
    count: tuple[int, int] = (1, 1)
    volumes: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    """same_host hints: they pin the site."""
    group: str | None = None
    hosts: list[str] = field(default_factory=list)
    """North names of hosts an administrator wants; they pin the site as well."""

    @property
    def new_volumes(self) -> list[int]:
        """Sizes of the volumes Nova makes for one server; 0 where the body leaves it to the source."""
        sizes = []
        for device in _dicts(self.server.get("block_device_mapping_v2")):
            to, source = device.get("destination_type"), device.get("source_type")
            if source in ("image", "blank", "snapshot") and (to == "volume" or (to is None and source == "snapshot")):
                sizes.append(_count(device, "volume_size", 0))
        sizes += [_count(d, "volume_size", 0) for d in _dicts(self.server.get("block_device_mapping")) if d.get("snapshot_id")]
        return sizes

    @property
    def volume_types(self) -> list[str]:
        """Types of the volumes Nova makes (2.67)."""
        devices = _dicts(self.server.get("block_device_mapping_v2"))
        return [t for d in devices if self.version >= (2, 67) and isinstance(t := d.get("volume_type"), str) and t]

    @property
    def flavor(self) -> str:
        """Its id; Nova takes its address as well."""
        return str(self.server["flavorRef"]).rsplit("/", 1)[-1]

    @property
    def reservation(self) -> bool:
        """Whether the answer is to be a reservation's id and not a server's."""
        value = self.server.get("return_reservation_id", False)
        return value if isinstance(value, bool) else value in _TRUE

    @property
    def networks(self) -> Any:
        """``auto``, ``none``, a list, or None where the body names none."""
        return self.server.get("networks")

    @property
    def suspicious(self) -> bool:
        """The body must be judged by a real schema before anything is made: it has what its version does not know."""
        if any(k in self.server and self.version < since for k, since in _NEWER_THAN_21.items()):
            return True
        asked = self.server.get("return_reservation_id", False)
        if not (isinstance(asked, bool) or (isinstance(asked, str) and asked in _TRUE | _FALSE)):
            return True
        nets = self.networks
        if isinstance(nets, str):
            return self.version < (2, 37) or nets not in ("auto", "none")
        if nets is None:
            return self.version >= (2, 37)
        return not isinstance(nets, list) or not all(
            isinstance(n, dict) and (isinstance(n.get("uuid"), str) or isinstance(n.get("port"), str)) for n in nets
        )


def read(doc: Any, version: str) -> Boot | None:
    """The body's references; None where it is no server create at all."""
    server = doc.get("server") if isinstance(doc, dict) else None
    if (
        not isinstance(server, dict)
        or not isinstance(server.get("flavorRef"), str | int)
        or not isinstance(server.get("name"), str)
    ):
        return None
    hints = doc.get("os:scheduler_hints") or doc.get("OS-SCH-HNT:scheduler_hints") or {}
    boot = Boot(server=server, hints=hints if isinstance(hints, dict) else {}, version=parse(version))
    zone = server.get("availability_zone")
    if isinstance(zone, str) and zone:
        name, *forced = zone.split(":", 2)
        boot.zone = name or None
        boot.hosts += [h for h in forced if split_host(h)]
    boot.hosts += [h for key in ("host", "hypervisor_hostname") if isinstance(h := server.get(key), str) and h]
    low = _count(server, "min_count", 1)
    high = _count(server, "max_count", low)
    boot.count = (low, max(high, low)) if low <= high else (0, 0)
    image = server.get("imageRef")
    if isinstance(image, str) and image:
        boot.images.append(image.rsplit("/", 1)[-1])
    for device in _dicts(server.get("block_device_mapping_v2")):
        into = {"volume": boot.volumes, "snapshot": boot.snapshots, "image": boot.images}.get(str(device.get("source_type")))
        if into is not None and isinstance(device.get("uuid"), str):
            into.append(device["uuid"])
    for device in _dicts(server.get("block_device_mapping")):
        for key, into in (("volume_id", boot.volumes), ("snapshot_id", boot.snapshots)):
            if isinstance(device.get(key), str) and device[key]:
                into.append(device[key])
    same = boot.hints.get("same_host")
    boot.servers = [s for s in (same if isinstance(same, list) else [same]) if isinstance(s, str)]
    group = boot.hints.get("group")
    boot.group = group if isinstance(group, str) else None
    return boot


def south_body(doc: dict[str, Any], *, stamp: str, ports: list[dict[str, Any]] | str, number: int) -> dict[str, Any]:
    """The site's body for server ``number`` (0 = the only one) of a create: ports named, counts out, stamp in."""
    out: dict[str, Any] = copy.deepcopy(doc)
    server = out["server"]
    for key in ("min_count", "max_count", "return_reservation_id", "security_groups"):
        server.pop(key, None)
    if number:
        # Nova's own naming of a multi-create (compute.api, _apply_instance_name_template)
        server["name"] = f"{server['name']}-{number}"
        if isinstance(server.get("hostname"), str):
            server["hostname"] = f"{server['hostname']}-{number}"
    server["networks"] = ports
    tags = server.get("tags", [])
    if isinstance(tags, list):
        server["tags"] = [*tags, stamp]
    return out


def safe_to_store(doc: dict[str, Any]) -> dict[str, Any]:
    """What an intent may remember of a body: no password, no user data, no injected file."""
    server = {k: v for k, v in doc.get("server", {}).items() if k not in ("adminPass", "user_data", "personality", "metadata")}
    return {"server": server}


def _count(server: dict[str, Any], key: str, default: int) -> int:
    """Nova takes integers and digit strings; anything else is 0 here, which is no count of servers."""
    value = server.get(key, default)
    whole = isinstance(value, int | str) and not isinstance(value, bool) and str(value).isdecimal()
    return int(value) if whole else 0


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [d for d in value if isinstance(d, dict)] if isinstance(value, list) else []

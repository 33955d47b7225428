"""What a list engine has to know of a row without reading all of it: its id, its age, whose it is, its sort values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from cascade.routing.merge import Order, parse_ties

Params = Sequence[tuple[str, str]]

# Sort keys whose name in the database is not the field's name in the API.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "compute": {
        "created_at": "created", "updated_at": "updated", "uuid": "id", "display_name": "name",
        "display_description": "description", "project_id": "tenant_id", "image_ref": "image.id",
        "access_ip_v4": "accessIPv4", "access_ip_v6": "accessIPv6", "auto_disk_config": "OS-DCF:diskConfig",
        "availability_zone": "OS-EXT-AZ:availability_zone", "launched_at": "OS-SRV-USG:launched_at",
        "terminated_at": "OS-SRV-USG:terminated_at", "power_state": "OS-EXT-STS:power_state",
        "task_state": "OS-EXT-STS:task_state", "vm_state": "OS-EXT-STS:vm_state", "host": "OS-EXT-SRV-ATTR:host",
        "node": "OS-EXT-SRV-ATTR:hypervisor_hostname", "hostname": "OS-EXT-SRV-ATTR:hostname",
        "kernel_id": "OS-EXT-SRV-ATTR:kernel_id", "ramdisk_id": "OS-EXT-SRV-ATTR:ramdisk_id",
        "launch_index": "OS-EXT-SRV-ATTR:launch_index", "root_device_name": "OS-EXT-SRV-ATTR:root_device_name",
    },
    "volume": {
        "display_name": "name", "display_description": "description", "host": "os-vol-host-attr:host",
        "project_id": "os-vol-tenant-attr:tenant_id",
    },
}  # fmt: skip
# Keys Nova takes and ignores.
_IGNORED = frozenset({
    "architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at",
    "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "memory_mb", "os_type",
    "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode",
})  # fmt: skip
_AGE = ("created", "created_at")
_OWNER = (
    "tenant_id", "os-vol-tenant-attr:tenant_id", "os-extended-snapshot-attributes:project_id",
    "os-backup-project-attr:project_id", "project_id",
)  # fmt: skip
_BRIEF: Mapping[str, tuple[str, ...]] = {
    "servers": ("id", "name", "links"),
    "volumes": ("id", "name", "links"),
    "backups": ("id", "name", "links"),
    "snapshots": ("id", "created_at", "updated_at", "name", "description", "volume_id", "status", "size", "metadata"),
    "groups": ("id", "name"),
    "group_snapshots": ("id", "name", "group_type_id"),
    "transfers": ("id", "volume_id", "name", "links"),
    "attachments": ("id", "status", "instance", "volume_id"),
}
"""What the lists without ``/detail`` show. Collections not named here have only the one list."""


def links_key(collection: str) -> str:
    """The key of the next link; Cinder's groups spell it their own way."""
    return {"groups": "group_links", "group_snapshots": "group_snapshot_links"}.get(collection, f"{collection}_links")


def has_detail(collection: str) -> bool:
    """Whether the collection has a second list, ``/detail``, with all fields."""
    return collection in _BRIEF


def brief(collection: str, raw: msgspec.Raw) -> msgspec.Raw:
    """A detailed row as the list without ``/detail`` shows it."""
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return msgspec.Raw(msgspec.json.encode({k: fields[k] for k in _BRIEF[collection] if k in fields}))


def sorting(service: str, params: Params, ties: Sequence[str]) -> tuple[tuple[Order, ...], bool]:
    """The order asked for, in API fields, and whether it is the service's default one.

    Nova: ``sort_key``/``sort_dir`` any number of times, then the id. Cinder: ``sort=key:dir,...`` or the pair once, then its
    ties in the direction of the first key. A direction not given is ``desc``; nonsense is left for a site to refuse.
    """
    default = _named(service, parse_ties(ties))
    keys = [v.strip() for k, v in params if k == "sort_key"]
    dirs = [v.strip() for k, v in params if k == "sort_dir"]
    if service == "compute":
        for key in [k for k in keys if k in _IGNORED]:
            at = keys.index(key)
            del keys[at], dirs[at : at + 1]
    else:
        text = next((v for k, v in params if k == "sort"), None)
        if text is not None:
            split = [part.strip().partition(":") for part in text.split(",")]
            keys, dirs = [k.strip() for k, _, _ in split], [d.strip() or "desc" for _, _, d in split]
    if not keys and not dirs:
        return default, True
    keys = keys or ["created_at"]
    dirs += [dirs[0] if dirs else "desc"] * (len(keys) - len(dirs))
    orders = list(_named(service, tuple(Order(k, d == "desc") for k, d in zip(keys, dirs, strict=False))))
    have = {o.field for o in orders}
    for tie in default if service != "compute" else default[-1:]:
        if tie.field not in have:
            orders.append(tie if service == "compute" else Order(tie.field, orders[0].descending))
    return tuple(orders), tuple(orders) == default


def _named(service: str, orders: Sequence[Order]) -> tuple[Order, ...]:
    names = _FIELDS.get(service, {})
    return tuple(Order(names.get(o.field, o.field), o.descending) for o in orders)


def owner_of(doc: Mapping[str, Any]) -> str | None:
    """The project a shown thing belongs to, in the terms of who shows it; None where the document does not say."""
    return next((v for k in _OWNER if isinstance(v := doc.get(k), str) and v), None)


class Row(msgspec.Struct, frozen=True):
    """One row: the bytes the site sent, and the few values read from them."""

    site: str
    id: str
    """The site's own."""
    raw: msgspec.Raw
    values: Mapping[str, Any]
    """Sort values by API field."""
    age: Any
    """When it was made, as the site says it."""
    owner: str | None
    """The site's id of the project it belongs to; None where the list does not say."""
    deleted: bool

    @property
    def created(self) -> float | None:
        """Unix seconds."""
        return unix(self.age)


def read_rows(site: str, raws: Sequence[msgspec.Raw], orders: Sequence[Order]) -> list[Row]:
    """Rows of a page. Raises msgspec.MsgspecError (DecodeError, ValidationError) for what is no object with a string id."""
    decode, names, ages, owners = _decoder(tuple(sorted({o.field.partition(".")[0] for o in orders})))
    out = []
    for raw in raws:
        head = decode(raw)
        age, owner = getattr(head, ages[0]), None
        if age is None:
            age = getattr(head, ages[1])
        for attr in owners:
            if isinstance(found := getattr(head, attr), str):
                owner = found
                break
        values = {name: getattr(head, attr) for name, attr in names}
        out.append(Row(site, head.id, raw, values, age, owner, head.status == "DELETED"))
    return out


Names = tuple[str, ...]


@lru_cache(maxsize=256)
def _decoder(fields: Names) -> tuple[Callable[[msgspec.Raw], Any], tuple[tuple[str, str], ...], Names, Names]:
    """What looks at the named fields and skips over all others; their attributes, those of ages, and of owners."""
    names = [f for f in dict.fromkeys((*_AGE, *_OWNER, *fields)) if f not in ("id", "status")]
    attrs = {name: f"f{i}" for i, name in enumerate(names)}
    head = msgspec.defstruct(
        "Head", [("id", str), ("status", Any, None), *((a, Any, None) for a in attrs.values())],
        rename={attr: name for name, attr in attrs.items()},
    )  # fmt: skip
    every = attrs | {"id": "id", "status": "status"}
    asked = tuple((f, every[f]) for f in fields)
    return msgspec.json.Decoder(head).decode, asked, tuple(attrs[f] for f in _AGE), tuple(attrs[f] for f in _OWNER)


def unix(text: Any) -> float | None:
    """Unix seconds of an API's time: ``2026-11-23T08:38:00Z``, or Cinder's with microseconds and no zone."""
    if not isinstance(text, str):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def age_text(service: str, at: float) -> str:
    """The other way round, as the service writes it, so that it compares with what rows say."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ" if service == "compute" else "%Y-%m-%dT%H:%M:%S.%f")

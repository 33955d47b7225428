"""Build requests as Nova shows servers that are not scheduled yet, alone and in a list. Pure.

Nova keeps such servers in its API database and filters and sorts them there; so is done here, by the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cascade.routing import partial
from cascade.routing.merge import sort_key
from cascade.routing.rows import Params, sorting
from cascade.sites.buildrequest import BuildRequest
from cascade.sites.versions import at_least

Doc = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """One server. ``created`` is Unix time; ``fault`` has ``code``, ``message`` and ``at`` (Unix time)."""

    id: str
    intent: str
    site: str
    project_id: str
    user_id: str
    created: float
    deleting: bool
    fault: Doc | None
    request: BuildRequest


def show(held: Held, *, version: str | None, admin: bool, public: str, alone: bool = True) -> Doc:
    """The long form at a microversion. ``alone``: not in a list, which has less. ``public``: URL of Nova north."""
    asked, server = held.request, held.request.server
    created, failed = _zulu(held.created), held.fault
    doc: Doc = {
        "id": held.id, "name": server["name"], "status": "ERROR" if failed else "BUILD", "tenant_id": held.project_id,
        "user_id": held.user_id, "metadata": server.get("metadata") or {}, "hostId": "", "addresses": {},
        "accessIPv4": server.get("accessIPv4") or "", "accessIPv6": server.get("accessIPv6") or "", "created": created,
        "updated": _zulu(failed["at"]) if failed else created, "links": links(public, "servers", held.id),
        "image": _image(asked, version, public), "flavor": _flavor(asked.flavor, version, public),
        "OS-DCF:diskConfig": server.get("OS-DCF:diskConfig") or "MANUAL", "key_name": server.get("key_name"),
        "config_drive": "True" if str(server.get("config_drive", "")).lower() in ("true", "1", "t", "yes", "on", "y") else "",
        "OS-EXT-AZ:availability_zone": _zone(server), "OS-SRV-USG:launched_at": None, "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": "deleting" if held.deleting else None if failed else "scheduling",
        "OS-EXT-STS:vm_state": "error" if failed else "building", "OS-EXT-STS:power_state": 0,
        "os-extended-volumes:volumes_attached": [],
    }  # fmt: skip
    if failed:
        doc["fault"] = {"code": failed["code"], "message": failed["message"], "created": _zulu(failed["at"])}
    else:
        doc["progress"] = 0
    for since, admins, field, value in _LATER:
        if at_least(version, since) and (admin or not admins):
            doc[field] = value(held)
    if at_least(version, "2.71") and alone:
        doc["server_groups"] = [asked.group] if asked.group else []
    return doc


def links(public: str, what: str, ident: str) -> list[Doc]:
    """``self`` and ``bookmark``."""
    return [
        {"rel": "self", "href": f"{public}/v2.1/{what}/{ident}"},
        {"rel": "bookmark", "href": f"{public}/{what}/{ident}"},
    ]


_LATER: tuple[tuple[str, bool, str, Callable[[Held], Any]], ...] = (
    ("2.1", True, "OS-EXT-SRV-ATTR:host", lambda h: None),
    ("2.1", True, "OS-EXT-SRV-ATTR:hypervisor_hostname", lambda h: None),
    ("2.1", True, "OS-EXT-SRV-ATTR:instance_name", lambda h: ""),
    ("2.3", True, "OS-EXT-SRV-ATTR:hostname", lambda h: _hostname(h)),
    ("2.3", True, "OS-EXT-SRV-ATTR:kernel_id", lambda h: ""),
    ("2.3", True, "OS-EXT-SRV-ATTR:ramdisk_id", lambda h: ""),
    ("2.3", True, "OS-EXT-SRV-ATTR:launch_index", lambda h: 0),
    ("2.3", True, "OS-EXT-SRV-ATTR:reservation_id", lambda h: None),
    ("2.3", True, "OS-EXT-SRV-ATTR:root_device_name", lambda h: None),
    ("2.3", True, "OS-EXT-SRV-ATTR:user_data", lambda h: h.request.server.get("user_data")),
    ("2.9", False, "locked", lambda h: False),
    ("2.16", True, "host_status", lambda h: ""),
    ("2.19", False, "description", lambda h: h.request.description),
    ("2.26", False, "tags", lambda h: h.request.server.get("tags") or []),
    ("2.63", False, "trusted_image_certificates", lambda h: h.request.server.get("trusted_image_certificates")),
    ("2.73", False, "locked_reason", lambda h: None),
    ("2.90", False, "OS-EXT-SRV-ATTR:hostname", lambda h: _hostname(h)),
    ("2.96", False, "pinned_availability_zone", lambda h: _zone(h.request.server) or None),
    ("2.100", False, "scheduler_hints", lambda h: h.request.hints),
)
"""Since which microversion, for administrators only, field, value."""


def page(
    held: Sequence[Held], docs: Sequence[Doc], params: Params, *, version: str | None, admin: bool, ties: Sequence[str]
) -> list[Doc] | None:
    """Of long forms (of ``held``, in its order) those a list of these parameters shows, sorted, after the marker.

    None: the marker is none of them.
    """
    given: dict[str, list[str]] = {}
    for name, value in params:
        if admin or name in _ALWAYS or partial.honoured(version, name):
            given.setdefault(name, []).append(value)
    orders, _ = sorting("compute", params, ties)
    key = sort_key(orders)
    rows = [d for h, d in zip(held, docs, strict=True) if all(_FILTERS[k](h, d, given[k]) for k in given if k in _FILTERS)]
    rows.sort(key=key)
    if (marker := given.get("marker")) is not None:
        at = next((key(d) for d in docs if d["id"] == marker[-1]), None)
        if at is None:
            return None
        rows = [d for d in rows if key(d) > at]
    limit = given.get("limit", ["1000"])[-1]
    return rows[: int(limit)] if limit.isdigit() else rows


def _equal(field: str) -> Callable[[Held, Doc, list[str]], bool]:
    return lambda h, d, wanted: str(d.get(field) if d.get(field) is not None else "") in wanted


def _search(text: Callable[[Held], Any]) -> Callable[[Held, Doc, list[str]], bool]:
    def found(h: Held, d: Doc, wanted: list[str]) -> bool:
        try:
            return re.search(wanted[-1], str(text(h) or ""), re.IGNORECASE) is not None
        except re.error:
            return True  # the sites say what is wrong with it

    return found


def _never(h: Held, d: Doc, wanted: list[str]) -> bool:
    return False


def _tags(test: Callable[[Collection[str], set[str]], bool]) -> Callable[[Held, Doc, list[str]], bool]:
    return lambda h, d, wanted: test(wanted[-1].split(","), set(h.request.server.get("tags") or ()))


def _when(test: Callable[[datetime, datetime], bool]) -> Callable[[Held, Doc, list[str]], bool]:
    def found(h: Held, d: Doc, wanted: list[str]) -> bool:
        try:
            given = datetime.fromisoformat(wanted[-1].replace(" ", "+"))
        except ValueError:
            return True
        given = given if given.tzinfo else given.replace(tzinfo=UTC)
        return test(datetime.fromisoformat(d["updated"]), given)

    return found


_ALWAYS = frozenset({"limit", "marker"})
_FILTERS: dict[str, Callable[[Held, Doc, list[str]], bool]] = {
    "name": _search(lambda h: h.request.server["name"]), "display_name": _search(lambda h: h.request.server["name"]),
    "description": _search(lambda h: h.request.description), "hostname": _search(lambda h: _hostname(h)),
    "status": lambda h, d, wanted: d["status"] in {w.upper() for w in wanted},
    "image": lambda h, d, wanted: (d["image"] or {"id": ""})["id"] == wanted[-1].rsplit("/", 1)[-1],
    "flavor": lambda h, d, wanted: h.request.flavor["id"] == wanted[-1].rsplit("/", 1)[-1],
    "uuid": _equal("id"), "user_id": _equal("user_id"), "project_id": _equal("tenant_id"), "tenant_id": _equal("tenant_id"),
    "key_name": _equal("key_name"), "availability_zone": _equal("OS-EXT-AZ:availability_zone"),
    "vm_state": _equal("OS-EXT-STS:vm_state"), "task_state": _equal("OS-EXT-STS:task_state"),
    "power_state": _equal("OS-EXT-STS:power_state"), "config_drive": _equal("config_drive"),
    "locked": lambda h, d, wanted: wanted[-1].lower() in ("false", "0", "f", "no", "n", "off"),
    "deleted": lambda h, d, wanted: wanted[-1].lower() in ("false", "0", "f", "no", "n", "off"),
    "tags": _tags(lambda wanted, have: have.issuperset(wanted)),
    "tags-any": _tags(lambda wanted, have: not have.isdisjoint(wanted)),
    "not-tags": _tags(lambda wanted, have: not have.issuperset(wanted)),
    "not-tags-any": _tags(lambda wanted, have: have.isdisjoint(wanted)),
    "changes-since": _when(lambda updated, given: updated >= given),
    "changes-before": _when(lambda updated, given: updated <= given),
    **dict.fromkeys(("ip", "ip6", "host", "node", "launched_at", "terminated_at"), _never),
}  # fmt: skip
"""What a server without a place can be found by, or not; Nova's other filters let it pass."""


def _image(asked: BuildRequest, version: str | None, public: str) -> Any:
    ident = str(asked.server.get("imageRef") or "").rsplit("/", 1)[-1]
    if not ident:
        return ""
    doc: Doc = {"id": ident, "links": links(public, "images", ident)[1:]}
    return doc | {"properties": asked.properties} if at_least(version, "2.98") else doc


def _flavor(flavor: Doc, version: str | None, public: str) -> Doc:
    if not at_least(version, "2.47"):
        return {"id": flavor["id"], "links": links(public, "flavors", flavor["id"])[1:]}
    return {
        "vcpus": flavor["vcpus"], "ram": flavor["ram"], "disk": flavor["disk"],
        "ephemeral": flavor.get("OS-FLV-EXT-DATA:ephemeral", 0), "swap": flavor.get("swap") or 0,
        "original_name": flavor["name"], "extra_specs": flavor.get("extra_specs", {}),
    }  # fmt: skip


def _zone(server: Doc) -> str:
    return str(server.get("availability_zone") or "").partition(":")[0]


def _hostname(held: Held) -> str:
    """As asked, else Nova's: the name in letters a host name may have."""
    server = held.request.server
    if isinstance(server.get("hostname"), str):
        return str(server["hostname"])
    name = re.sub(r"[^a-z0-9.-]+", "", re.sub(r"[ _.]", "-", server["name"].lower())).strip(".-")
    return name[:63] or f"server-{held.id}"


def _zulu(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

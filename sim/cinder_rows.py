"""Cinder: what all its kinds have in common: looking one up, lists with filters, order and pages, quota."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sim.faults import Refused
from sim.population_volumes import Volumes, volumes_of
from sim.web import Call, forbid, invalid, next_link
from sim.world import Cloud, Row, is_uuid, micro, new_id

MOST = 1000
"""``osapi_max_limit``."""
Doc = Callable[[Call, Row], Row]


@dataclass(frozen=True)
class Kind:
    """One kind of object. ``one``/``many``: in documents. ``table``: where its rows are."""

    one: str
    many: str
    name: str
    """In faults: "{name} {id} could not be found."."""
    table: str
    filters: tuple[str, ...] = ()
    sorts: tuple[str, ...] = ("id", "created_at", "updated_at", "name", "status")


VOLUME = Kind(
    "volume", "volumes", "Volume", "volumes",
    ("name", "status", "metadata", "bootable", "migration_status", "availability_zone", "group_id", "size", "created_at",
     "updated_at", "consumes_quota", "volume_type_id", "user_id", "project_id", "glance_metadata"),
    ("id", "created_at", "updated_at", "name", "status", "size", "availability_zone", "bootable", "host", "user_id"),
)  # fmt: skip
SNAPSHOT = Kind(
    "snapshot", "snapshots", "Snapshot", "snapshots",
    ("name", "status", "volume_id", "metadata", "availability_zone", "consumes_quota", "project_id", "user_id"),
    ("id", "created_at", "updated_at", "name", "status", "volume_id", "size"),
)  # fmt: skip
BACKUP = Kind("backup", "backups", "Backup", "backups", ("name", "status", "volume_id", "project_id"))
ATTACHMENT = Kind(
    "attachment", "attachments", "Volume attachment", "attachments", ("volume_id", "status", "instance_id", "attach_status")
)
TRANSFER = Kind("transfer", "transfers", "Transfer", "transfers", ())
GROUP = Kind("group", "groups", "Group", "groups", ("name", "status"))
GROUP_SNAPSHOT = Kind("group_snapshot", "group_snapshots", "GroupSnapshot", "group_snapshots", ("name", "status", "group_id"))
MESSAGE = Kind(
    "message", "messages", "Message", "messages", ("resource_uuid", "resource_type", "event_id", "request_id", "message_level")
)
QOS = Kind("qos_specs", "qos-specs", "QoS specs", "qos_specs")
PLAIN = {"all_tenants", "limit", "marker", "project_id", "sort", "sort_key", "sort_dir"}
DEFAULT_ORDER = [("created_at", "desc"), ("id", "desc")]
"""What a list of computed volumes is made for without a look at each of them."""
_ALWAYS = ("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count", "fields")


def new(cloud: Cloud, kind: Kind, project: str, user: str, **values: Any) -> Row:
    """A new row."""
    row: Row = {
        "id": new_id(), "project_id": project, "user_id": user, "created_at": cloud.now(), "updated_at": None,
        "n": cloud.serial(), **values,
    }  # fmt: skip
    cloud[kind.table][row["id"]] = row
    return row


def fetch(call: Call, kind: Kind, ident: str) -> Row:
    """A row the caller may see. Raises Refused 404."""
    row = call.cloud[kind.table].get(ident)
    if kind is ATTACHMENT and row is not None and call.method == "GET" and not call.cloud.newest:
        return row  # 2025.1 shows it to whoever knows the id
    if row is None or not (call.who.admin or row["project_id"] == call.who.project_id):
        if kind is ATTACHMENT:
            raise Refused(404, f"Volume attachment could not be found with filter: attachment_id = {ident}.")
        raise Refused(404, f"{kind.name} {ident} could not be found.")
    return row


def listing(call: Call, kind: Kind, show: Doc) -> Row:
    """One page. Raises Refused 400, 404."""
    table = call.cloud[kind.table]
    if isinstance(table, Volumes) and {k for k, _ in call.query} <= PLAIN and _sorts(call, kind) == DEFAULT_ORDER:
        return _computed(call, table, show)
    rows = _order(call, kind, [r for r in _mine(call, kind) if _matches(call, kind, r)])
    doc: Row = {"count": len(rows)} if call.since(45) and call.flag("with_count") and kind in (VOLUME, SNAPSHOT, BACKUP) else {}
    if marker := call.get("marker"):
        fetch(call, kind, marker)
        at = next((n for n, r in enumerate(rows) if r["id"] == marker), len(rows))
        rows = rows[at + 1 :]
    asked = _number(call, "limit")
    limit = MOST if asked is None else min(asked, MOST)
    rows = rows[_number(call, "offset") or 0 :][:limit]
    found = {kind.many: [show(call, r) for r in rows], **doc}
    return found | (next_link(call, kind.many, rows[-1]["id"]) if rows and len(rows) == limit else {})


def _computed(call: Call, table: Volumes, show: Doc) -> Row:
    """The same for computed volumes, without a look at each. Raises Refused 400, 404."""
    marker = call.get("marker")
    if marker:
        fetch(call, VOLUME, marker)
    asked = _number(call, "limit")
    limit = MOST if asked is None else min(asked, MOST)
    everybody = call.who.admin and call.flag("all_tenants")
    project = call.get("project_id") or None if everybody else call.who.project_id
    rows = table.page(project, marker or None, limit)
    found: Row = {VOLUME.many: [show(call, r) for r in rows]}
    return found | (next_link(call, VOLUME.many, rows[-1]["id"]) if rows and len(rows) == limit else {})


def _mine(call: Call, kind: Kind) -> list[Row]:
    rows: Iterable[Row] = call.cloud[kind.table].values()
    if call.who.admin and call.flag("all_tenants"):
        project = call.get("project_id")
        return [r for r in rows if not project or r["project_id"] == project]
    return [r for r in rows if r["project_id"] == call.who.project_id]


def _matches(call: Call, kind: Kind, row: Row) -> bool:
    for name, value in call.query:
        if (name in _ALWAYS and (name != "with_count" or call.since(45))) or name == "project_id":
            continue
        exact = name.rstrip("~")
        if exact not in kind.filters:
            if call.since(31) and not call.who.admin:
                raise Refused(400, f"Invalid filters {name} are found in query options.")
            if exact not in row:
                continue
        if exact == "metadata":
            wanted = _mapping(value)
            if any(row["metadata"].get(k) != v for k, v in wanted.items()):
                return False
        elif exact == "instance_id":
            if row["server_id"] != value:
                return False
        elif exact != name:
            if value not in str(row.get(exact)):
                return False
        elif str(row.get(name)).lower() != value.lower():
            return False
    return True


def _mapping(text: str) -> dict[str, str]:
    """``{'a': 'b'}`` as clients write it. Raises Refused 400."""
    import ast

    try:
        got = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        got = None
    if not isinstance(got, dict):
        raise Refused(400, invalid("metadata", text, "is not of type 'object'"))
    return {str(k): str(v) for k, v in got.items()}


def _sorts(call: Call, kind: Kind) -> list[tuple[str, str]]:
    """Keys and directions, Cinder's own last. Raises Refused 400."""
    if text := call.get("sort"):
        pairs = [(k.strip(), d.strip() or "desc") for k, _, d in (p.partition(":") for p in text.split(","))]
    else:
        keys, dirs = call.values("sort_key"), call.values("sort_dir")
        pairs = [(k, dirs[n] if n < len(dirs) else "desc") for n, k in enumerate(keys)] or [("created_at", (dirs or ["desc"])[0])]
    for k, d in pairs:
        if k not in kind.sorts:
            raise Refused(400, "Invalid input received: Invalid sort key")
        if d not in ("asc", "desc"):
            raise Refused(400, f"Invalid input received: Invalid sort direction: {d}")
    for k in ("created_at", "id"):
        if k not in dict(pairs):
            pairs.append((k, pairs[0][1]))
    return pairs


def _order(call: Call, kind: Kind, rows: list[Row]) -> list[Row]:
    for k, d in reversed(_sorts(call, kind)):
        rows.sort(key=lambda r, k=k: (r.get(k) is not None, r.get(k) if r.get(k) is not None else 0), reverse=d == "desc")  # type: ignore[misc]
    return rows


def _number(call: Call, name: str) -> int | None:
    if not call.values(name):
        return None
    value = call.get(name)
    if not value.lstrip("-").isdigit():
        raise Refused(400, f"Invalid input received: {name} param must be an integer")
    if int(value) < 0:
        raise Refused(400, f"{name} param must be positive")
    return int(value)


def links(call: Call, kind: Kind, ident: str) -> list[Row]:
    """Self and bookmark."""
    root, project = call.cloud.url("volume"), f"{call.url_project}/" if call.url_project else ""
    return [
        {"rel": "self", "href": f"{root}/v3/{project}{kind.many}/{ident}"},
        {"rel": "bookmark", "href": f"{root}/{project}{kind.many}/{ident}"},
    ]


def times(row: Row) -> Row:
    """Both times as Cinder shows them."""
    return {"created_at": micro(row["created_at"]), "updated_at": micro(row["updated_at"])}


def touch(cloud: Cloud, row: Row, **values: Any) -> None:
    """Change a row."""
    row |= {**values, "updated_at": cloud.now()}


def later(cloud: Cloud, kind: Kind, row: Row, act: Callable[[], object] | None = None, **values: Any) -> None:
    """Change a row after a while, if it is still there."""

    def do() -> None:
        if row["id"] in cloud[kind.table]:
            touch(cloud, row, **values)
            if act is not None:
                act()

    cloud.later(cloud.options.volume, do)


def vanish(cloud: Cloud, kind: Kind, row: Row) -> None:
    """Delete a row after a while."""
    touch(cloud, row, status="deleting")
    cloud.later(cloud.options.volume, lambda: cloud[kind.table].pop(row["id"], None))


def type_of(call: Call, name: str | None) -> Row:
    """A volume type by id or name; None = the default. Raises Refused 404."""
    types = call.cloud["volume_types"]
    name = name or "__DEFAULT__"
    for row in types.values():
        if name in (row["id"], row["name"]) and (row["public"] or call.who.admin or call.who.project_id in row["access"]):
            return row
    how = "" if is_uuid(name) else "with name "
    raise Refused(404, f"Volume type {how}{name} could not be found.")


LIMITS = {
    "volumes": 2000, "per_volume_gigabytes": -1, "snapshots": 2000, "gigabytes": 200000, "backups": 200,
    "backup_gigabytes": 20000, "groups": 200,
}  # fmt: skip
AT_HUB = {"volumes": 200, "snapshots": 200, "gigabytes": 20000}


def quota_names(cloud: Cloud) -> dict[str, int]:
    """Every quota with its default, those of volume types included."""
    own = LIMITS | (AT_HUB if cloud.hub else {})
    found = {k: v for k, v in own.items() if k != "groups"}
    for row in cloud["volume_types"].values():
        found |= {f"{k}_{row['name']}": -1 for k in ("volumes", "gigabytes", "snapshots")}
    return found | {"groups": own["groups"]} | cloud["volume_quota_classes"].get("default", {})


def limits(cloud: Cloud, project: str) -> dict[str, int]:
    """Limits of a project."""
    return quota_names(cloud) | cloud["volume_quotas"].get(project, {})


def used(cloud: Cloud, project: str) -> dict[str, int]:
    """What a project uses."""
    have = dict.fromkeys(quota_names(cloud), 0)
    for table in ("volumes", "snapshots"):
        for row in volumes_of(cloud[table], project) if table == "volumes" else cloud[table].values():
            if row["project_id"] == project:
                kind = cloud["volume_types"].get(row["type_id"], {}).get("name")
                for name in (table, "gigabytes"):
                    n = row["size"] if name == "gigabytes" else 1
                    have[name] += n
                    if f"{name}_{kind}" in have:
                        have[f"{name}_{kind}"] += n
    for row in cloud["backups"].values():
        if row["project_id"] == project:
            have["backups"] += 1
            have["backup_gigabytes"] += row["size"]
    have["groups"] = sum(1 for g in cloud["groups"].values() if g["project_id"] == project)
    return have


_OVER = {
    "volumes": "VolumeLimitExceeded: Maximum number of volumes allowed ({limit}) exceeded for quota 'volumes'.",
    "snapshots": "SnapshotLimitExceeded: Maximum number of snapshots allowed ({limit}) exceeded",
    "backups": "BackupLimitExceeded: Maximum number of backups allowed ({limit}) exceeded",
    "gigabytes": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed {name} quota. "
    "Requested {asked}G, quota is {limit}G and {have}G has been consumed.",
}


def check_quota(call: Call, wanted: dict[str, int]) -> None:
    """Raises Refused 413 when the project may not have that much more."""
    most, have = limits(call.cloud, call.who.project_id), used(call.cloud, call.who.project_id)
    for name, n in wanted.items():
        if n > 0 and most.get(name, -1) >= 0 and have[name] + n > most[name]:
            words = _OVER.get(name, _OVER["gigabytes"])
            raise Refused(413, words.format(name=name, limit=most[name], asked=n, have=have[name]), headers={"Retry-After": "0"})


def required(given: Row, what: str, *names: str) -> None:
    """Raises Refused 400 for a body that lacks one of ``names``."""
    for name in names:
        if given.get(name) is None:
            raise Refused(400, f"Invalid input for field/attribute {what}. Value: {given}. {name!r} is a required property")


def administrator(call: Call, rule: str) -> None:
    """Raises Refused 403 for everybody else."""
    if not call.who.admin:
        forbid(call, rule)

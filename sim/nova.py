"""Nova: versions, and servers: list, show, change, delete."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sim.faults import Refused
from sim.hosts import zones
from sim.neutron_core import bump
from sim.neutron_ports import bind, remove_port
from sim.nova_schema import number, unexpected
from sim.nova_view import BY_TASK, STATUS, act, brief, fetch, ports, show, slim, status, touch
from sim.population import Population
from sim.population_volumes import attachments_of
from sim.web import Answer, Call, forbid, invalid, next_link, route
from sim.world import Cloud, Row, parse_time

UPDATED = "2013-07-23T11:33:21Z"
MOST = 1000
TIMES = {"changes-since", "changes-before"}
PUBLIC_FILTERS = {"reservation_id", "name", "status", "image", "flavor", "ip", "ip6", "changes-since", "changes-before",
                  "all_tenants", "tags", "tags-any", "not-tags", "not-tags-any", "locked"}  # fmt: skip
SINCE_83 = {"availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state",
            "task_state", "vm_state", "progress", "user_id"}  # fmt: skip
COLUMNS = {"availability_zone": "zone", "tenant_id": "project_id", "project_id": "project_id", "uuid": "id", "display_name": "name",
           "host": "host", "node": "host", "user_id": "user_id", "vm_state": "vm_state", "task_state": "task_state",
           "power_state": "power_state", "key_name": "key_name", "reservation_id": "reservation_id", "hostname": "hostname",
           "launch_index": "launch_index", "config_drive": "config_drive", "locked": "locked"}  # fmt: skip
SORTS = {"created_at": "created_at", "updated_at": "updated_at", "display_name": "name", "uuid": "id", "host": "host",
         "vm_state": "vm_state", "task_state": "task_state", "availability_zone": "zone", "instance_type_id": "flavor_key",
         "launched_at": "launched_at", "power_state": "power_state", "key_name": "key_name", "user_id": "user_id",
         "project_id": "project_id", "image_ref": "image_id", "hostname": "hostname", "terminated_at": "terminated_at",
         "display_description": "description", "launch_index": "launch_index", "progress": "id", "root_device_name": "id",
         "config_drive": "config_drive", "access_ip_v4": "accessIPv4", "access_ip_v6": "accessIPv6", "auto_disk_config": "id",
         "locked_by": "locked"}  # fmt: skip


QUERY = {*COLUMNS, "display_description", "description", "flavor", "image_ref", "kernel_id", "ramdisk_id", "locked_by", "deleted",
         "root_device_name", "access_ip_v4", "access_ip_v6", "auto_disk_config", "soft_deleted", "type", "format", "sort_key",
         "sort_dir", "limit", "marker"}  # fmt: skip
"""What a list may ask for besides, from 2.75 on."""
BOOLEANS = {"0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes"}
PLAIN = {"all_tenants", "limit", "marker", "project_id", "tenant_id", "sort_key", "sort_dir", "deleted"}
DEFAULT_ORDER = [("created_at", "desc"), ("uuid", "asc")]
"""What a list of a population is computed for without looking at each of its servers."""
STATUSES = {*STATUS.values(), *BY_TASK.values()}


@route("compute", "GET", "/", "")
def versions(call: Call) -> Row:
    root, newest = call.cloud.url("compute"), ".".join(map(str, call.cloud.window("compute")[1]))
    old: Row = {"id": "v2.0", "status": "DEPRECATED" if call.cloud.newest else "SUPPORTED", "version": "", "min_version": ""}
    old |= {"updated": "2025-07-04T12:00:00Z", "links": [{"rel": "self", "href": f"{root}/v2/"}]}
    new: Row = {"id": "v2.1", "status": "CURRENT", "version": newest, "min_version": "2.1", "updated": UPDATED}
    return {"versions": [old, {**new, "links": [{"rel": "self", "href": f"{root}/v2.1/"}]}]}


@route("compute", "GET", "/v2.1", "")
def version(call: Call) -> Row:
    (row,) = [v for v in versions(call)["versions"] if v["id"] == "v2.1"]
    row["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    kind = "application/vnd.openstack.compute+json;version=2.1"
    return {"version": {**row, "media-types": [{"base": "application/json", "type": kind}]}}


@route("compute", "GET", "/servers", "reader", "os_compute_api:servers:index")
def index(call: Call) -> Row:
    rows, more = _page(call)
    return {"servers": [brief(call, s) for s in rows], **(next_link(call, "servers", rows[-1]["id"]) if more else {})}


@route("compute", "GET", "/servers/detail", "reader", "os_compute_api:servers:detail")
def detail(call: Call) -> Row:
    rows, more = _page(call)
    doc = {"servers": [show(call, s, detail=True) for s in rows]}
    return doc | (next_link(call, "servers", rows[-1]["id"]) if more else {})


def _page(call: Call) -> tuple[list[Row], bool]:
    """One page in Nova's order: build requests first, then by the sort keys, then by uuid. Raises Refused 400, 403."""
    limit = min(number(call, "limit", MOST) or MOST, MOST)
    if call.get("limit") == "0":
        limit = 0
    table = call.cloud["servers"]
    if isinstance(table, Population) and {k for k, _ in call.query} <= PLAIN and _order(call) == DEFAULT_ORDER:
        return _computed(call, table, limit)
    rows = _chosen(call)
    for key, direction in reversed(_order(call)):
        rows.sort(key=lambda s: s["id"]) if key == "uuid" else None
        column = SORTS[key]
        rows.sort(key=lambda s, c=column: (s[c] is not None, s[c]) if s[c] is not None else (False, 0), reverse=direction == "desc")  # type: ignore[misc]
    rows.sort(key=lambda s: not s["request"])
    marker = call.get("marker")
    if marker:
        at = next((n for n, s in enumerate(rows) if s["id"] == marker), None)
        if at is None:
            at = _after_absent(call, rows, marker)
        rows = rows[at + 1 :]
    return rows[:limit], len(rows) >= limit > 0


def _computed(call: Call, table: Population, limit: int) -> tuple[list[Row], bool]:
    """The same for a population, without a look at each of its servers."""
    everybody = _everybody(call)
    asked = call.get("project_id") or call.get("tenant_id") or None
    marker = call.get("marker") or None
    try:
        rows = table.page(asked if everybody else call.who.project_id, marker, limit)
    except KeyError:
        raise Refused(400, f"marker [{marker}] not found") from None
    return rows, len(rows) >= limit > 0


def _everybody(call: Call) -> bool:
    """Whether the list is over all projects. Raises Refused 400, 403."""
    _known(call)
    everybody = any(k == "all_tenants" and v.lower() not in ("0", "false", "f", "no") for k, v in call.query)
    if everybody and not call.who.admin:
        forbid(call, f"os_compute_api:servers:{'detail' if call.path.endswith('detail') else 'index'}:get_all_tenants")
    return everybody


def _candidates(call: Call, wanted: list[tuple[str, str]]) -> Iterable[Row]:
    """Of a population only what was made or changed, where the query asks for tags or for changes: the others have none."""
    table = call.cloud["servers"]
    if not isinstance(table, Population):
        return table.values()
    recent = any(k == "tags" or (k == "changes-since" and _time(k, v) > table.newest) for k, v in wanted)
    return table.kept() if recent else table.values()


def _after_absent(call: Call, rows: list[Row], marker: str) -> int:
    """Where a server stands that is not in the list (deleted, or filtered away): its place by creation."""
    row = call.cloud["servers"].get(marker)
    if row is None or not (call.who.admin or row["project_id"] == call.who.project_id):
        raise Refused(400, f"marker [{marker}] not found")
    place = (-row["created_at"], row["id"])
    return sum(1 for s in rows if s["request"] or (-s["created_at"], s["id"]) <= place) - 1


def _order(call: Call) -> list[tuple[str, str]]:
    keys, dirs = call.values("sort_key"), call.values("sort_dir")
    for k in keys:
        if k not in SORTS:
            raise Refused(400, f"Invalid input for query parameters sort_key. Value: {k}. {k!r} is not one of {sorted(SORTS)}")
    pairs = [(k, dirs[n] if n < len(dirs) else "desc") for n, k in enumerate(keys)] or [("created_at", (dirs or ["desc"])[0])]
    return [*pairs, ("uuid", "asc")]


def _known(call: Call) -> None:
    """Raises Refused 400 for a query that the schema does not allow, 2.75 and later; before, most was ignored."""
    for k, v in call.query:
        if k == "all_tenants" and v.lower() not in BOOLEANS:
            words = ", ".join(repr(b) for b in sorted(BOOLEANS))
            raise Refused(400, f"Unrecognized value '{v}', acceptable values are: {words}")
        if call.since(75) and k not in QUERY and k not in PUBLIC_FILTERS | SINCE_83 and not k.startswith("_"):
            raise Refused(400, f"{k!r} does not match any of the regexes: '^_'")
        if k == "status" and call.since(38) and v.upper() not in STATUSES:
            raise Refused(400, "Invalid status value")


def _chosen(call: Call) -> list[Row]:
    who, everybody = call.who, _everybody(call)
    allowed = PUBLIC_FILTERS | (SINCE_83 if call.since(83) else set())
    wanted = [(k, v) for k, v in call.query if who.admin or k in allowed]
    names = {k for k, _ in wanted}
    project = call.get("project_id") or call.get("tenant_id")
    deleted = bool(names & TIMES)
    if call.get("status").lower() == "deleted":
        if not who.admin:
            raise Refused(403, "Only administrators may list deleted instances")
        deleted = True
    if who.admin and call.flag("deleted"):
        deleted = True
    for k, v in wanted:
        if k in ("name", "ip", "ip6"):
            try:
                re.compile(v)
            except re.error:
                raise Refused(400, f"Invalid input for query parameters {k}. Value: {v}. {v!r} is not a 'regex'") from None
        elif k in TIMES:
            _time(k, v)
    rows = []
    for s in _candidates(call, wanted):
        if not everybody and s["project_id"] != who.project_id:
            continue
        if everybody and project and s["project_id"] != project:
            continue
        if s["deleted"] and not deleted:
            continue
        if all(_match(call, s, k, v) for k, v in wanted):
            rows.append(s)
    return rows


def _time(name: str, value: str) -> float:
    try:
        return parse_time(value)
    except ValueError:
        text = invalid(name, value, "is not a 'date-time'").replace("field/attribute", "query parameters")
        raise Refused(400, text) from None


def _match(call: Call, s: Row, name: str, value: str) -> bool:
    if name in TIMES:
        t = _time(name, value)
        return bool(s["updated_at"] >= t if name == "changes-since" else s["updated_at"] <= t)
    if name == "status":
        asked = {v.upper() for v in call.values("status")}
        return status(s) in asked or (STATUS[s["vm_state"]] in asked and s["task_state"] is None)
    if name == "name":
        return re.search(value, s["name"], re.IGNORECASE) is not None
    if name in ("ip", "ip6"):
        found = [f["ip_address"] for p in ports(call.cloud, s) for f in p["fixed_ips"]]
        return any(re.search(value, a) for a in found if (":" in a) == (name == "ip6"))
    if name in ("tags", "tags-any", "not-tags", "not-tags-any"):
        asked, have = set(value.split(",")), set(s["tags"])
        all_of, any_of = asked <= have, bool(asked & have)
        return {"tags": all_of, "tags-any": any_of, "not-tags": not all_of, "not-tags-any": not any_of}[name]
    if name == "image":
        return bool(s["image_id"] == value)
    if name == "flavor":
        return bool(s["flavor"]["id"] == value)
    if name == "locked":
        return bool(s["locked"] == (value.lower() == "true"))
    column = COLUMNS.get(name)
    return column is None or name in ("project_id", "tenant_id") or str(s[column]) == value


@route("compute", "GET", "/servers/{ident}", "reader", "os_compute_api:servers:show")
def get(call: Call, ident: str) -> Row:
    return {"server": show(call, fetch(call, ident))}


@route("compute", "PUT", "/servers/{ident}", "member", "os_compute_api:servers:update")
def update(call: Call, ident: str) -> Row:
    s, given = fetch(call, ident), call.body("server")
    fields = {"name": "name", "accessIPv4": "accessIPv4", "accessIPv6": "accessIPv6", "OS-DCF:diskConfig": "disk_config"}
    fields |= {"description": "description"} if call.since(19) else {}
    fields |= {"hostname": "hostname"} if call.since(90) else {}
    fields |= {"pinned_availability_zone": "pinned_zone"} if call.since(104) else {}
    for k, v in given.items():
        if k not in fields:
            shown = f"Invalid input for field/attribute server. Value: {given}. "
            raise Refused(400, f"{shown}Additional properties are not allowed ({k!r} was unexpected)")
        if k in ("name", "hostname") and (not isinstance(v, str) or not v.strip() or len(v) > 255):
            raise Refused(400, invalid(k, v, "should be non-empty" if v == "" else "is not valid"))
    if given.get("pinned_availability_zone") and given["pinned_availability_zone"] not in zones(call.cloud):
        raise Refused(400, "The requested availability zone is not available")
    touch(call.cloud, s, **{fields[k]: v for k, v in given.items()})
    return {"server": slim(call, show(call, s))}


@route("compute", "DELETE", "/servers/{ident}", "member", "os_compute_api:servers:delete")
def delete(call: Call, ident: str) -> Answer:
    s = fetch(call, ident)
    unlocked(call, s)
    if call.cloud.hub:  # it goes, but Placement is asked for its allocations and is not there
        gone(call.cloud, s)
        raise unexpected(call.cloud, "keystoneauth1.exceptions.catalog.EndpointNotFound")
    if s["request"]:
        gone(call.cloud, s)
    elif s["task_state"] != "deleting":
        act(call.cloud, call, s, "delete")
        touch(call.cloud, s, task_state="deleting")
        call.cloud.later(call.cloud.options.delete, lambda: gone(call.cloud, s))
    return Answer(204)


def unlocked(call: Call, s: Row) -> None:
    """Raises Refused 409 for a locked server, except for administrators."""
    if s["locked"] and not call.who.admin:
        raise Refused(409, f"Instance {s['id']} is locked")


def gone(cloud: Cloud, s: Row) -> None:
    """A server is no more: ports Nova made go, others are free again, volumes are let go."""
    if s["deleted"]:
        return
    for p in ports(cloud, s):
        release(cloud, p, made=p["id"] in s["made_ports"])
    for b in s["bdms"]:
        volume = cloud["volumes"].get(b["volume_id"])
        if volume is not None:
            detach(cloud, volume, s["id"])
            if b["dot"]:
                del cloud["volumes"][volume["id"]]
    for g in cloud["server_groups"].values():
        g["members"] = [m for m in g["members"] if m != s["id"]]
    now = cloud.now()
    touch(cloud, s, deleted=True, vm_state="deleted", task_state=None, terminated_at=now, power_state=0, request=False)


def release(cloud: Cloud, port: Row, *, made: bool) -> None:
    """Take a port from its server."""
    if made:
        remove_port(cloud, port)
        return
    port |= {"device_id": "", "device_owner": "", "binding:host_id": "", "dns_name": ""}
    bind(cloud, port)
    bump(cloud, port)


def detach(cloud: Cloud, volume: Row, server_id: str) -> None:
    """Take a volume from a server."""
    for a in attachments_of(cloud["attachments"], volume["id"]):
        if a["server_id"] == server_id:
            del cloud["attachments"][a["id"]]
    if not attachments_of(cloud["attachments"], volume["id"]):
        volume |= {"status": "available", "updated_at": cloud.now()}

"""Neutron's API over the tables: one engine for all kinds, tags, extensions, quotas, zones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from sim.faults import WEBOB_404, Refused
from sim.neutron_core import (
    bad,
    bump,
    check_update,
    disallowed,
    fetch,
    match_revision,
    missing,
    owned,
    prepare,
    run,
    show,
    visible,
)
from sim.neutron_extensions import aliases
from sim.neutron_groups import default_group
from sim.neutron_tables import BY_PATH, KINDS, QUOTAS, Kind
from sim.population_ports import Ports, ports_of_project
from sim.web import Answer, Call, forbid, route
from sim.world import Row

NO_FILTER = {"fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"}
TAG_FILTERS = {"tags", "tags-any", "not-tags", "not-tags-any"}


def need_member(call: Call, kind: Kind, verb: str) -> None:
    """Raises Refused 403 for a caller who may only read."""
    if not (call.who.may("member") or call.who.service):
        raise disallowed(f"{verb}_{kind.one}")


def create_one(call: Call, kind: Kind, given: Row) -> Row:
    """Make one object."""
    row = prepare(call, kind, given)
    if kind.many in QUOTAS or kind.one in QUOTAS:
        _within_quota(call, kind, row["project_id"])
    run(kind, "create", call, row, given)
    call.cloud[kind.many][row["id"]] = row
    run(kind, "created", call, row, given)
    return row


def _within_quota(call: Call, kind: Kind, project: str) -> None:
    limit = quota_of(call, project)[kind.one]
    if limit >= 0 and _count(call, kind, project) >= limit:
        raise Refused(409, f"Quota exceeded for resources: ['{kind.one}'].", kind="OverQuota")


def _count(call: Call, kind: Kind, project: str) -> int:
    table = call.cloud[kind.many]
    if kind.one == "port":
        return ports_of_project(table, project)
    return sum(1 for r in table.values() if r["project_id"] == project)


def _create(kind: Kind, call: Call) -> Answer:
    need_member(call, kind, "create")
    if isinstance(call.doc, dict) and isinstance(call.doc.get(kind.many), list):
        rows = [create_one(call, kind, g) for g in call.doc[kind.many]]
        return Answer(201, {kind.many: [show(call, kind, r) for r in rows]})
    return Answer(201, {kind.one: show(call, kind, create_one(call, kind, call.body(kind.one)))})


def _list(kind: Kind, call: Call) -> Row:
    if kind.one in ("security_group", "security_group_rule") and call.who.project_id:
        asked = call.get("project_id") or call.get("tenant_id") if kind.one == "security_group" else ""
        default_group(call.cloud, asked or call.who.project_id)
    table, wanted = call.cloud[kind.many], _wanted(call)
    keys, dirs, marker, limit = call.values("sort_key"), call.values("sort_dir"), call.get("marker"), call.get("limit")
    if limit and not limit.isdigit():
        raise bad(f"Bad limit request: Limit must be an integer 0 or greater and not '{limit}'.", "BadRequest")
    back, most = call.flag("page_reverse"), int(limit or 0)
    if isinstance(table, Ports) and not keys and not back:  # no list of all of them is made for a page
        if marker and not any(_meant(call, kind, [table[marker]] if marker in table else [], wanted)):
            raise missing(kind, marker)
        own = {} if call.who.admin or call.who.service else {"project_id": [call.who.project_id]}  # no more is visible
        found = _meant(call, kind, table.select(wanted | own, marker), wanted)
        rows = list(islice(found, most + 1 if most else None))
        marker = ""
    else:
        rows = sorted(_meant(call, kind, table.values(), wanted), key=lambda r: str(r["id"]))
    for n, key in reversed(list(enumerate(keys))):
        reverse = n < len(dirs) and dirs[n] == "desc"
        rows.sort(key=lambda r, key=key: (r.get(key) is not None, str(r.get(key))), reverse=reverse)  # type: ignore[misc]
    if back:
        rows.reverse()
    links: Row = {}
    if marker:
        at = next((n for n, r in enumerate(rows) if r["id"] == marker), None)
        if at is None:
            raise missing(kind, marker)
        rows = rows[at + 1 :]
    if most:
        more = len(rows) > most
        rows = rows[:most]
        links = _links(call, kind, rows, more, back)
    if back:
        rows.reverse()
    return {kind.many: [show(call, kind, r) for r in rows], **links}


def _links(call: Call, kind: Kind, rows: list[Row], more: bool, back: bool) -> Row:
    from urllib.parse import urlencode

    if not rows:
        return {}
    query = [(k, v) for k, v in call.query if k not in ("marker", "page_reverse")]
    base = call.cloud.root + call.request.path
    last, first = (rows[0], rows[-1]) if back else (rows[-1], rows[0])
    found = [{"rel": "next", "href": f"{base}?{urlencode([*query, ('marker', last['id'])])}"}] if more or back else []
    href = f"{base}?{urlencode([*query, ('marker', first['id']), ('page_reverse', 'True')])}"
    return {f"{kind.many}_links": [*found, {"rel": "previous", "href": href}]}


def _wanted(call: Call) -> dict[str, list[str]]:
    """The query's filters: any of a name's values, all of the names."""
    wanted: dict[str, list[str]] = {}
    for k, v in call.query:
        if k not in NO_FILTER:
            wanted.setdefault("project_id" if k == "tenant_id" else k, []).append(v)
    return wanted


def _meant(call: Call, kind: Kind, rows: Iterable[Row], wanted: Mapping[str, list[str]]) -> Iterable[Row]:
    return (r for r in rows if visible(call, kind, r) and matches(kind, r, wanted))


def matches(kind: Kind, row: Row, wanted: Mapping[str, list[str]]) -> bool:
    """Whether a row passes filters."""
    for name, values in wanted.items():
        if name in TAG_FILTERS:
            asked = {t for v in values for t in v.split(",")}
            have = set(row["tags"])
            ok = {"tags": asked <= have, "tags-any": bool(asked & have), "not-tags": not asked <= have,
                  "not-tags-any": not asked & have}[name]  # fmt: skip
        elif name == "fixed_ips":
            ok = all(_fixed(row, v) for v in values)
        elif name == "security_groups":
            ok = any(v in row["security_groups"] for v in values)
        elif name == "changed_since":
            ok = True
        elif name in row:
            ok = any(_equal(row[name], v) for v in values)
        else:
            known = name in kind.attrs or name in ("subnets", "ip_address")
            if not known:
                raise bad(f"{[name]} is invalid attribute for filtering")
            ok = True
        if not ok:
            return False
    return True


def _fixed(row: Row, wanted: str) -> bool:
    name, _, value = wanted.partition("=")
    if name == "ip_address_substr":
        return any(value in f["ip_address"] for f in row["fixed_ips"])
    return any(f.get(name) == value for f in row["fixed_ips"])


def _equal(have: Any, wanted: str) -> bool:
    if isinstance(have, bool):
        return have == (wanted.lower() in ("true", "1"))
    return wanted in ("", "None") if have is None else str(have) == wanted


def _get(kind: Kind, call: Call, ident: str) -> Row:
    return {kind.one: show(call, kind, fetch(call, kind, ident))}


def _update(kind: Kind, call: Call, ident: str) -> Row:
    row = fetch(call, kind, ident)
    given = call.body(kind.one)
    need_member(call, kind, "update")
    check_update(call, kind, given)
    if not (owned(call, row) or call.who.service):
        raise disallowed(f"update_{kind.one}")
    match_revision(call, row)
    before = dict(row)
    run(kind, "update", call, row, given)
    row |= {k: v for k, v in given.items() if k not in ("external_gateway_info", "fixed_ips")}
    if row != before or given:
        bump(call.cloud, row)
    return {kind.one: show(call, kind, row)}


def _delete(kind: Kind, call: Call, ident: str) -> Answer:
    row = fetch(call, kind, ident)
    need_member(call, kind, "delete")
    if not (owned(call, row) or call.who.service):
        raise disallowed(f"delete_{kind.one}")
    match_revision(call, row)
    run(kind, "delete", call, row, {})
    call.cloud[kind.many].pop(ident, None)
    run(kind, "deleted", call, row, {})
    return Answer(204, None)


def _register(kind: Kind) -> None:
    base, item = f"/v2.0/{kind.path}", f"/v2.0/{kind.path}/{{ident}}"
    route("network", "GET", base, "any")(lambda call: _list(kind, call))
    route("network", "POST", base, "any")(lambda call: _create(kind, call))
    route("network", "GET", item, "any")(lambda call, ident: _get(kind, call, ident))
    route("network", "PUT", item, "any")(lambda call, ident: _update(kind, call, ident))
    route("network", "DELETE", item, "any")(lambda call, ident: _delete(kind, call, ident))


for _kind in KINDS.values():
    _register(_kind)


# Tags


def _tagged(call: Call, many: str, ident: str, write: bool) -> Row:
    kind = BY_PATH.get(many) or BY_PATH.get(many.replace("_", "-"))
    if kind is None:
        raise Refused(404, WEBOB_404)
    row = fetch(call, kind, ident)
    if write:
        need_member(call, kind, "update")
        if not owned(call, row):
            raise disallowed(f"update_{kind.one}:tags")
        bump(call.cloud, row)
    return row


@route("network", "GET", "/v2.0/{many}/{ident}/tags", "any")
def tags(call: Call, many: str, ident: str) -> Row:
    return {"tags": _tagged(call, many, ident, False)["tags"]}


@route("network", "PUT", "/v2.0/{many}/{ident}/tags", "any")
def set_tags(call: Call, many: str, ident: str) -> Row:
    given = call.doc.get("tags") if isinstance(call.doc, dict) else None
    if not isinstance(given, list):
        raise bad("Invalid tags body")
    row = _tagged(call, many, ident, True)
    row["tags"] = sorted(set(given))
    return {"tags": row["tags"]}


@route("network", "DELETE", "/v2.0/{many}/{ident}/tags", "any")
def drop_tags(call: Call, many: str, ident: str) -> Answer:
    _tagged(call, many, ident, True)["tags"] = []
    return Answer(204)


@route("network", "GET", "/v2.0/{many}/{ident}/tags/{tag}", "any")
@route("network", "PUT", "/v2.0/{many}/{ident}/tags/{tag}", "any")
@route("network", "DELETE", "/v2.0/{many}/{ident}/tags/{tag}", "any")
def one_tag(call: Call, many: str, ident: str, tag: str) -> Answer:
    row = _tagged(call, many, ident, call.method != "GET")
    if call.method == "PUT":
        row["tags"] = sorted({*row["tags"], tag})
        return Answer(201, None, stream=b"null", headers={"Content-Type": "application/json"})
    if tag not in row["tags"]:
        raise Refused(404, f"Tag {tag} could not be found.", kind="TagNotFound")
    if call.method == "DELETE":
        row["tags"] = [t for t in row["tags"] if t != tag]
    return Answer(204)


# Versions, extensions, quotas, zones


@route("network", "GET", "/", "")
def versions(call: Call) -> Row:
    link = {"rel": "self", "href": f"{call.cloud.url('network')}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


@route("network", "GET", "/v2.0/", "")
def resources(call: Call) -> Row:
    rows = [{"name": k.many, "collection": k.many, "links": []} for k in KINDS.values()]
    return {"resources": rows}


def _extension(alias: str) -> Row:
    return {"name": alias, "alias": alias, "description": "", "updated": "2020-01-01T10:00:00-00:00", "links": []}


@route("network", "GET", "/v2.0/extensions", "any")
def extensions(call: Call) -> Row:
    """``fields`` does not matter here."""
    return {"extensions": [_extension(a) for a in aliases(call.cloud)]}


@route("network", "GET", "/v2.0/extensions/{alias}", "any")
def extension(call: Call, alias: str) -> Row:
    if alias not in aliases(call.cloud):
        raise Refused(404, f"Extension with alias {alias} does not exist")
    return {"extension": _extension(alias)}


@route("network", "GET", "/v2.0/availability_zones", "any")
def zones(call: Call) -> Row:
    return {"availability_zones": []}


@route("network", "GET", "/v2.0/agents", "any")
def agents(call: Call) -> Row:
    if not call.who.admin:
        return {"agents": []}
    return {"agents": list(call.cloud["agents"].values())}


@route("network", "GET", "/v2.0/service-providers", "any")
def providers(call: Call) -> Row:
    return {"service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": False}]}


def quota_of(call: Call, project: str) -> Row:
    """The limits of a project. At a site they never say no first."""
    factor = 1 if call.cloud.hub else 10
    limits = {k: v * factor if v > 30 else v for k, v in QUOTAS.items() if k != "router_route" or call.cloud.newest}
    return limits | call.cloud["network_quotas"].get(project, {})


@route("network", "GET", "/v2.0/quotas/{project}", "any")
@route("network", "GET", "/v2.0/quotas/{project}/default", "any")
def quota(call: Call, project: str) -> Row:
    if project != call.who.project_id and not call.who.admin:
        forbid(call, "get_quota")
    return {"quota": quota_of(call, project if not call.path.endswith("/default") else "")}


@route("network", "GET", "/v2.0/quotas/{project}/details", "any")
def quota_details(call: Call, project: str) -> Row:
    limits = quota(call, project)["quota"]
    counts = {k: _count(call, KINDS[k], project) if k in KINDS else 0 for k in limits}
    return {"quota": {k: {"limit": v, "used": counts[k], "reserved": 0} for k, v in limits.items()}}


@route("network", "PUT", "/v2.0/quotas/{project}", "admin", "update_quota")
def set_quota(call: Call, project: str) -> Row:
    given = call.body("quota")
    unknown = [k for k in given if k not in QUOTAS]
    if unknown:
        raise bad(f"Unrecognized attribute(s) '{unknown[0]}'")
    call.cloud["network_quotas"].setdefault(project, {}).update(given)
    return {"quota": quota_of(call, project)}


@route("network", "DELETE", "/v2.0/quotas/{project}", "admin", "delete_quota")
def drop_quota(call: Call, project: str) -> Answer:
    if call.cloud["network_quotas"].pop(project, None) is None:
        raise Refused(404, f"Quota for tenant {project} could not be found.", kind="TenantQuotaNotFound")
    return Answer(204)

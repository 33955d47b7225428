"""Keystone's directory: domains, projects, users, roles, groups, the catalogue's rows; all by one table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from sim.faults import Refused
from sim.keystone import granted
from sim.web import Answer, Call, forbid, route
from sim.world import Cloud, Row, new_hex


@dataclass(frozen=True)
class Kind:
    """A collection. ``scope``: the column within which names are unique; None = names are not unique."""

    one: str
    many: str
    defaults: Row
    scope: str | None = "domain_id"
    filters: tuple[str, ...] = ("name", "enabled", "domain_id")
    hidden: tuple[str, ...] = ()
    required: tuple[str, ...] = ("name",)
    public: bool = False
    """Every signed-in user may read it."""
    extra: Row = field(default_factory=dict)


KINDS = {
    k.many: k
    for k in (
        Kind("domain", "domains", {"description": "", "enabled": True, "tags": [], "options": {}}, scope="", public=True),
        Kind("project", "projects", {"domain_id": None, "description": "", "enabled": True, "parent_id": None, "is_domain": False,
             "tags": [], "options": {}}, filters=("name", "enabled", "domain_id", "parent_id", "is_domain")),
        Kind("user", "users", {"domain_id": None, "enabled": True, "password_expires_at": None, "options": {}},
             hidden=("password",), filters=("name", "enabled", "domain_id")),
        Kind("role", "roles", {"domain_id": None, "description": None, "options": {}}, filters=("name", "domain_id"), public=True),
        Kind("group", "groups", {"domain_id": None, "description": ""}),
        Kind("region", "regions", {"description": "", "parent_region_id": None}, scope=None, filters=("parent_region_id",),
             required=(), public=True),
        Kind("service", "services", {"name": "", "enabled": True}, scope=None, filters=("name", "type"), required=("type",)),
        Kind("endpoint", "endpoints", {"enabled": True}, scope=None, filters=("interface", "service_id", "region_id"),
             required=("service_id", "interface", "url")),
    )
}  # fmt: skip


def show(cloud: Cloud, kind: Kind, row: Row) -> Row:
    """A row as the API shows it."""
    doc = {k: v for k, v in row.items() if k not in kind.hidden}
    if kind.one == "endpoint":
        doc["region"] = doc["region_id"]
    return {**doc, "links": {"self": f"{cloud.url('identity')}/v3/{kind.many}/{row['id']}"}}


def collection(call: Call, many: str, rows: list[Any]) -> Row:
    """A list document."""
    query = "?" + urlencode(call.query) if call.query else ""
    here = f"{call.cloud.url('identity')}{call.path}{query}"
    return {many: rows, "links": {"next": None, "self": here, "previous": None}}


def fetch(cloud: Cloud, many: str, ident: str) -> Row:
    """A row. Raises Refused 404."""
    row = cloud[many].get(ident)
    if row is None:
        raise Refused(404, f"Could not find {KINDS[many].one}: {ident}.")
    return row


def domain_of_admin(call: Call, rule: str) -> str | None:
    """None for a cloud administrator, the domain for a domain's manager. Raises Refused 403."""
    if call.who.admin:
        return None
    if call.who.token["scope"] == "domain" and call.who.may("manager"):
        return str(call.who.token["target"])
    forbid(call, f"identity:{rule}")
    raise AssertionError


def _within(call: Call, kind: Kind, row: Row, rule: str) -> None:
    domain = domain_of_admin(call, rule)
    if domain is not None and (kind.one not in ("project", "user", "group") or row.get("domain_id") != domain):
        forbid(call, f"identity:{rule}")


def _may_read(call: Call, kind: Kind, row: Row) -> bool:
    who = call.who
    if kind.public or who.admin or who.service:
        return True
    if kind.one == "user" and row["id"] == who.user_id:
        return True
    if kind.one == "project" and granted(call.cloud, who.user_id, "project", row["id"]):
        return True
    return bool(who.token["scope"] == "domain" and who.may("reader") and row.get("domain_id") == who.token["target"])


def _matches(kind: Kind, row: Row, call: Call) -> bool:
    for key, value in call.query:
        name, _, op = key.partition("__")
        if name not in kind.filters or name not in row:
            continue
        got = row[name]
        if isinstance(got, bool):
            if got != (value.lower() not in ("false", "0", "no")):
                return False
        elif op in ("contains", "startswith", "endswith", "icontains"):
            pattern = {"startswith": "^{}", "endswith": "{}$"}.get(op, "{}").format(re.escape(value))
            if not re.search(pattern, str(got), re.IGNORECASE if op[0] == "i" else 0):
                return False
        elif str(got) != value:
            return False
    return True


def _list(kind: Kind, call: Call) -> Row:
    domain = None
    if not (kind.public or call.who.service):
        token = call.who.token
        if token["scope"] == "domain" and call.who.may("reader") and not call.who.admin:
            domain = token["target"]
        elif not call.who.admin:
            forbid(call, f"identity:list_{kind.many}")
    rows = [r for r in call.cloud[kind.many].values() if _matches(kind, r, call) and domain in (None, r.get("domain_id"))]
    shown = [show(call.cloud, kind, r) for r in sorted(rows, key=lambda r: str(r["id"]))]
    limit = call.get("limit")
    if limit.isdigit() and 0 < int(limit) < len(shown):
        return {**collection(call, kind.many, shown[: int(limit)]), "truncated": True}
    return collection(call, kind.many, shown)


def _get(kind: Kind, call: Call, ident: str) -> Row:
    row = call.cloud[kind.many].get(ident)
    if row is None:
        if not (call.who.admin or call.who.service or kind.public):
            forbid(call, f"identity:get_{kind.one}")
        fetch(call.cloud, kind.many, ident)
    assert row is not None
    if not _may_read(call, kind, row):
        forbid(call, f"identity:get_{kind.one}")
    return {kind.one: show(call.cloud, kind, row)}


def _unique(kind: Kind, cloud: Cloud, row: Row) -> None:
    if kind.scope is None:
        return
    for other in cloud[kind.many].values():
        same = other["name"].lower() == row["name"].lower() and (not kind.scope or other[kind.scope] == row[kind.scope])
        if not same or other["id"] == row["id"]:
            continue
        what = f"Duplicate entry found with name {row['name']}"
        if kind.one == "project":
            what = "it is not permitted to have two projects with either the same name or same id in the same domain: name is "
            what += f"{row['name']}, project id {row['id']}"
        elif kind.one == "user":
            what += f" at domain ID {row['domain_id']}"
        raise Refused(409, f"Conflict occurred attempting to store {kind.one} - {what}.")


def _create(kind: Kind, call: Call) -> Answer:
    doc = call.body(kind.one)
    for name in kind.required:
        if not doc.get(name):
            raise Refused(400, f"'{name}' is a required property")
    row = {"id": doc.get("id", new_hex()) if kind.one == "region" else new_hex(), **kind.defaults, **doc}
    if kind.one != "region":
        row["id"] = doc["explicit_domain_id"] if "explicit_domain_id" in doc and kind.one == "domain" else new_hex()
        row.pop("explicit_domain_id", None)
    if kind.one in ("project", "user", "group"):
        row["domain_id"] = row["domain_id"] or (call.who.token["target"] if call.who.token["scope"] == "domain" else "default")
    _within(call, kind, row, f"create_{kind.one}")
    if kind.one in ("project", "user", "group"):
        fetch(call.cloud, "domains", row["domain_id"])
    if kind.one == "project":
        row["parent_id"] = row["parent_id"] or row["domain_id"]
    if kind.one == "endpoint":
        row.setdefault("region_id", row.pop("region", None))
        row["url"] = row["url"].rstrip()
    _unique(kind, call.cloud, row)
    call.cloud[kind.many][row["id"]] = row
    return Answer(201, {kind.one: show(call.cloud, kind, row)})


def _update(kind: Kind, call: Call, ident: str) -> Row:
    row = fetch(call.cloud, kind.many, ident)
    _within(call, kind, row, f"update_{kind.one}")
    changed = {**row, **call.body(kind.one), "id": row["id"]}
    _unique(kind, call.cloud, changed)
    row |= changed
    if kind.one in ("user", "project") and not row["enabled"]:
        drop_tokens(call.cloud, **{kind.one: ident})
    more: Row = {"extra": {}} if kind.one == "user" else {}
    return {kind.one: {**show(call.cloud, kind, row), **more}}


def _delete(kind: Kind, call: Call, ident: str) -> Answer:
    row = fetch(call.cloud, kind.many, ident)
    _within(call, kind, row, f"delete_{kind.one}")
    if kind.one == "domain" and row["enabled"]:
        raise Refused(403, "Cannot delete a domain that is enabled, please disable it first.")
    del call.cloud[kind.many][ident]
    for key, g in list(call.cloud["grants"].items()):
        if ident in (g["user"], g["target"], g["role"]):
            del call.cloud["grants"][key]
    for key, c in list(call.cloud["app_creds"].items()):
        if ident in (c["user_id"], c["project_id"]):
            del call.cloud["app_creds"][key]
    drop_tokens(call.cloud, user=ident if kind.one == "user" else "", project=ident if kind.one == "project" else "")
    return Answer(204)


def drop_tokens(cloud: Cloud, *, user: str = "", project: str = "", app_cred: str = "") -> None:
    """Tokens of what is gone are not valid any more."""
    for value, t in list(cloud["tokens"].items()):
        if (user and t["user_id"] == user) or (project and t["project_id"] == project) or (app_cred and t["app_cred"] == app_cred):
            del cloud["tokens"][value]


def _register(kind: Kind) -> None:
    base, item = f"/v3/{kind.many}", f"/v3/{kind.many}/{{ident}}"
    route("identity", "GET", base, "any")(lambda call: _list(kind, call))
    route("identity", "POST", base, "any")(lambda call: _create(kind, call))
    for method in ("GET", "HEAD"):
        route("identity", method, item, "any")(lambda call, ident: _get(kind, call, ident))
    route("identity", "PATCH", item, "any")(lambda call, ident: _update(kind, call, ident))
    route("identity", "DELETE", item, "any")(lambda call, ident: _delete(kind, call, ident))


for _kind in KINDS.values():
    _register(_kind)


@route("identity", "POST", "/v3/users/{ident}/password", "any")
def change_password(call: Call, ident: str) -> Answer:
    user, doc = fetch(call.cloud, "users", ident), call.body("user")
    if doc.get("original_password") != user["password"]:
        raise Refused(401)
    user["password"] = doc["password"]
    drop_tokens(call.cloud, user=ident)
    return Answer(204)


def made(cloud: Cloud, many: str, **values: object) -> Row:
    """Something that was always there, with the defaults of its kind."""
    row: Row = {"id": new_hex(), **KINDS[many].defaults, **values}
    cloud[many][row["id"]] = row
    return row


def grant(cloud: Cloud, scope: str, target: str, user: str, role: str) -> None:
    """Assign a role."""
    cloud["grants"][f"{scope}/{target}/{user}/{role}"] = {"scope": scope, "target": target, "user": user, "role": role}

"""Keystone's role assignments, application credentials and what a caller may ask about himself."""

from __future__ import annotations

from sim.faults import Refused
from sim.keystone import IMPLIED, domain_ref, granted, make_app_cred, role_refs
from sim.keystone_directory import KINDS, collection, domain_of_admin, drop_tokens, fetch, show
from sim.web import Answer, Call, forbid, route
from sim.world import Cloud, Row, micro

SCOPES = {"projects": "project", "domains": "domain"}
GRANTABLE = ("manager", "member", "reader")
"""What a domain's manager may grant."""


def _grant(call: Call, scope: str, target: str, user: str, role: str, rule: str) -> tuple[str, Row]:
    """The assignment's key and row, its parts checked. Raises Refused 403, 404."""
    cloud = call.cloud
    domain = domain_of_admin(call, rule)
    row = fetch(cloud, "roles", role)
    owner = fetch(cloud, "users", user)
    place = fetch(cloud, f"{scope}s", target) if scope != "system" else {}
    if domain is not None:
        inside = domain in (place.get("domain_id"), place.get("id")) and owner["domain_id"] == domain
        if not inside or row["name"] not in GRANTABLE:
            forbid(call, f"identity:{rule}")
    return f"{scope}/{target}/{user}/{role}", {"scope": scope, "target": target, "user": user, "role": role}


def _put(call: Call, scope: str, target: str, user: str, role: str) -> Answer:
    key, row = _grant(call, scope, target, user, role, "create_grant")
    call.cloud["grants"][key] = row
    return Answer(204)


def _check(call: Call, scope: str, target: str, user: str, role: str) -> Answer:
    key, _ = _grant(call, scope, target, user, role, "check_grant")
    if key not in call.cloud["grants"]:
        raise Refused(
            404, f"Could not find role assignment with role: {role}, user or group: {user}, project, domain, or system: {target}."
        )
    return Answer(204)  # fmt: skip


def _delete(call: Call, scope: str, target: str, user: str, role: str) -> Answer:
    key, _ = _grant(call, scope, target, user, role, "revoke_grant")
    _check(call, scope, target, user, role)
    cloud = call.cloud
    del cloud["grants"][key]
    drop_tokens(cloud, user=user)
    for ident, c in list(cloud["app_creds"].items()):  # Keystone drops credentials when a role they may rest on goes
        if c["user_id"] == user and c["project_id"] == target:
            del cloud["app_creds"][ident]
    return Answer(204)


def _of(call: Call, scope: str, target: str, user: str) -> Row:
    domain_of_admin(call, "list_grants")
    rows = [g for g in call.cloud["grants"].values() if (g["scope"], g["target"], g["user"]) == (scope, target, user)]
    return collection(call, "roles", [show(call.cloud, KINDS["roles"], call.cloud["roles"][g["role"]]) for g in rows])


def _register(path: str, scope: str) -> None:
    base = f"/v3/{path}/{{target}}/users/{{user}}/roles"
    for method, act in (("PUT", _put), ("GET", _check), ("HEAD", _check), ("DELETE", _delete)):
        route("identity", method, base + "/{role}", "any")(
            lambda call, target, user, role, act=act: act(call, scope, target, user, role)
        )
    route("identity", "GET", base, "any")(lambda call, target, user: _of(call, scope, target, user))


for _path, _scope in SCOPES.items():
    _register(_path, _scope)
for _method, _act in (("PUT", _put), ("GET", _check), ("HEAD", _check), ("DELETE", _delete)):
    route("identity", _method, "/v3/system/users/{user}/roles/{role}", "any")(
        lambda call, user, role, act=_act: act(call, "system", "all", user, role)
    )
route("identity", "GET", "/v3/system/users/{user}/roles", "any")(lambda call, user: _of(call, "system", "all", user))


def _assignment(cloud: Cloud, g: Row, names: bool) -> Row:
    place: Row = {"id": g["target"]}
    user: Row = {"id": g["user"]}
    role: Row = {"id": g["role"]}
    if names:
        u = cloud["users"][g["user"]]
        user |= {"name": u["name"], "domain": domain_ref(cloud, u["domain_id"])}
        role["name"] = cloud["roles"][g["role"]]["name"]
        if g["scope"] == "project":
            p = cloud["projects"][g["target"]]
            place |= {"name": p["name"], "domain": domain_ref(cloud, p["domain_id"])}
        elif g["scope"] == "domain":
            place = domain_ref(cloud, g["target"])
    scope = {"system": {"all": True}} if g["scope"] == "system" else {g["scope"]: place}
    where = "system" if g["scope"] == "system" else f"{g['scope']}s/{g['target']}"
    link = f"{cloud.url('identity')}/v3/{where}/users/{g['user']}/roles/{g['role']}"
    return {"links": {"assignment": link}, "scope": scope, "user": user, "role": role}


@route("identity", "GET", "/v3/role_assignments", "any")
def assignments(call: Call) -> Row:
    cloud = call.cloud
    domain = None if call.who.service else domain_of_admin(call, "list_role_assignments")
    rows = list(cloud["grants"].values())
    if call.flag("effective"):
        effective = {(g["scope"], g["target"], g["user"]) for g in rows}
        rows = [
            {"scope": s, "target": t, "user": u, "role": ref["id"]}
            for s, t, u in sorted(effective)
            for ref in role_refs(cloud, granted(cloud, u, s, t))
        ]
    wanted = {
        "user": call.get("user.id"),
        "role": call.get("role.id"),
        "target": call.get("scope.project.id") or call.get("scope.domain.id"),
    }
    rows = [g for g in rows if all(not v or g[k] == v for k, v in wanted.items())]
    if call.get("scope.system"):
        rows = [g for g in rows if g["scope"] == "system"]
    if domain is not None:
        rows = [g for g in rows if cloud["users"][g["user"]]["domain_id"] == domain]
    names = any(k == "include_names" and v.lower() not in ("0", "false") for k, v in call.query)
    return collection(call, "role_assignments", [_assignment(cloud, g, names) for g in rows])


@route("identity", "GET", "/v3/role_inferences", "any")
def inferences(call: Call) -> Row:
    def ref(name: str) -> Row:
        (row,) = role_refs(call.cloud, [name])
        return {**row, "links": {"self": f"{call.cloud.url('identity')}/v3/roles/{row['id']}"}}

    domain_of_admin(call, "list_role_inference_rules")
    return {"role_inferences": [{"prior_role": ref(a), "implies": [ref(b)]} for a, b in IMPLIED.items()]}


def _mine(call: Call) -> list[Row]:
    who, cloud = call.who, call.cloud
    return [p for p in cloud["projects"].values() if p["enabled"] and granted(cloud, who.user_id, "project", p["id"])]


@route("identity", "GET", "/v3/auth/projects", "any")
def auth_projects(call: Call) -> Row:
    return collection(call, "projects", [show(call.cloud, KINDS["projects"], p) for p in _mine(call)])


@route("identity", "GET", "/v3/users/{user}/projects", "any")
def user_projects(call: Call, user: str) -> Row:
    if user != call.who.user_id:
        domain_of_admin(call, "list_user_projects")
    rows = [p for p in call.cloud["projects"].values() if granted(call.cloud, user, "project", p["id"])]
    return collection(call, "projects", [show(call.cloud, KINDS["projects"], p) for p in rows])


@route("identity", "GET", "/v3/auth/domains", "any")
def auth_domains(call: Call) -> Row:
    rows = [d for d in call.cloud["domains"].values() if granted(call.cloud, call.who.user_id, "domain", d["id"])]
    return collection(call, "domains", [show(call.cloud, KINDS["domains"], d) for d in rows])


@route("identity", "GET", "/v3/auth/system", "any")
def auth_system(call: Call) -> Row:
    rows = [{"all": True}] if granted(call.cloud, call.who.user_id, "system", "all") else []
    return collection(call, "system", rows)


# Application credentials


def _credential(cloud: Cloud, row: Row, *, secret: bool = False) -> Row:
    roles = [{k: cloud["roles"][r][k] for k in ("id", "name", "domain_id", "description", "options")} for r in row["roles"]]
    doc = {
        **{k: row[k] for k in ("id", "name", "description", "user_id", "project_id")}, "system": None,
        "expires_at": micro(row["expires_at"]), "unrestricted": row["unrestricted"], "roles": roles,
        "links": {"self": f"{cloud.url('identity')}/v3/application_credentials/{row['id']}"},
    }  # fmt: skip
    if row["access_rules"]:
        doc["access_rules"] = row["access_rules"]
    return {**doc, "secret": row["secret"]} if secret else doc


def _own(call: Call, user: str, rule: str) -> Row:
    if user != call.who.user_id and not call.who.admin:
        forbid(call, f"identity:{rule}")
    return fetch(call.cloud, "users", user)


@route("identity", "POST", "/v3/users/{user}/application_credentials", "any")
def create_credential(call: Call, user: str) -> Answer:
    row = make_app_cred(call, _own(call, user, "create_application_credential"), call.body("application_credential"))
    return Answer(201, {"application_credential": _credential(call.cloud, row, secret=True)})


@route("identity", "GET", "/v3/users/{user}/application_credentials", "any")
def list_credentials(call: Call, user: str) -> Row:
    _own(call, user, "list_application_credentials")
    name = call.get("name")
    rows = [c for c in call.cloud["app_creds"].values() if c["user_id"] == user and name in ("", c["name"])]
    return collection(call, "application_credentials", [_credential(call.cloud, c) for c in rows])


def _one(call: Call, user: str, ident: str, rule: str) -> Row:
    _own(call, user, rule)
    row = call.cloud["app_creds"].get(ident)
    if row is None or row["user_id"] != user:
        raise Refused(404, f"Could not find Application Credential: {ident}.")
    return row


@route("identity", "GET", "/v3/users/{user}/application_credentials/{ident}", "any")
def get_credential(call: Call, user: str, ident: str) -> Row:
    return {"application_credential": _credential(call.cloud, _one(call, user, ident, "get_application_credential"))}


@route("identity", "DELETE", "/v3/users/{user}/application_credentials/{ident}", "any")
def delete_credential(call: Call, user: str, ident: str) -> Answer:
    _one(call, user, ident, "delete_application_credential")
    del call.cloud["app_creds"][ident]
    drop_tokens(call.cloud, app_cred=ident)
    return Answer(204)


def _rule(cloud: Cloud, row: Row) -> Row:
    shown = {k: row[k] for k in ("id", "service", "path", "method")}
    return {**shown, "links": {"self": f"{cloud.url('identity')}/v3/access_rules/{row['id']}"}}


@route("identity", "GET", "/v3/users/{user}/access_rules", "any")
def access_rules(call: Call, user: str) -> Row:
    _own(call, user, "list_access_rules")
    rows = [r for r in call.cloud["access_rules"].values() if r["user_id"] == user]
    return collection(call, "access_rules", [_rule(call.cloud, r) for r in rows])


@route("identity", "DELETE", "/v3/users/{user}/access_rules/{ident}", "any")
def delete_access_rule(call: Call, user: str, ident: str) -> Answer:
    _own(call, user, "delete_access_rule")
    if any(r["id"] == ident for c in call.cloud["app_creds"].values() for r in c["access_rules"]):
        raise Refused(403, f"Access rule {ident} is in use by one or more application credentials and cannot be deleted.")
    if call.cloud["access_rules"].pop(ident, None) is None:
        raise Refused(404, f"Could not find Access Rule: {ident}.")
    return Answer(204)

"""Keystone's tokens: who signs in, for what scope, with which roles, and what a token's body says."""

from __future__ import annotations

import base64
import os
from typing import Any

from sim.faults import Refused
from sim.web import Answer, Call, route
from sim.world import Cloud, Row, Table, micro, new_hex, parse_time

IMPLIED = {"admin": "manager", "manager": "member", "member": "reader"}
"""Prior role -> the role it implies."""
VERSION = {"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z"}
MISSING_AUTH = (
    "Expecting to find {} in request body. The server could not comply with the request since it is either malformed or "
    "otherwise incorrect. The client is assumed to be in error."
)


def version_doc(cloud: Cloud) -> Row:
    """The one version."""
    media = [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]
    return {**VERSION, "links": [{"rel": "self", "href": f"{cloud.url('identity')}/v3/"}], "media-types": media}


@route("identity", "GET", "/", role="")
def versions(call: Call) -> Answer:
    return Answer(300, {"versions": {"values": [version_doc(call.cloud)]}}, {"Location": f"{call.cloud.url('identity')}/v3/"})


@route("identity", "GET", "/v3", role="")
@route("identity", "GET", "/v3/", role="")
def version(call: Call) -> Row:
    return {"version": version_doc(call.cloud)}


def named(table: Table, wanted: Row, domain: str | None = None) -> Row | None:
    """A row by ``{"id": ..}`` or ``{"name": ..}`` within a domain."""
    if "id" in wanted:
        return table.get(str(wanted["id"]))
    return next((r for r in table.values() if r["name"] == wanted.get("name") and domain in (None, r.get("domain_id"))), None)


def _domain(cloud: Cloud, wanted: Row) -> str | None:
    row = named(cloud["domains"], wanted.get("domain", {}))
    return row["id"] if row else "no such domain"


def find_user(cloud: Cloud, wanted: Row) -> Row:
    """An enabled user. Raises Refused 401."""
    user = named(cloud["users"], wanted, None if "id" in wanted else _domain(cloud, wanted))
    if user is None or not user["enabled"] or not cloud["domains"][user["domain_id"]]["enabled"]:
        raise Refused(401)
    return user


def granted(cloud: Cloud, user_id: str, scope: str, target: str) -> list[str]:
    """Names of the roles of a user on a scope, implied ones included, in Keystone's order."""
    direct = [
        cloud["roles"][g["role"]]["name"]
        for g in cloud["grants"].values()
        if (g["scope"], g["target"], g["user"]) == (scope, target, user_id)
    ]
    return with_implied(direct)


def with_implied(names: list[str]) -> list[str]:
    """Roles and what they imply."""
    found = list(names)
    for name in found:
        implied = IMPLIED.get(name)
        if implied and implied not in found:
            found.append(implied)
    return found


def role_refs(cloud: Cloud, names: list[str]) -> list[Row]:
    """``[{"id":.., "name":..}]``."""
    return [{"id": r["id"], "name": r["name"]} for n in names for r in cloud["roles"].values() if r["name"] == n]


@route("identity", "POST", "/v3/auth/tokens", role="")
def authenticate(call: Call) -> Answer:
    cloud = call.cloud
    doc = call.doc.get("auth") if isinstance(call.doc, dict) else None
    if not isinstance(doc, dict):
        raise Refused(400, MISSING_AUTH.format("auth"))
    identity = doc.get("identity")
    if not isinstance(identity, dict) or not isinstance(identity.get("methods"), list) or not identity["methods"]:
        raise Refused(400, "'identity' is a required property")
    token: Row = {"methods": list(identity["methods"]), "audit_ids": [_audit()], "app_cred": None}
    expires = cloud.now() + cloud.options.token_life
    user: Row | None = None
    scope = doc.get("scope")
    for method in identity["methods"]:
        payload = identity.get(method)
        if not isinstance(payload, dict):
            raise Refused(400, MISSING_AUTH.format(method))
        if method == "password":
            user = find_user(cloud, payload.get("user", {}))
            if payload.get("user", {}).get("password") != user["password"]:
                raise Refused(401)
        elif method == "token":
            old = live(cloud, str(payload.get("id", "")))
            if old is None or old["app_cred"]:
                raise Refused(401 if old is None else 403, "" if old is None else "rescope a scoped token")
            user, expires = cloud["users"][old["user_id"]], old["expires"]
            token["methods"] = sorted({*token["methods"], *old["methods"]}, reverse=True)
            token["audit_ids"].append(old["audit_ids"][-1])
            if scope is None and old["scope"]:
                scope = {old["scope"]: {"id": old["target"]} if old["scope"] != "system" else {"all": True}}
        elif method == "application_credential":
            user, credential = _credential(cloud, payload)
            if scope is not None:
                raise Refused(401)
            token["app_cred"] = credential["id"]
            scope = {"project": {"id": credential["project_id"]}}
            if credential["expires_at"] is not None:
                expires = min(expires, credential["expires_at"])
        else:
            raise Refused(401)
    if user is None:
        raise Refused(401)
    token |= {"user_id": user["id"], "issued": cloud.now(), "expires": expires}
    token |= _scoped(cloud, user, scope, token["app_cred"])
    value = "gAAAAA" + base64.urlsafe_b64encode(os.urandom(120)).decode().rstrip("=")
    cloud["tokens"][value] = token
    return Answer(201, {"token": body(call, token)}, {"X-Subject-Token": value})


def _audit() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


def _credential(cloud: Cloud, payload: Row) -> tuple[Row, Row]:
    if "id" in payload:
        found = cloud["app_creds"].get(str(payload["id"]))
        if found is None:  # Keystone says so; of a name it does not
            raise Refused(404, f"Could not find Application Credential: {payload['id']}.")
    else:
        owner = find_user(cloud, payload.get("user", {}))
        rows = cloud["app_creds"].values()
        found = next((c for c in rows if c["user_id"] == owner["id"] and c["name"] == payload.get("name")), None)
    if found is None or found["secret"] != payload.get("secret"):
        raise Refused(401)
    if found["expires_at"] is not None and found["expires_at"] < cloud.now():
        raise Refused(401)
    return find_user(cloud, {"id": found["user_id"]}), found


def _scoped(cloud: Cloud, user: Row, scope: Any, app_cred: str | None) -> Row:
    """The scope's part of a token. Raises Refused 401 for a scope where the user has no role."""
    none: Row = {"scope": None, "target": None, "project_id": None, "role_names": []}
    default = user.get("default_project_id")
    if scope is None and default and granted(cloud, user["id"], "project", default):
        scope = {"project": {"id": default}}
    if scope is None or "unscoped" in scope:
        return none
    if not isinstance(scope, dict):
        raise Refused(400, "scope is not of type 'object'")
    if "system" in scope:
        kind, target = "system", "all"
    elif "domain" in scope:
        row = named(cloud["domains"], scope["domain"])
        kind, target = "domain", row["id"] if row and row["enabled"] else ""
    else:
        wanted = scope.get("project", {})
        row = named(cloud["projects"], wanted, None if "id" in wanted else _domain(cloud, wanted))
        kind, target = "project", row["id"] if row and row["enabled"] else ""
    names = granted(cloud, user["id"], kind, target) if target else []
    if app_cred:
        mine = [cloud["roles"][r]["name"] for r in cloud["app_creds"][app_cred]["roles"]]
        names = [n for n in with_implied(mine) if n in names]
    if not names:
        raise Refused(401)
    return {"scope": kind, "target": target, "project_id": target if kind == "project" else None, "role_names": names}


def live(cloud: Cloud, value: str) -> Row | None:
    """A token's row while it is valid."""
    token = cloud["tokens"].get(value)
    return token if token is not None and token["expires"] >= cloud.now() else None


def domain_ref(cloud: Cloud, ident: str) -> Row:
    """``{"id":.., "name":..}``."""
    return {"id": ident, "name": cloud["domains"][ident]["name"]}


def body(call: Call, token: Row) -> Row:
    """A token as the API shows it."""
    cloud = call.cloud
    user = cloud["users"][token["user_id"]]
    doc: Row = {
        "methods": token["methods"],
        "user": {
            "domain": domain_ref(cloud, user["domain_id"]),
            "id": user["id"],
            "name": user["name"],
            "password_expires_at": None,
        },
        "audit_ids": token["audit_ids"],
        "expires_at": micro(token["expires"], "Z"),
        "issued_at": micro(token["issued"], "Z"),
    }
    if token["scope"] == "project":
        project = cloud["projects"][token["target"]]
        ref = {"domain": domain_ref(cloud, project["domain_id"]), "id": project["id"], "name": project["name"]}
        doc |= {"project": ref, "is_domain": project["is_domain"]}
    elif token["scope"] == "domain":
        doc["domain"] = domain_ref(cloud, token["target"])
    elif token["scope"] == "system":
        doc["system"] = {"all": True}
    if token["scope"]:
        doc["roles"] = role_refs(cloud, token["role_names"])
        if not any(k == "nocatalog" for k, _ in call.query):
            doc["catalog"] = catalog(cloud)
    if token["app_cred"]:
        credential = cloud["app_creds"][token["app_cred"]]
        shown = {"id": credential["id"], "name": credential["name"], "restricted": not credential["unrestricted"]}
        if credential["access_rules"]:
            shown["access_rules"] = credential["access_rules"]
        doc["application_credential"] = shown
    return doc


def catalog(cloud: Cloud) -> list[Row]:
    """Services with their endpoints."""
    found = []
    for s in cloud["services"].values():
        rows = [e for e in cloud["endpoints"].values() if e["service_id"] == s["id"] and e["enabled"]]
        ends = [{**{k: e[k] for k in ("id", "interface", "region_id", "url")}, "region": e["region_id"]} for e in rows]
        found.append({"endpoints": ends, "id": s["id"], "type": s["type"], "name": s["name"]})
    return found


def _subject(call: Call) -> Row:
    value = call.request.headers.get("X-Subject-Token", "")
    if not value:
        raise Refused(404, "No token in the request")
    token = call.cloud["tokens"].get(value)
    expired = token is not None and token["expires"] < call.cloud.now()
    if token is None or (expired and not call.flag("allow_expired")):
        raise Refused(404, "Could not recognize Fernet token")
    own = value == call.request.headers.get("X-Auth-Token")
    if not (own or call.who.admin or call.who.service or token["user_id"] == call.who.user_id):
        raise Refused(403, "You are not authorized to perform the requested action: identity:validate_token.")
    return token


@route("identity", "GET", "/v3/auth/tokens", role="any")
@route("identity", "HEAD", "/v3/auth/tokens", role="any")
def validate(call: Call) -> Answer:
    token = _subject(call)
    return Answer(200, {"token": body(call, token)}, {"X-Subject-Token": call.request.headers["X-Subject-Token"]})


@route("identity", "DELETE", "/v3/auth/tokens", role="any")
def revoke(call: Call) -> Answer:
    _subject(call)
    call.cloud["tokens"].pop(call.request.headers["X-Subject-Token"], None)
    return Answer(204)


@route("identity", "GET", "/v3/auth/catalog", role="any")
def auth_catalog(call: Call) -> Row:
    if not call.who.token["scope"]:
        raise Refused(403, "A project-scoped token is required to produce a service catalog.")
    return {"catalog": catalog(call.cloud), "links": {"self": f"{call.cloud.url('identity')}/v3/auth/catalog"}}


def make_app_cred(call: Call, user: Row, doc: Row) -> Row:
    """A new application credential with a subset of the token's roles. Raises Refused 400, 403, 409."""
    cloud, token = call.cloud, call.who.token
    if user["id"] != token["user_id"] or token["scope"] != "project":
        raise Refused(403, "You are not authorized to perform the requested action: identity:create_application_credential.")
    if token["app_cred"] and not cloud["app_creds"][token["app_cred"]]["unrestricted"]:
        raise Refused(403, "Using method 'application_credential' is not allowed for managing additional application credentials.")
    if not isinstance(doc.get("name"), str) or not doc["name"]:
        raise Refused(400, "'name' is a required property")
    roles = []
    for wanted in doc.get("roles") or role_refs(cloud, token["role_names"]):
        role = named(cloud["roles"], wanted)
        if role is None:
            raise Refused(404, f"Could not find role: {wanted.get('id') or wanted.get('name')}.")
        if role["name"] not in token["role_names"]:
            raise Refused(400, "Invalid application credential: Cannot create an application credential with unassigned role")
        roles.append(role["id"])
    mine = [c for c in cloud["app_creds"].values() if c["user_id"] == user["id"]]
    if any(c["name"] == doc["name"] for c in mine):
        name = doc["name"]
        raise Refused(
            409, f"Conflict occurred attempting to store application_credential - Duplicate entry found with name {name}."
        )
    rules = [{"id": new_hex(), **{k: r[k] for k in ("service", "path", "method")}} for r in doc.get("access_rules") or ()]
    for r in rules:
        cloud["access_rules"][r["id"]] = {**r, "user_id": user["id"]}
    secret = doc.get("secret") or base64.urlsafe_b64encode(os.urandom(64)).decode().rstrip("=")
    expires = parse_time(doc["expires_at"]) if doc.get("expires_at") else None
    row = {
        "id": new_hex(), "name": doc["name"], "description": doc.get("description"), "user_id": user["id"], "secret": secret,
        "project_id": token["project_id"], "expires_at": expires, "unrestricted": doc.get("unrestricted"), "roles": roles,
        "access_rules": rules,
    }  # fmt: skip
    cloud["app_creds"][row["id"]] = row
    return row

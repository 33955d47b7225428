"""Nova: flavors with their extra specs and their access lists, keypairs, server groups."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import string
import struct
from collections.abc import Callable
from typing import Any

from sim.faults import Refused
from sim.nova_quota import limits, used
from sim.nova_schema import choice, fields, integer, number, page, text
from sim.nova_view import links
from sim.web import Answer, Call, forbid, invalid, next_link, route
from sim.world import Row, micro, new_id

SORTS = {
    "created_at": "number", "description": "description", "disabled": "disabled", "ephemeral_gb": "ephemeral", "flavorid": "id",
    "id": "number", "is_public": "public", "memory_mb": "ram", "name": "name", "root_gb": "disk", "rxtx_factor": "rxtx",
    "swap": "swap", "updated_at": "number", "vcpu_weight": "number", "vcpus": "vcpus",
}  # fmt: skip
MANAGE, SPECS, ACCESS = (f"os_compute_api:{n}" for n in ("os-flavor-manage", "os-flavor-extra-specs", "os-flavor-access"))
KEYS, GROUPS = (f"os_compute_api:{n}" for n in ("os-keypairs", "os-server-groups"))
EXTRA_SPEC = "^[a-zA-Z0-9-_:. ]{1,255}$"


# Flavors


def _number(call: Call, f: Row) -> int:
    """The flavor's number in the database."""
    return list(call.cloud["flavors"]).index(f["id"]) + 1


def _seen(call: Call, f: Row) -> bool:
    return call.who.admin or f["public"] or call.who.project_id in f["access"]


def find_flavor(call: Call, ident: str) -> Row:
    """A flavor the caller may use. Raises Refused 404."""
    row = call.cloud["flavors"].get(ident)
    if row is None or not _seen(call, row):
        raise Refused(404, f"Flavor {ident} could not be found.")
    return row


def _flavor(call: Call, f: Row) -> Row:
    doc = {
        "id": f["id"], "name": f["name"], "ram": f["ram"], "disk": f["disk"], "swap": f["swap"] or (0 if call.since(75) else ""),
        "OS-FLV-EXT-DATA:ephemeral": f["ephemeral"], "OS-FLV-DISABLED:disabled": f["disabled"], "vcpus": f["vcpus"],
        "os-flavor-access:is_public": f["public"], "rxtx_factor": f["rxtx"], "links": links(call.cloud, "flavors", f["id"]),
    }  # fmt: skip
    doc |= {"description": f["description"]} if call.since(55) else {}
    return doc | ({"extra_specs": f["extra_specs"]} if call.since(61) else {})


def _page(call: Call) -> tuple[list[Row], bool]:
    rows = list(call.cloud["flavors"].values())
    public = call.get("is_public").lower()
    if not call.who.admin:
        rows = [f for f in rows if _seen(call, f)]
    elif public != "none":
        rows = [f for f in rows if f["public"] == (public not in ("0", "false", "f", "no"))]
    for name, column in (("minRam", "ram"), ("minDisk", "disk")):
        rows = [f for f in rows if f[column] >= (number(call, name, 0) or 0)]
    key = call.get("sort_key", "flavorid")
    if key not in SORTS:
        raise Refused(400, f"Invalid input for query parameters sort_key. Value: {key}. {key!r} is not one of {sorted(SORTS)}")
    numbers = {f: n for n, f in enumerate(call.cloud["flavors"])}
    rows.sort(key=lambda f: f["id"])
    by: Callable[[Row], Any] = {"number": lambda f: numbers[f["id"]], "description": lambda f: f["description"] or ""}.get(
        SORTS[key], lambda f: f[SORTS[key]]
    )
    rows.sort(key=by, reverse=call.get("sort_dir") == "desc")
    return page(call, rows)


@route("compute", "GET", "/flavors", "any")
def flavors(call: Call) -> Row:
    rows, more = _page(call)
    brief = ("id", "name", "links", "description")
    found = [{k: v for k, v in _flavor(call, f).items() if k in brief} for f in rows]
    return {"flavors": found, **(next_link(call, "flavors", rows[-1]["id"]) if more else {})}


@route("compute", "GET", "/flavors/detail", "any")
def flavor_details(call: Call) -> Row:
    rows, more = _page(call)
    return {"flavors": [_flavor(call, f) for f in rows], **(next_link(call, "flavors", rows[-1]["id"]) if more else {})}


@route("compute", "GET", "/flavors/{ident}", "any")
def get_flavor(call: Call, ident: str) -> Row:
    return {"flavor": _flavor(call, find_flavor(call, ident))}


@route("compute", "POST", "/flavors", "admin", f"{MANAGE}:create")
def create_flavor(call: Call) -> Row:
    described = ("description",) if call.since(55) else ()
    optional = ("id", "swap", "rxtx_factor", "OS-FLV-EXT-DATA:ephemeral", "os-flavor-access:is_public", *described)
    given = fields("flavor", call.body("flavor"), ("name", "ram", "vcpus", "disk"), optional)
    name, ident = text("name", given["name"]), str(given.get("id") or new_id())
    sizes = {k: integer(k, given[k], least) for k, least in (("ram", 1), ("vcpus", 1), ("disk", 0))}
    for f in call.cloud["flavors"].values():
        if ident == f["id"]:
            raise Refused(409, f"Flavor with ID {ident} already exists.")
        if name == f["name"]:
            raise Refused(409, f"Flavor with name {name} already exists.")
    row: Row = {
        "id": ident,
        "name": name,
        **sizes,
        "ephemeral": integer("ephemeral", given.get("OS-FLV-EXT-DATA:ephemeral", 0)),
        "swap": integer("swap", given.get("swap", 0)),
        "public": str(given.get("os-flavor-access:is_public", True)).lower() == "true",
        "disabled": False,
        "rxtx": float(given.get("rxtx_factor", 1.0)),
        "description": given.get("description"),
        "extra_specs": {},
        "access": [],
    }
    call.cloud["flavors"][ident] = row
    return {"flavor": _flavor(call, row)}


@route("compute", "PUT", "/flavors/{ident}", "admin", f"{MANAGE}:update", low=55)
def update_flavor(call: Call, ident: str) -> Row:
    given = fields("flavor", call.body("flavor"), ("description",))
    row = find_flavor(call, ident)
    row["description"] = given["description"]
    return {"flavor": _flavor(call, row)}


@route("compute", "DELETE", "/flavors/{ident}", "admin", f"{MANAGE}:delete")
def delete_flavor(call: Call, ident: str) -> Answer:
    del call.cloud["flavors"][find_flavor(call, ident)["id"]]
    return Answer(202)


@route("compute", "GET", "/flavors/{ident}/os-extra_specs", "reader")
def extra_specs(call: Call, ident: str) -> Row:
    return {"extra_specs": find_flavor(call, ident)["extra_specs"]}


@route("compute", "POST", "/flavors/{ident}/os-extra_specs", "admin", f"{SPECS}:create")
def add_extra_specs(call: Call, ident: str) -> Row:
    given = call.body("extra_specs")
    _check_specs("extra_specs", given)
    find_flavor(call, ident)["extra_specs"] |= {k: str(v) for k, v in given.items()}
    return {"extra_specs": given}


def _check_specs(name: str, given: Row) -> None:
    for k, v in given.items():
        if not re.match(EXTRA_SPEC, k):
            shown = f"Invalid input for field/attribute {name}. Value: {given}. "
            raise Refused(400, f"{shown}{k!r} does not match any of the regexes: {EXTRA_SPEC!r}")
        if not isinstance(v, (str, int, float)):
            raise Refused(400, invalid(k, v, "is not of type 'string', 'number'"))


@route("compute", "GET", "/flavors/{ident}/os-extra_specs/{key}", "reader")
def extra_spec(call: Call, ident: str, key: str) -> Row:
    return {key: _with_spec(call, ident, key)["extra_specs"][key]}


def _with_spec(call: Call, ident: str, key: str) -> Row:
    row = find_flavor(call, ident)
    if key not in row["extra_specs"]:
        raise Refused(404, f"Flavor {ident} has no extra specs with key {key}.")
    return row


@route("compute", "PUT", "/flavors/{ident}/os-extra_specs/{key}", "admin", f"{SPECS}:update")
def set_extra_spec(call: Call, ident: str, key: str) -> Row:
    given: Row = call.doc if isinstance(call.doc, dict) else {}
    if key not in given:
        raise Refused(400, "Request body and URI mismatch")
    _check_specs(key, given)
    find_flavor(call, ident)["extra_specs"][key] = str(given[key])
    return {key: given[key]}


@route("compute", "DELETE", "/flavors/{ident}/os-extra_specs/{key}", "admin", f"{SPECS}:delete")
def drop_extra_spec(call: Call, ident: str, key: str) -> Answer:
    del _with_spec(call, ident, key)["extra_specs"][key]
    return Answer(200)


def _access(f: Row) -> Row:
    return {"flavor_access": [{"flavor_id": f["id"], "tenant_id": p} for p in f["access"]]}


@route("compute", "GET", "/flavors/{ident}/os-flavor-access", "admin", ACCESS)
def flavor_access(call: Call, ident: str) -> Row:
    row = find_flavor(call, ident)
    if row["public"]:
        raise Refused(404, "Access list not available for public flavors.")
    return _access(row)


@route("compute", "POST", "/flavors/{ident}/action", "admin", f"{ACCESS}:add_tenant_access")
def act_flavor(call: Call, ident: str) -> Row:
    doc: Row = call.doc if isinstance(call.doc, dict) else {}
    verb = next(iter(doc), "")
    if verb not in ("addTenantAccess", "removeTenantAccess"):
        raise Refused(400, f"There is no such action: {verb}")
    project = fields(verb, doc[verb], ("tenant",))["tenant"]
    if project not in call.cloud.identity["projects"]:
        raise Refused(400, f"Project ID {project} is not a valid project.")
    row = find_flavor(call, ident)
    has = project in row["access"]
    if verb == "addTenantAccess":
        if has:
            raise Refused(409, f"Flavor access already exists for flavor {_number(call, row)} and project {project} combination.")
        row["access"].append(project)
    elif has:
        row["access"].remove(project)
    else:
        raise Refused(404, f"Flavor access not found for {_number(call, row)} / {project} combination.")
    return _access(row)


# Keypairs


def _owner(call: Call, given: Any, verb: str) -> str:
    """Whose keypair. Raises Refused 403 for somebody else's."""
    user = str(given or "") if call.since(10) else ""
    if user and user != call.who.user_id and not call.who.admin:
        forbid(call, f"{KEYS}:{verb}")
    return user or call.who.user_id


def _keypair(call: Call, user: str, name: str) -> Row:
    row = call.cloud["keypairs"].get(f"{user}/{name}")
    if row is None:
        raise Refused(404, f"Keypair {name} not found for user {user}")
    return row


def _shown(call: Call, k: Row, *names: str) -> Row:
    return {"keypair": {n: k[n] for n in (*names, *(("type",) if call.since(2) else ()))}}


@route("compute", "GET", "/os-keypairs", "any")
def keypairs(call: Call) -> Row:
    user = _owner(call, call.get("user_id"), "index")
    rows = sorted((k for k in call.cloud["keypairs"].values() if k["user_id"] == user), key=lambda k: str(k["name"]))
    rows, more = page(call, rows, "name") if call.since(35) else (rows, False)
    found = [_shown(call, k, "name", "public_key", "fingerprint") for k in rows]
    return {"keypairs": found, **(next_link(call, "keypairs", rows[-1]["name"]) if more else {})}


@route("compute", "GET", "/os-keypairs/{name}", "any")
def keypair(call: Call, name: str) -> Row:
    k = _keypair(call, _owner(call, call.get("user_id"), "show"), name)
    doc = _shown(call, k, "id", "name", "public_key", "fingerprint", "user_id")
    doc["keypair"] |= {"created_at": micro(k["created_at"]), "updated_at": None, "deleted": False, "deleted_at": None}
    return doc


@route("compute", "POST", "/os-keypairs", "any")
def create_keypair(call: Call) -> Answer:
    newest = call.since(92)
    optional = ("public_key", *(("type",) if call.since(2) else ()), *(("user_id",) if call.since(10) else ()))
    given = fields("keypair", call.body("keypair"), ("name", "public_key") if newest else ("name",), optional)
    name = _key_name(call, given["name"])
    kind = choice("type", given.get("type", "ssh"), ["ssh", "x509"])
    user = _owner(call, given.get("user_id"), "create")
    public, private = given.get("public_key"), None
    if public is None:
        public, private = _generate()
    if kind == "ssh" and not re.match(r"\S+ AAAA", str(public)):
        raise Refused(400, "Keypair data is invalid: failed to generate fingerprint")
    if f"{user}/{name}" in call.cloud["keypairs"]:
        raise Refused(409, f"Key pair '{name}' already exists.")
    limit = limits(call.cloud, call.who.project_id)["key_pairs"]
    if 0 <= limit <= sum(1 for k in call.cloud["keypairs"].values() if k["user_id"] == user):
        raise Refused(403, "Quota exceeded, too many key pairs.")
    row = {"id": call.cloud.serial(), "name": name, "type": kind, "user_id": user, "public_key": public,
           "fingerprint": _fingerprint(str(public), kind), "created_at": call.cloud.now()}  # fmt: skip
    call.cloud["keypairs"][f"{user}/{name}"] = row
    doc = _shown(call, row, "name", "public_key", "fingerprint", "user_id")
    doc["keypair"] |= {"private_key": private} if private else {}
    return Answer(201 if call.since(2) else 200, doc)


def _key_name(call: Call, name: Any) -> str:
    pattern = r"^[@\._\- a-zA-Z0-9]+$" if call.since(92) else r"^[_\- a-zA-Z0-9]+$"
    if call.cloud.newest or call.since(92) or re.match(pattern, text("name", name)):
        return text("name", name, pattern)
    allowed = f"[_- {string.digits}{string.ascii_letters}]"
    raise Refused(400, f"An invalid 'name' value was provided. The name must be: Only expected characters: {allowed}")


def _fingerprint(public: str, kind: str) -> str:
    try:
        if kind == "x509":
            return ":".join(f"{b:02X}" for b in hashlib.sha1(public.encode(), usedforsecurity=False).digest())
        raw = base64.b64decode(public.split()[1], validate=True)
    except (IndexError, binascii.Error):
        raise Refused(400, "Keypair data is invalid: failed to generate fingerprint") from None
    return ":".join(f"{b:02x}" for b in hashlib.md5(raw, usedforsecurity=False).digest())


def _generate() -> tuple[str, str]:
    """A public key as long as a real one, and something in the place of a private one."""
    raw = b"".join(struct.pack(">I", len(b)) + b for b in (b"ssh-rsa", b"\1\0\1", b"\0" + os.urandom(256)))
    secret = base64.encodebytes(os.urandom(1190)).decode()
    return (
        f"ssh-rsa {base64.b64encode(raw).decode()} Generated-by-Nova",
        f"-----BEGIN RSA PRIVATE KEY-----\n{secret}-----END RSA PRIVATE KEY-----\n",
    )


@route("compute", "DELETE", "/os-keypairs/{name}", "any")
def delete_keypair(call: Call, name: str) -> Answer:
    user = _owner(call, call.get("user_id"), "delete")
    _keypair(call, user, name)
    del call.cloud["keypairs"][f"{user}/{name}"]
    return Answer(204 if call.since(2) else 202)


# Server groups


def _group(call: Call, g: Row) -> Row:
    doc = {k: g[k] for k in ("id", "name", "members")}
    doc |= {"policy": g["policy"], "rules": g["rules"]} if call.since(64) else {"policies": [g["policy"]], "metadata": {}}
    return doc | ({"project_id": g["project_id"], "user_id": g["user_id"]} if call.since(13) else {})


def _find_group(call: Call, ident: str) -> Row:
    row = call.cloud["server_groups"].get(ident)
    if row is None or not (call.who.admin or row["project_id"] == call.who.project_id):
        raise Refused(404, f"Instance group {ident} could not be found.")
    return row


@route("compute", "GET", "/os-server-groups", "reader", f"{GROUPS}:index")
def groups(call: Call) -> Row:
    everybody = call.who.admin and "all_projects" in dict(call.query)
    rows = [g for g in call.cloud["server_groups"].values() if everybody or g["project_id"] == call.who.project_id]
    start, limit = number(call, "offset", 0) or 0, number(call, "limit", 1000) or 1000
    return {"server_groups": [_group(call, g) for g in rows[start : start + limit]]}


@route("compute", "GET", "/os-server-groups/{ident}", "reader", f"{GROUPS}:show")
def group(call: Call, ident: str) -> Row:
    return {"server_group": _group(call, _find_group(call, ident))}


@route("compute", "POST", "/os-server-groups", "member", f"{GROUPS}:create")
def create_group(call: Call) -> Row:
    allowed = ["anti-affinity", "affinity", *(("soft-anti-affinity", "soft-affinity") if call.since(15) else ())]
    wanted = "policy" if call.since(64) else "policies"
    given = fields("server_group", call.body("server_group"), ("name", wanted), ("rules",) if call.since(64) else ())
    text("name", given["name"])
    if call.since(64):
        policy = choice("policy", given["policy"], allowed)
    else:
        if not isinstance(given["policies"], list) or len(given["policies"]) != 1:
            raise Refused(
                400, invalid("policies", given["policies"], "is too long" if given["policies"] else "should be non-empty")
            )
        policy = choice("0", given["policies"][0], allowed)
    rules = given.get("rules") or {}
    if rules and policy != "anti-affinity":
        raise Refused(400, "Only anti-affinity policy supports rules.")
    limit = limits(call.cloud, call.who.project_id)["server_groups"]
    if 0 <= limit <= used(call.cloud, call.who.project_id)["server_groups"]:
        raise Refused(403, "Quota exceeded, too many server groups.")
    row = {
        "id": new_id(),
        "name": given["name"],
        "policy": policy,
        "rules": {k: int(v) for k, v in rules.items()},
        "members": [],
        "project_id": call.who.project_id,
        "user_id": call.who.user_id,
    }
    call.cloud["server_groups"][row["id"]] = row
    return {"server_group": _group(call, row)}


@route("compute", "DELETE", "/os-server-groups/{ident}", "member", f"{GROUPS}:delete")
def delete_group(call: Call, ident: str) -> Answer:
    del call.cloud["server_groups"][_find_group(call, ident)["id"]]
    return Answer(204)

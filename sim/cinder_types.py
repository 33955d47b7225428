"""Cinder: volume types with access, extra specs and encryption; group types; QoS specs."""

from __future__ import annotations

from typing import Any

from sim.cinder_rows import QOS, links
from sim.faults import Refused
from sim.web import Answer, Call, forbid, invalid, route
from sim.world import Row, micro, new_id

_EXTRA = "volume_extension"


def _manage(call: Call, rule: str) -> None:
    if not call.who.admin:
        forbid(call, f"{_EXTRA}:{rule}")


def _sees(call: Call, row: Row) -> bool:
    return bool(row["public"] or call.who.admin or call.who.project_id in row["access"])


def _type(call: Call, ident: str) -> Row:
    row = call.cloud["volume_types"].get(ident)
    if row is None or not _sees(call, row):
        raise Refused(404, f"Volume type {ident} could not be found.")
    return row


def _show(call: Call, row: Row) -> Row:
    doc = {
        "id": row["id"], "name": row["name"], "is_public": row["public"], "description": row["description"],
        "extra_specs": row["extra_specs"], "os-volume-type-access:is_public": row["public"],
    }  # fmt: skip
    return doc | ({"qos_specs_id": row["qos_specs_id"]} if call.who.admin else {})


@route("volume", "GET", "/types")
def types(call: Call) -> Row:
    asked = call.get("is_public", "true" if not call.who.admin else "").lower()
    rows = [r for r in call.cloud["volume_types"].values() if _sees(call, r)]
    if call.who.admin and asked in ("true", "1", "false", "0"):
        rows = [r for r in rows if r["public"] == (asked in ("true", "1"))]
    rows.sort(key=lambda r: r["n"], reverse=True)
    if marker := call.get("marker"):
        at = next((n for n, r in enumerate(rows) if r["id"] == marker), len(rows))
        rows = rows[at + 1 :]
    limit = call.get("limit")
    return {"volume_types": [_show(call, r) for r in (rows[: int(limit)] if limit.isdigit() else rows)]}


@route("volume", "GET", "/types/default")
def default_type(call: Call) -> Row:
    row = next(r for r in call.cloud["volume_types"].values() if r["name"] == "__DEFAULT__")
    return {"volume_type": {k: v for k, v in _show(call, row).items() if not k.startswith("os-")}}


@route("volume", "GET", "/types/{ident}")
def one_type(call: Call, ident: str) -> Row:
    return {"volume_type": _show(call, _type(call, ident))}


@route("volume", "POST", "/types")
def create_type(call: Call) -> Row:
    _manage(call, "type_create")
    given = call.body("volume_type")
    if not isinstance(given.get("name"), str) or not given["name"].strip():
        raise Refused(400, invalid("name", given.get("name"), "is not of type 'string'"))
    if any(r["name"] == given["name"] for r in call.cloud["volume_types"].values()):
        raise Refused(409, f"Volume Type {given['name']} already exists.")
    row: Row = {
        "id": new_id(), "name": given["name"], "description": given.get("description"), "n": call.cloud.serial(),
        "public": str(given.get("os-volume-type-access:is_public", True)).lower() == "true",
        "extra_specs": dict(given.get("extra_specs") or {}), "qos_specs_id": None, "access": [], "encryption": None,
    }  # fmt: skip
    call.cloud["volume_types"][row["id"]] = row
    return {"volume_type": {k: v for k, v in _show(call, row).items() if k != "qos_specs_id"}}


@route("volume", "PUT", "/types/{ident}")
def update_type(call: Call, ident: str) -> Row:
    _manage(call, "type_update")
    row, given = _type(call, ident), call.body("volume_type")
    if not {"name", "description", "is_public"} & set(given):
        raise Refused(400, "Specify volume type name, description, is_public or a combination thereof.")
    row |= {k: given[k] for k in ("name", "description") if given.get(k) is not None}
    if "is_public" in given:
        row["public"] = str(given["is_public"]).lower() == "true"
    shown = ("id", "name", "is_public", "description", "extra_specs")
    return {"volume_type": {k: v for k, v in _show(call, row).items() if k in shown}}


@route("volume", "DELETE", "/types/{ident}")
def delete_type(call: Call, ident: str) -> Answer:
    _manage(call, "type_delete")
    row = _type(call, ident)
    if any(v["type_id"] == ident for v in call.cloud["volumes"].values()):
        raise Refused(400, "Target volume type is still in use.")
    del call.cloud["volume_types"][row["id"]]
    return Answer(202)


@route("volume", "POST", "/types/{ident}/action")
def act_on_type(call: Call, ident: str) -> Answer:
    _manage(call, "volume_type_access:addProjectAccess")
    row = _type(call, ident)
    name = next(iter(call.doc or {}), "")
    if name not in ("addProjectAccess", "removeProjectAccess"):
        raise Refused(400, f"There is no such action: {name}. Verify the request body and Content-Type header and try again.")
    project = call.body(name).get("project")
    if row["public"]:
        raise Refused(409, "Type access modification is not applicable to public volume type.")
    if name == "addProjectAccess":
        if project in row["access"]:
            raise Refused(409, f"Volume type access for {ident} / {project} combination already exists.")
        row["access"].append(project)
    elif project not in row["access"]:
        raise Refused(404, f"Volume type access not found for {ident} / {project} combination.")
    else:
        row["access"].remove(project)
    return Answer(202)


@route("volume", "GET", "/types/{ident}/os-volume-type-access")
def access(call: Call, ident: str) -> Row:
    _manage(call, "volume_type_access:get_all_for_type")
    row = _type(call, ident)
    if row["public"]:
        raise Refused(404, "Access list not available for public volume types.")
    return {"volume_type_access": [{"volume_type_id": ident, "project_id": p} for p in row["access"]]}


@route("volume", "GET", "/types/{ident}/encryption")
def encryption(call: Call, ident: str) -> Row:
    _manage(call, "volume_type_encryption:get")
    return _type(call, ident)["encryption"] or {}


@route("volume", "POST", "/types/{ident}/encryption")
def encrypt(call: Call, ident: str) -> Row:
    _manage(call, "volume_type_encryption:create")
    row, given = _type(call, ident), call.body("encryption")
    base: Row = {"cipher": None, "key_size": None, "created_at": micro(call.cloud.now()), "updated_at": None, "deleted_at": None}
    row["encryption"] = {**base, "volume_type_id": ident, "encryption_id": new_id(), "deleted": False, **given}
    return {"encryption": {**given, "volume_type_id": ident, "encryption_id": row["encryption"]["encryption_id"]}}


@route("volume", "DELETE", "/types/{ident}/encryption/{other}")
def decrypt(call: Call, ident: str, other: str) -> Answer:
    _manage(call, "volume_type_encryption:delete")
    _type(call, ident)["encryption"] = None
    return Answer(202)


def _specs(table: str, path: str, key: str, fetch: Any, rule: str) -> None:
    """Extra specs of volume types, group specs of group types."""

    @route("volume", "GET", path)
    def read(call: Call, ident: str) -> Row:
        return {key: fetch(call, ident)[key]}

    @route("volume", "POST", path)
    def add(call: Call, ident: str) -> Answer:
        _manage(call, f"{rule}:create")
        given = call.body(key)
        fetch(call, ident)[key] |= given
        return Answer(200 if key == "extra_specs" else 202, {key: given})

    @route("volume", "GET", path + "/{name}")
    def one(call: Call, ident: str, name: str) -> Row:
        return {name: _spec(fetch(call, ident), ident, name)}

    @route("volume", "PUT", path + "/{name}")
    def put(call: Call, ident: str, name: str) -> Row:
        _manage(call, f"{rule}:update")
        if not isinstance(call.doc, dict) or list(call.doc) != [name]:
            raise Refused(400, "Request body and URI mismatch")
        fetch(call, ident)[key] |= call.doc
        return dict(call.doc)

    @route("volume", "DELETE", path + "/{name}")
    def drop(call: Call, ident: str, name: str) -> Answer:
        _manage(call, f"{rule}:delete")
        row = fetch(call, ident)
        _spec(row, ident, name)
        del row[key][name]
        return Answer(202)

    def _spec(row: Row, ident: str, name: str) -> Any:
        if name not in row[key]:
            raise Refused(404, f"{table} {ident} has no extra specs with key {name}.")
        return row[key][name]


def _group_type(call: Call, ident: str) -> Row:
    row = call.cloud["group_types"].get(ident)
    if row is None or not _sees(call, row):
        raise Refused(404, f"Group type {ident} could not be found.")
    return row


_specs("Volume Type", "/types/{ident}/extra_specs", "extra_specs", _type, "types_extra_specs")
_specs("Group Type", "/group_types/{ident}/group_specs", "group_specs", _group_type, "group:group_types_specs")


def _show_group_type(call: Call, row: Row) -> Row:
    doc = {"id": row["id"], "name": row["name"], "description": row["description"], "is_public": row["public"]}
    return doc | ({"group_specs": row["group_specs"]} if call.who.admin else {})


@route("volume", "GET", "/group_types", low=11)
def group_types(call: Call) -> Row:
    return {"group_types": [_show_group_type(call, r) for r in call.cloud["group_types"].values() if _sees(call, r)]}


@route("volume", "GET", "/group_types/{ident}", low=11)
def group_type(call: Call, ident: str) -> Row:
    return {"group_type": _show_group_type(call, _group_type(call, ident))}


@route("volume", "POST", "/group_types", low=11)
def create_group_type(call: Call) -> Answer:
    _manage(call, "group:group_types:create")
    given = call.body("group_type")
    if any(r["name"] == given.get("name") for r in call.cloud["group_types"].values()):
        raise Refused(409, f"Group Type {given['name']} already exists.")
    row: Row = {
        "id": new_id(), "name": given.get("name"), "description": given.get("description"), "public": given.get("is_public", True),
        "access": [], "group_specs": dict(given.get("group_specs") or {}),
    }  # fmt: skip
    call.cloud["group_types"][row["id"]] = row
    return Answer(202, {"group_type": _show_group_type(call, row)})


@route("volume", "PUT", "/group_types/{ident}", low=11)
def update_group_type(call: Call, ident: str) -> Row:
    _manage(call, "group:group_types:update")
    row, given = _group_type(call, ident), call.body("group_type")
    row |= {k: given[k] for k in ("name", "description") if k in given}
    return {"group_type": _show_group_type(call, row)}


@route("volume", "DELETE", "/group_types/{ident}", low=11)
def delete_group_type(call: Call, ident: str) -> Answer:
    _manage(call, "group:group_types:delete")
    del call.cloud["group_types"][_group_type(call, ident)["id"]]
    return Answer(202)


def _qos(call: Call, ident: str, rule: str) -> Row:
    _manage(call, f"qos_specs_manage:{rule}")
    row = call.cloud["qos_specs"].get(ident)
    if row is None:
        raise Refused(404, f"No such QoS spec {ident}.")
    return row


def _one_qos(call: Call, row: Row) -> Row:
    return {"qos_specs": row, "links": links(call, QOS, row["id"])}


@route("volume", "GET", "/qos-specs")
def qos_specs(call: Call) -> Row:
    _manage(call, "qos_specs_manage:get_all")
    return {"qos_specs": list(call.cloud["qos_specs"].values())}


@route("volume", "GET", "/qos-specs/{ident}")
def qos_spec(call: Call, ident: str) -> Row:
    return _one_qos(call, _qos(call, ident, "get"))


@route("volume", "POST", "/qos-specs")
def create_qos(call: Call) -> Row:
    _manage(call, "qos_specs_manage:create")
    given = dict(call.body("qos_specs"))
    name, consumer = given.pop("name", None), given.pop("consumer", "back-end")
    if any(r["name"] == name for r in call.cloud["qos_specs"].values()):
        raise Refused(409, f"QoS Specs {name} already exists.")
    row: Row = {"id": new_id(), "name": name, "consumer": consumer, "specs": given}
    call.cloud["qos_specs"][row["id"]] = row
    return _one_qos(call, row)


@route("volume", "PUT", "/qos-specs/{ident}")
def update_qos(call: Call, ident: str) -> Row:
    row, given = _qos(call, ident, "update"), dict(call.body("qos_specs"))
    row["consumer"] = given.pop("consumer", row["consumer"])
    row["specs"] |= given
    return {"qos_specs": call.doc["qos_specs"]}


@route("volume", "PUT", "/qos-specs/{ident}/delete_keys")
def drop_qos_keys(call: Call, ident: str) -> Answer:
    row = _qos(call, ident, "delete")
    for key in (call.doc or {}).get("keys") or ():
        row["specs"].pop(key, None)
    return Answer(202)


@route("volume", "DELETE", "/qos-specs/{ident}")
def delete_qos(call: Call, ident: str) -> Answer:
    _qos(call, ident, "delete")
    users = [t for t in call.cloud["volume_types"].values() if t["qos_specs_id"] == ident]
    if users and not call.flag("force"):
        raise Refused(400, f"QoS Specs {ident} is still associated with entities.")
    for t in users:
        t["qos_specs_id"] = None
    del call.cloud["qos_specs"][ident]
    return Answer(202)


@route("volume", "GET", "/qos-specs/{ident}/associations")
def associations(call: Call, ident: str) -> Row:
    _qos(call, ident, "get")
    users = [t for t in call.cloud["volume_types"].values() if t["qos_specs_id"] == ident]
    return {"qos_associations": [{"association_type": "volume_type", "name": t["name"], "id": t["id"]} for t in users]}


@route("volume", "GET", "/qos-specs/{ident}/associate")
def associate(call: Call, ident: str) -> Answer:
    _qos(call, ident, "update")
    _type(call, call.get("vol_type_id"))["qos_specs_id"] = ident
    return Answer(202)


@route("volume", "GET", "/qos-specs/{ident}/disassociate")
def disassociate(call: Call, ident: str) -> Answer:
    _qos(call, ident, "update")
    _type(call, call.get("vol_type_id"))["qos_specs_id"] = None
    return Answer(202)


@route("volume", "GET", "/qos-specs/{ident}/disassociate_all")
def disassociate_all(call: Call, ident: str) -> Answer:
    _qos(call, ident, "update")
    for t in call.cloud["volume_types"].values():
        if t["qos_specs_id"] == ident:
            t["qos_specs_id"] = None
    return Answer(202)

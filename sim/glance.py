"""Glance v2: records, patches, data, members, tags."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

from sim.faults import Refused
from sim.glance_lists import chosen, page
from sim.web import Answer, Call, forbid, route
from sim.world import Cloud, Row, is_uuid, new_id, zulu

PATCHES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")
TYPES: dict[str, tuple[type, ...]] = {
    "name": (str, type(None)), "visibility": (str,), "protected": (bool,), "min_ram": (int,), "min_disk": (int,),
    "os_hidden": (bool,), "disk_format": (str, type(None)), "container_format": (str, type(None)), "tags": (list,), "id": (str,),
    "owner": (str, type(None)),
}  # fmt: skip
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
READ_ONLY = {"status", "created_at", "updated_at", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "self",
             "file", "schema", "first", "direct_url", "stores", "id"}  # fmt: skip
VISIBILITIES = ("public", "private", "shared", "community", "all")
SHOWN = (
    "name",
    "disk_format",
    "container_format",
    "visibility",
    "size",
    "virtual_size",
    "status",
    "checksum",
    "protected",
    "min_ram",
    "min_disk",
    "owner",
    "os_hidden",
    "os_hash_algo",
    "os_hash_value",
    "id",
)


@route("image", "GET", "/", "")
@route("image", "GET", "/versions", "")
def versions(call: Call) -> Answer:
    newest = call.cloud.window("image")[1][1]
    link = [{"rel": "self", "href": f"{call.cloud.url('image')}/v2/"}]
    rows = [{"id": f"v2.{n}", "status": "CURRENT" if n == newest else "SUPPORTED", "links": link} for n in range(newest, -1, -1)]
    return Answer(300 if call.path == "/" else 200, {"versions": rows})


@route("image", "GET", "/v2/schemas/{name}", "any")
def schema(call: Call, name: str) -> Row:
    return {"name": name, "properties": {n: {} for n in SHOWN}, "additionalProperties": {"type": "string"}, "links": []}


@route("image", "GET", "/v2/info/stores", "any")
def stores(call: Call) -> Row:
    return {"stores": [{"id": "file", "default": "true"}]}


@route("image", "GET", "/v2/info/import", "any")
def methods(call: Call) -> Row:
    kinds = {"description": "Import methods available.", "type": "array", "value": ["glance-direct", "copy-image"]}
    return {"import-methods": kinds}


def show(row: Row) -> Row:
    """An image as the API shows it."""
    doc = {**row["properties"], **{k: row[k] for k in SHOWN}, "tags": row["tags"]}
    base = f"/v2/images/{row['id']}"
    doc |= {"created_at": zulu(row["created_at"]), "updated_at": zulu(row["updated_at"]), "self": base, "file": f"{base}/file",
            "schema": "/v2/schemas/image"}  # fmt: skip
    if row["status"] in ("active", "deactivated"):
        doc["stores"] = "file"
    return doc


def make(cloud: Cloud, project: str, **given: Any) -> Row:
    """A new record, ``queued``."""
    now = time.time() + cloud.skew
    row: Row = {
        "id": new_id(), "name": None, "disk_format": None, "container_format": None, "visibility": "shared", "size": None,
        "virtual_size": None, "status": "queued", "checksum": None, "protected": False, "min_ram": 0, "min_disk": 0,
        "owner": project, "os_hidden": False, "os_hash_algo": None, "os_hash_value": None, "tags": [], "properties": {},
        "created_at": now, "updated_at": now, "members": {},
    }  # fmt: skip
    row |= {k: v for k, v in given.items() if k in row}
    row["properties"] = {k: v for k, v in given.items() if k not in row}
    cloud["images"][row["id"]] = row
    return row


def visible(call: Call, row: Row) -> bool:
    """Whether the caller may see it by its id."""
    who = call.who
    if who.admin or row["owner"] == who.project_id or row["visibility"] in ("public", "community"):
        return True
    return row["visibility"] == "shared" and who.project_id in row["members"]


def fetch(call: Call, ident: str, action: str = "") -> Row:
    """An image; to be changed when ``action`` is given. Raises Refused 403, 404."""
    row = call.cloud["images"].get(ident)
    if row is None or not visible(call, row):
        raise Refused(404, f"No image found with ID {ident}")
    if action:
        _writer(call, action)
        if row["owner"] != call.who.project_id and not call.who.admin:
            forbid(call, action)
    return row


def _writer(call: Call, action: str) -> None:
    if not (call.who.may("member") or call.who.service):
        forbid(call, action)


def _validate(name: str, value: Any) -> None:
    kinds = TYPES.get(name, (str,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ", ".join(
            sorted({str: "'string'", type(None): "'null'", bool: "'boolean'", int: "'integer'", list: "'array'"}[k] for k in kinds)
        )
        raise Refused(400, f"Provided object does not match schema 'image': {value!r} is not of type {names}")
    if name == "visibility" and value not in VISIBILITIES[:4]:
        raise Refused(400, f"Provided object does not match schema 'image': {value!r} is not one of {list(VISIBILITIES[:4])}")
    if name == "disk_format" and value is not None and value not in DISK_FORMATS:
        raise Refused(400, f"Invalid disk format '{value}' for image.")
    if isinstance(value, str) and len(value) > 255 and name in TYPES:
        raise Refused(400, f"Provided object does not match schema 'image': {value!r} is too long")


@route("image", "POST", "/v2/images", "any")
def create(call: Call) -> Answer:
    _writer(call, "add_image")
    given = call.doc
    if not isinstance(given, dict):
        raise Refused(400, "Provided object does not match schema 'image'")
    for name, value in given.items():
        if name in READ_ONLY - {"id"}:
            raise Refused(403, f"Attribute '{name}' is read-only.")
        _validate(name, value)
    if given.get("visibility") == "public" and not call.who.admin:
        forbid(call, "publicize_image")
    if given.get("owner", call.who.project_id) != call.who.project_id and not call.who.admin:
        raise Refused(403, f"You are not permitted to create images owned by '{given['owner']}'.")
    ident = given.get("id")
    if ident is not None:
        if not is_uuid(ident):
            raise Refused(400, "Provided object does not match schema 'image'")
        if ident in call.cloud["images"] or ident in call.cloud["dead_images"]:
            raise Refused(409, f"Image ID {ident} already exists!")
    row = make(call.cloud, call.who.project_id, **given)
    headers = {
        "Location": f"{call.cloud.url('image')}/v2/images/{row['id']}",
        "OpenStack-image-import-methods": "glance-direct,copy-image",
    }
    return Answer(201, show(row), headers)


@route("image", "GET", "/v2/images", "any")
def listing(call: Call) -> Row:
    rows, links = page(call, chosen(call))
    return {"images": [show(r) for r in rows], **links, "schema": "/v2/schemas/images"}


@route("image", "GET", "/v2/images/{ident}", "any")
def get(call: Call, ident: str) -> Row:
    return show(fetch(call, ident))


@route("image", "DELETE", "/v2/images/{ident}", "any")
def delete(call: Call, ident: str) -> Answer:
    row = fetch(call, ident, "delete_image")
    if row["protected"]:
        raise Refused(403, f"Image {ident} is protected and cannot be deleted.")
    del call.cloud["images"][ident]
    call.cloud["dead_images"][ident] = {}
    call.cloud.blobs.pop(ident, None)
    return Answer(204)


@route("image", "PATCH", "/v2/images/{ident}", "any")
def patch(call: Call, ident: str) -> Row:
    if call.request.content_type not in PATCHES:
        raise Refused(415, f"Unsupported Content-Type {call.request.content_type}")
    row = fetch(call, ident, "modify_image")
    if not isinstance(call.doc, list):
        raise Refused(400, "Request body must be a JSON array of operation objects.")
    changed = json.loads(json.dumps({k: v for k, v in row.items() if k != "members"}))
    for op in call.doc:
        _operate(call, changed, op)
    row |= changed | {"updated_at": time.time() + call.cloud.skew}
    return show(row)


def _operate(call: Call, row: Row, op: Any) -> None:
    verb = op.get("op") if isinstance(op, dict) else None
    if verb not in ("add", "replace", "remove") or not str(op.get("path", "")).startswith("/"):
        raise Refused(400, "Operations must be one of add, replace, remove with a JSON pointer")
    name = str(op["path"])[1:].replace("~1", "/").replace("~0", "~")
    if name in READ_ONLY:
        raise Refused(403, f"Attribute '{name}' is read-only.")
    if verb == "remove":
        if name in row:
            raise Refused(403, f"Property {name} may not be removed.")
        if row["properties"].pop(name, None) is None:
            raise Refused(409, f"Property {name} does not exist.")
        return
    if "value" not in op:
        raise Refused(400, 'Operation objects must contain a member named "value"')
    _validate(name, op["value"])
    if name == "visibility" and op["value"] == "public" and not call.who.admin:
        forbid(call, "publicize_image")
    if name == "owner" and not call.who.admin:
        raise Refused(403, "Owner can't be updated by non admin.")
    if name in TYPES:
        row[name] = op["value"]
    elif verb == "replace" and name not in row["properties"]:
        raise Refused(409, f"Property {name} does not exist.")
    else:
        row["properties"][name] = op["value"]


# Data


@route("image", "PUT", "/v2/images/{ident}/file", "any")
@route("image", "PUT", "/v2/images/{ident}/stage", "any")
async def upload(call: Call, ident: str) -> Answer:
    if call.request.headers.get("Content-Type") != "application/octet-stream":
        raise Refused(415, "Content-Type application/octet-stream is required")
    row = fetch(call, ident, "upload_image")
    stage = call.path.endswith("/stage")
    if row["status"] != "queued":
        raise Refused(409, f"Image status transition from {row['status']} to saving is not allowed")
    row["status"] = "uploading" if stage else "saving"
    data = bytearray()
    try:
        async for chunk in call.request.content.iter_any():
            data += chunk
        await _digested(call)
    except BaseException:  # the client went away: the record can be filled again
        row["status"] = "queued"
        raise
    if ident not in call.cloud["images"]:
        raise Refused(410, f"Image {ident} could not be found after upload.")
    call.cloud.blobs[ident] = bytes(data)
    if not stage:
        activate(call.cloud, row, bytes(data))
    return Answer(204)


async def _digested(call: Call) -> None:
    """Writing the bits down takes as long as the cloud's mode says."""
    if call.cloud.modes.of("no-bits"):
        raise Refused(500, "The server has either erred or is incapable of performing the requested operation.")
    slow = call.cloud.modes.of("slow-bits")
    for _ in range(int(slow.seconds.draw(call.cloud.modes.source) / 0.05) if slow else 0):
        if not call.cloud.modes.of("slow-bits"):
            return
        await asyncio.sleep(0.05)


def activate(cloud: Cloud, row: Row, data: bytes) -> None:
    """An image has its bits."""
    cloud.blobs[row["id"]] = data
    row |= {
        "status": "active", "size": len(data), "virtual_size": len(data) if row["disk_format"] == "raw" else None,
        "checksum": hashlib.md5(data).hexdigest(), "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(data).hexdigest(),
        "updated_at": time.time() + cloud.skew,
    }  # fmt: skip


@route("image", "POST", "/v2/images/{ident}/import", "any")
def import_(call: Call, ident: str) -> Answer:
    row = fetch(call, ident, "modify_image")
    method = (call.doc or {}).get("method", {}).get("name")
    if method != "glance-direct":
        raise Refused(400, f"Unknown import method name '{method}'.")
    if row["status"] != "uploading":
        raise Refused(409, "Image must be in uploading status to be imported with glance-direct")
    row["status"] = "importing"
    call.cloud.later(call.cloud.options.volume, lambda: activate(call.cloud, row, call.cloud.blobs.get(ident, b"")))
    return Answer(202)


@route("image", "GET", "/v2/images/{ident}/file", "any")
def download(call: Call, ident: str) -> Answer:
    row = fetch(call, ident)
    if row["status"] == "deactivated" and not call.who.admin:
        forbid(call, "download_image")
    if row["status"] not in ("active", "deactivated"):
        return Answer(204)
    headers = {"Content-Type": "application/octet-stream", "Content-MD5": row["checksum"]}
    return Answer(200, None, headers, stream=call.cloud.blobs[ident])


@route("image", "POST", "/v2/images/{ident}/actions/{action}", "any")
def act(call: Call, ident: str, action: str) -> Answer:
    row = fetch(call, ident, action)
    if action not in ("deactivate", "reactivate"):
        raise Refused(404, "The resource could not be found.")
    wanted = ("active", "deactivated")
    if row["status"] not in wanted:
        raise Refused(403, f"Not allowed to {action} image in status '{row['status']}'")
    row["status"] = wanted[action == "deactivate"]
    return Answer(204)


@route("image", "PUT", "/v2/images/{ident}/tags/{tag}", "any")
@route("image", "DELETE", "/v2/images/{ident}/tags/{tag}", "any")
def tag(call: Call, ident: str, tag: str) -> Answer:
    row = fetch(call, ident, "modify_image")
    if call.method == "DELETE" and tag not in row["tags"]:
        raise Refused(404, "The resource could not be found.")
    row["tags"] = sorted({*row["tags"], tag} if call.method == "PUT" else {*row["tags"]} - {tag})
    return Answer(204)


# Members


def _member(row: Row, member: str) -> Row:
    m = row["members"][member]
    times = {k: zulu(m[k]) for k in ("created_at", "updated_at")}
    return {"member_id": member, "image_id": row["id"], "status": m["status"], **times, "schema": "/v2/schemas/member"}


@route("image", "GET", "/v2/images/{ident}/members", "any")
def members(call: Call, ident: str) -> Row:
    row = fetch(call, ident)
    own = call.who.admin or row["owner"] == call.who.project_id
    rows = [_member(row, m) for m in sorted(row["members"]) if own or m == call.who.project_id]
    if not own and not rows:
        raise Refused(404, "The resource could not be found.")
    return {"members": rows, "schema": "/v2/schemas/members"}


@route("image", "POST", "/v2/images/{ident}/members", "any")
def add_member(call: Call, ident: str) -> Row:
    row = fetch(call, ident, "add_member")
    member = call.doc.get("member") if isinstance(call.doc, dict) else None
    if not isinstance(member, str) or not member:
        raise Refused(400, "Expected a member id")
    if row["visibility"] != "shared":
        raise Refused(403, "Only shared images have members.")
    if member in row["members"]:
        raise Refused(409, f"Member {member} is duplicated for image {ident}")
    now = call.cloud.now()
    row["members"][member] = {"status": "pending", "created_at": now, "updated_at": now}
    return _member(row, member)


@route("image", "GET", "/v2/images/{ident}/members/{member}", "any")
def get_member(call: Call, ident: str, member: str) -> Row:
    row = fetch(call, ident)
    if member not in row["members"] or not (call.who.admin or call.who.project_id in (row["owner"], member)):
        raise Refused(404, "The resource could not be found.")
    return _member(row, member)


@route("image", "PUT", "/v2/images/{ident}/members/{member}", "any")
def answer_member(call: Call, ident: str, member: str) -> Row:
    row = fetch(call, ident)
    if member not in row["members"]:
        raise Refused(404, "The resource could not be found.")
    if call.who.project_id != member and not call.who.admin:
        forbid(call, "modify_member")
    status = (call.doc or {}).get("status")
    if status not in ("pending", "accepted", "rejected"):
        raise Refused(400, "Status must be one of pending, accepted, rejected")
    row["members"][member] |= {"status": status, "updated_at": call.cloud.now()}
    return _member(row, member)


@route("image", "DELETE", "/v2/images/{ident}/members/{member}", "any")
def drop_member(call: Call, ident: str, member: str) -> Answer:
    row = fetch(call, ident, "delete_member")
    if row["members"].pop(member, None) is None:
        raise Refused(404, f"{member} not found in the member list of the image {ident}.")
    return Answer(204)

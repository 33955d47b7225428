"""Server sub-requests that touch more than the site: ports, images, groups, quota. All others pass untouched."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from cascade.api import building
from cascade.api.addresses import ADDRESSES_UNTIL, FIXED_IP, FLOATING_IP, FOLLOW, fixed_ip, floating_ip
from cascade.api.consoles import ACTIONS as CONSOLES
from cascade.api.consoles import console
from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, site_reply, south_ids, to_hub
from cascade.api.nics import Nics
from cascade.api.request import Request, Response
from cascade.api.zonal import at_site, locate
from cascade.model.errors import Fault, NativeFault, OverQuota, SiteError
from cascade.model.reply import Reply
from cascade.reconcile.building import stamp
from cascade.routing import translate
from cascade.routing.bodies import STAMP_TAG
from cascade.sites.versions import parse
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

REBUILD_KEY_FROM = (2, 54)
_IMAGE_FIELDS = {"rebuild": "imageRef", "rescue": "rescue_image_ref"}


async def server_action(core: Core, req: Request) -> Response:
    """POST /servers/{id}/action."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    name = next(iter(doc)) if isinstance(doc, dict) and len(doc) == 1 else ""
    what = doc[name] if name else None
    if name in ("addSecurityGroup", "removeSecurityGroup") and isinstance(what, dict):
        group = what.get("name")
        if isinstance(group, str) and group.strip():
            if what.keys() != {"name"} and (reply := await hub_reply(core, req)).status == 400:
                return from_hub(core, reply)
            return await _security_group(core, req, entry, group, add=name == "addSecurityGroup")
    if name in (*FIXED_IP, *FLOATING_IP) and isinstance(what, dict) and parse(req.version or "2.1") < ADDRESSES_UNTIL:
        change = fixed_ip if name in FIXED_IP else floating_ip
        return await change(core, req, entry, what, add=name.startswith("add"))
    if name in _IMAGE_FIELDS and isinstance(what, dict) and isinstance(what.get(_IMAGE_FIELDS[name]), str):
        return await _with_image(core, req, entry, doc, name)
    if name == "resize" and isinstance(what, dict) and isinstance(what.get("flavorRef"), str | int) and what["flavorRef"] != "":
        return await _resize(core, req, entry, str(what["flavorRef"]))
    if name in ("createImage", "createBackup"):
        return await _create_image(core, req, entry, what if name == "createBackup" else None)
    if name in CONSOLES:
        return await console(core, req, entry, str(what.get("type", CONSOLES[name])) if isinstance(what, dict) else "")
    answer = await at_site(core, req, entry)
    if name in ("shelve", "unshelve") and answer.status < 300:
        await _shelving(core, req, entry, name)
    if name in ("revertResize", "confirmResize", "forceDelete", "restore") and answer.status < 300:
        await _after(core, req, entry, name)
    return answer


async def _with_image(core: Core, req: Request, entry: IndexEntry, doc: dict[str, Any], name: str) -> Response:
    """Image and key pair go to the site first. An image the hub does not give the caller is nobody's at the site either."""
    what = doc[name]
    image = what[_IMAGE_FIELDS[name]].rsplit("/", 1)[-1]
    if isinstance(key := what.get("key_name"), str) and key and parse(req.version or "2.1") >= REBUILD_KEY_FROM:
        try:
            await core.compute.materialise_keypair(entry.site, key, req.caller)
        except NativeFault as e:
            if e.status != 404:
                raise
            return await _in_place_of(core, req, entry, key, lambda other: {name: {**what, "key_name": other}})
    try:
        known = {image: await core.images.materialise(entry.site, image, req.caller)}
    except (Fault, NativeFault) as e:
        if e.status not in (400, 404):
            raise
        if not translate.tokens_text(image):
            return await at_site(core, req, entry)
        return await _in_place_of(core, req, entry, image, lambda other: {name: {**what, _IMAGE_FIELDS[name]: other}})
    return await from_site(core, req, entry.site, await site_reply(core, req, entry.site, known=known))


async def _in_place_of(core: Core, req: Request, entry: IndexEntry, named: str, doc: Callable[[str], dict[str, Any]]) -> Response:
    """The site's own refusal of what the hub does not know: asked with a name that is nobody's, since the site may have
    something of its owner's under the name the caller gave."""
    nobody = str(uuid.uuid4())
    answer = await from_site(core, req, entry.site, await site_reply(core, req, entry.site, doc=doc(nobody)))
    answer.body = answer.body.replace(nobody.encode(), msgspec.json.encode(named)[1:-1])
    return answer


async def _create_image(core: Core, req: Request, entry: IndexEntry, backup: Any) -> Response:
    """The image is born at the site and known north at once (design review 6.2)."""
    reply = await site_reply(core, req, entry.site)
    if reply.status == 202:
        doc = reply.json() or {}
        image = doc.get("image_id") or reply.headers.get("location", "").rsplit("/", 1)[-1]
        image = await core.images.born(entry.site, image, req.caller, request_id=req.request_id)
        if isinstance(backup, dict):
            await _rotate(core, req, entry, image, backup)
        answer = await from_site(core, req, entry.site, reply)
        if "location" in answer.headers:
            answer.headers["location"] = f"{core.conf.public_url.rstrip('/')}/image/v2/images/{image}"
        return answer
    return await from_site(core, req, entry.site, reply)


async def _shelving(core: Core, req: Request, entry: IndexEntry, name: str) -> None:
    """Nova's image of a shelved server comes and goes with it. The action is done already: a failure here refuses nothing."""
    try:
        if name == "unshelve":
            await core.images.unshelved(entry.id, entry.site)
        else:
            there = (await south_ids(core, entry.site, [entry.id], req.caller)).get(entry.id, entry.id)
            await core.images.shelved(entry.site, entry.id, there, req.caller, request_id=req.request_id)
    except (SiteError, NativeFault) as e:
        log.warning("the image of a shelved server is not shown north", site=entry.site, server=entry.id, error=str(e))


async def _rotate(core: Core, req: Request, entry: IndexEntry, newest: str, backup: dict[str, Any]) -> None:
    """createBackup: the hub's records of the oldest backups go, as the site's Nova lets its own go."""
    params = [
        ("instance_uuid", entry.id), ("image_type", "backup"), ("backup_type", str(backup.get("backup_type"))),
        ("sort", "created_at:desc"), ("limit", "1000"),
    ]  # fmt: skip
    reply = await core.south.call("hub", "image", "GET", "/v2/images", as_=req.caller, params=params)
    older = [i["id"] for i in reply.json()["images"] if i["id"] != newest] if reply.ok else []
    for image in older[max(int(backup.get("rotation", 1)) - 1, 0) :]:
        gone = await core.south.call("hub", "image", "DELETE", f"/v2/images/{image}", as_=req.caller)
        if gone.ok:
            await core.images.changed(image, deleted=True)


async def _resize(core: Core, req: Request, entry: IndexEntry, flavor: str) -> Response:
    """The new flavor must be at the site and within quota before the site is asked."""
    reply = await core.south.call("hub", "compute", "GET", f"/flavors/{quote(flavor, safe='')}", as_=req.caller)
    if reply.status != 200:
        what = req.json()["resize"]
        return await _in_place_of(core, req, entry, flavor, lambda other: {"resize": {**what, "flavorRef": other}})
    new = reply.json()["flavor"]
    await core.compute.materialise_flavor(entry.site, flavor, req.caller)
    old = await core.store.ledger.held(entry.id)
    # Between resize and confirm Nova holds the larger of both (nova/quota.py, upsize delta).
    wanted = {"cores": max(int(new["vcpus"]), old.get("cores", 0)), "ram": max(int(new["ram"]), old.get("ram", 0))}
    try:
        await core.store.ledger.change(entry.id, {**old, **wanted}, await core.limits.of("compute", entry.project_id))
    except OverQuota as e:
        raise Fault(
            403, f"Quota exceeded for {e.resource}: Requested {e.requested}, but already used {e.used} of {e.limit} {e.resource}"
        ) from e
    try:
        answer = await at_site(core, req, entry)
    except SiteError:
        raise  # unknown: the larger amount stays until the next confirm, revert or repair
    if answer.status >= 300:
        await core.store.ledger.change(entry.id, old, {})
    return answer


async def _after(core: Core, req: Request, entry: IndexEntry, name: str) -> None:
    if name in ("confirmResize", "revertResize"):
        reply = await core.south.call(entry.site, "compute", "GET", await _path_there(core, entry), version="2.52")
        if reply.ok:
            flavor = reply.json()["server"].get("flavor", {})
            if "vcpus" in flavor:
                await core.store.ledger.change(entry.id, {"instances": 1, "cores": flavor["vcpus"], "ram": flavor["ram"]}, {})
    elif name == "forceDelete":
        await core.images.unshelved(entry.id, entry.site)
        await core.watch.begin_delete("server.delete", entry, req.request_id)
        core.watch.wake(entry.site)


async def _security_group(core: Core, req: Request, entry: IndexEntry, name: str, *, add: bool) -> Response:
    """Groups are the hub's ports' (design review 2.8): the site's Nova would only edit the replica."""
    found = await core.south.call(
        "hub", "network", "GET", "/v2.0/security-groups", as_=req.caller, params=[("tenant_id", req.caller.project_id or "")]
    )
    ids = [g["id"] for g in found.expect(200).json()["security_groups"] if name in (g["id"], g["name"])]
    if len(ids) != 1:
        if len(ids) > 1:
            raise Fault(409, f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
        raise Fault(404, f"Security group {name} not found for project {req.caller.project_id}.")
    for port in await core.ports.of_device(entry.id):
        groups = set(port.get("security_groups", ()))
        wanted = groups | {ids[0]} if add else groups - {ids[0]}
        if wanted != groups:
            path = f"/v2.0/ports/{port['id']}"
            async with core.networks.change(("port", port["id"])) as change:
                reply = await core.south.call(
                    "hub", "network", "PUT", path, as_=req.caller, json={"port": {"security_groups": sorted(wanted)}}
                )
                change.refused = not reply.ok
            reply.expect(200)
            await core.networks.followed("port", port["id"], FOLLOW)
        elif not add:
            raise Fault(404, f"Security group {name} not associated with the instance {entry.id}")
    return Response(status=202, headers={"Content-Type": "application/json"})


async def interface_attach(core: Core, req: Request) -> Response:
    """POST /servers/{id}/os-interface: a hub port first, then its replica, then the site's Nova plugs that."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    wanted = doc.get("interfaceAttachment") if isinstance(doc, dict) else None
    if not isinstance(wanted, dict):
        return await at_site(core, req, entry)
    if not _plain_attachment(doc) and (reply := await hub_reply(core, req)).status == 400:
        return from_hub(core, reply)  # its schema is the site's, and nothing is made yet
    nic: dict[str, Any] = {"port": wanted.get("port_id"), "uuid": wanted.get("net_id")}
    if not wanted.keys() & {"port_id", "net_id", "fixed_ips"}:
        nic["uuid"] = await _only_network(core, req, entry)
    if not isinstance(nic["port"] or nic["uuid"], str):
        return await at_site(core, req, entry)
    fixed = wanted.get("fixed_ips")
    if isinstance(fixed, list) and fixed and isinstance(fixed[0], dict):
        nic["fixed_ip"] = fixed[0].get("ip_address")
    nics = Nics(core, req, entry.site, entry.id)
    port, made = await nics.one(nic)
    try:
        site_port = await core.networks.materialise_port(entry.site, port, req.caller)
        body = {"interfaceAttachment": {"port_id": site_port, **({"tag": wanted["tag"]} if "tag" in wanted else {})}}
        reply = await site_reply(core, req, entry.site, doc=body)
    except (Fault, NativeFault, SiteError):
        await core.ports.drop(port, entry.site, delete=made)
        raise
    if reply.status != 200:
        await core.ports.drop(port, entry.site, delete=made)
    else:
        await core.ports.give(port["id"], entry.id, entry.site, made=made)
    return await from_site(core, req, entry.site, reply)


def _plain_attachment(doc: dict[str, Any]) -> bool:
    """Whether an attach says nothing but a port or a network: such a body needs no schema."""
    wanted = doc["interfaceAttachment"]
    (value,) = wanted.values() if len(wanted) == 1 else (None,)
    plain = isinstance(value, str) and translate.tokens_text(value) == {value}
    return len(doc) == 1 and (not wanted or (plain and wanted.keys() <= {"port_id", "net_id"}))


async def _only_network(core: Core, req: Request, entry: IndexEntry) -> str:
    """The network of an attach that names none. At the site it would be one of the few that happen to be there."""
    found = await Nics(core, req, entry.site, entry.id).available()
    if not found:
        raise Fault(400, f"No specific network was requested and none are available for project '{req.caller.project_id}'.")
    if len(found) > 1:
        raise Fault(400, "Multiple possible networks found, use a Network ID to be more specific.")
    return found[0]


async def interface_detach(core: Core, req: Request) -> Response:
    """DELETE /servers/{id}/os-interface/{port}: asynchronous at the site; the hub's port follows when it is out."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    reply = await site_reply(core, req, entry.site)
    if reply.status == 202:
        core.tasks.start("interface detach", core.watch.detached(entry, req.match["port"]))
    return await from_site(core, req, entry.site, reply)


async def volume_attach(core: Core, req: Request) -> Response:
    """POST /servers/{id}/os-volume_attachments: a volume of another site gets Nova's own refusal (design review 1.2)."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    wanted = doc.get("volumeAttachment") if isinstance(doc, dict) else None
    volume = wanted.get("volumeId") if isinstance(wanted, dict) else None
    if isinstance(volume, str):
        where = await locate(core, req, "volume", volume)
        if where is not None and where.site != entry.site:
            raise Fault(400, f"Invalid volume: Instance {entry.id} and volume {volume} are not in the same availability_zone. "
                             f"Instance is in {entry.site}. Volume is in {where.site}")  # fmt: skip
    return await at_site(core, req, entry)


async def server_tags(core: Core, req: Request) -> Response:
    """PUT and DELETE of all tags: our stamp stays while it is needed (design review 3.2).

    Where it holds the server's north id it is always needed: a lost database is rebuilt from it.
    """
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    stamps = {stamp(i) for i in await core.store.intents.by_resource(entry.id) if i.verb == "server.create"}
    if await core.store.pairs.at("server", entry.id, entry.site) != entry.id:
        stamps.add(STAMP_TAG + entry.id)
    if not stamps:
        return await at_site(core, req, entry)
    if req.method == "PUT" and isinstance(doc := req.json(), dict) and isinstance(doc.get("tags"), list):
        reply = await site_reply(core, req, entry.site, doc={**doc, "tags": [*doc["tags"], *stamps]})
        return await from_site(core, req, entry.site, reply)
    if req.method == "DELETE":
        reply = await core.south.call(
            entry.site, "compute", "PUT", await _path_there(core, entry, "/tags"), as_=req.caller, json={"tags": [*stamps]},
            version=req.version,
        )  # fmt: skip
        return Response(status=204) if reply.status == 200 else await from_site(core, req, entry.site, reply)
    return await at_site(core, req, entry)


async def _path_there(core: Core, entry: IndexEntry, below: str = "") -> str:
    """A server's path at its site."""
    return f"/servers/{await core.store.pairs.at('server', entry.id, entry.site)}{below}"


async def server_groups(core: Core, req: Request) -> Response:
    """Server groups are the hub's; their members are the sites' (listed by what each site's copy says)."""
    reply = await hub_reply(core, req)
    if req.method == "POST" and reply.status == 409:
        return await _group_with_rules(core, req, reply)
    if req.method == "DELETE" and reply.ok:
        core.replicas.changed("server_group", req.path.rsplit("/", 1)[-1])
        await core.compute.keep_rules(req.path.rsplit("/", 1)[-1], None)
    if req.method != "GET" or reply.status != 200:
        return from_hub(core, reply)
    doc = reply.json()
    for group in doc["server_groups"] if "server_groups" in doc else [doc["server_group"]]:
        there = await core.compute.group_members(group["id"])
        group["members"] = list(dict.fromkeys([*there, *await building.members(core, group["id"])]))
        if "rules" in group:
            group |= await core.compute.rules(group["id"])
    return from_hub(core, reply, msgspec.json.encode(doc))


async def _group_with_rules(core: Core, req: Request, refusal: Reply) -> Response:
    """The hub's Nova has no computes and so refuses ``max_server_per_host``, which every site's may have."""
    doc = req.json()
    group = doc.get("server_group") if isinstance(doc, dict) else None
    rules = group.get("rules") if isinstance(group, dict) else None
    if not isinstance(group, dict) or not rules:
        return from_hub(core, refusal)
    body = {"server_group": {k: v for k, v in group.items() if k != "rules"}}
    reply = await hub_reply(core, req, body=msgspec.json.encode(body))
    if reply.status != 200:
        return from_hub(core, reply)
    made = reply.json()
    made["server_group"]["rules"] = {k: int(v) for k, v in rules.items()}
    await core.compute.keep_rules(made["server_group"]["id"], made["server_group"]["rules"])
    return from_hub(core, reply, msgspec.json.encode(made))

"""Booting a server (design.md, "Booting a server"): intent and quota first, then what it needs, then one POST.

A crash between any two calls leaves an intent; ``cascade.reconcile.recover`` finds the server by its stamp or takes
everything back. On a refusal everything made so far is taken back here.
"""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from typing import Any
from urllib.parse import quote

import structlog

from cascade.api import boot as reading
from cascade.api import boot_volumes, building
from cascade.api.choice import Spread, choose
from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, site_reply, to_hub
from cascade.api.nics import Nics
from cascade.api.request import Request, Response
from cascade.api.zonal import locate
from cascade.api.zones import zone_sites
from cascade.model.crash import point
from cascade.model.errors import Conflict, Fault, NativeFault, OverQuota, SiteError, SiteUnreachable
from cascade.model.ids import split_host
from cascade.model.reply import Reply
from cascade.reconcile.building import north_id
from cascade.reconcile.images import NotYet
from cascade.routing.bodies import STAMP_TAG
from cascade.store.intents import Intent

log = structlog.get_logger(__name__)


async def server_create(core: Core, req: Request) -> Response:
    """POST /servers."""
    doc = req.json()
    boot = reading.read(doc, req.version or "2.1")
    if boot is None or boot.suspicious or boot.count == (0, 0) or not req.caller.roles - {"reader"}:
        return await hub_verdict(core, req)
    named = {}
    for kind, ids in (("volume", boot.volumes), ("snapshot", boot.snapshots), ("server", boot.servers)):
        for ident in ids:
            entry = await locate(core, req, kind, ident)
            if entry is None:
                return await hub_verdict(core, req)
            named[ident] = entry.site
    flavor = await core.south.call(
        "hub", "compute", "GET", f"/flavors/{quote(str(boot.server['flavorRef']), safe='')}", as_=req.caller
    )
    if flavor.status != 200:
        return await hub_verdict(core, req)
    for host in boot.hosts:
        where = split_host(host)
        if where is None or where[0] not in core.sites.names():
            return await hub_verdict(core, req)  # nobody's host
        if boot.zone and zone_sites(core).get(boot.zone, where[0]) != where[0]:
            raise Fault(400, f"Compute host {host} could not be found.")
        named[host] = where[0]
    if boot.zone is None:
        named |= await Nics(core, req, "", "").zones(boot)
    spread = await _group(core, req, boot, named)

    async def place() -> str:
        found = await choose(
            core, req, zone=boot.zone, named=named, volumes=bool(boot.volumes or boot.snapshots), spread=spread or Spread()
        )
        log.info("site chosen", site=found.site, why=found.why)
        return found.site

    site = begun = await place()
    shape = flavor.json()["flavor"]
    await boot_volumes.check(core, req.caller.project_id or "", boot)
    low, high = boot.count[0], await _room(core, req, shape, *boot.count)
    made: list[str] = []
    first: Response | None = None
    until = time.monotonic() + building.HOLD
    for number in range(1, high + 1):
        try:
            if number > 1 and spread is not None:
                site = await place()
            answer, server = await _one(core, req, boot, doc, site, shape, number if high > 1 else 0, low, until)
        except (Fault, NativeFault, SiteError):
            if number <= low:
                await _discard(core, made)
                raise
            break  # beyond min_count as many as there is room for, as Nova does
        if server is None:
            if number <= low:
                await _discard(core, made)
                return answer
            break
        made.append(server)
        if spread is not None:
            spread.members[site] = spread.members.get(site, 0) + 1
        if boot.new_volumes:
            core.tasks.start("boot volumes", boot_volumes.arriving(core, server))
        first = first or answer
    assert first is not None
    if boot.reservation:
        return await _reservation(core, begun, made, first)
    return first


async def _group(core: Core, req: Request, boot: reading.Boot, named: dict[str, str]) -> Spread | None:
    """The server group's wish: members of an affinity group name their site, those of anti-affinity fill hosts."""
    if not boot.group:
        return None
    path = f"/os-server-groups/{quote(boot.group, safe='')}"
    reply = await core.south.call("hub", "compute", "GET", path, as_=req.caller, version="2.64")
    policy = reply.json()["server_group"]["policy"] if reply.status == 200 else ""
    members = await core.compute.group_at(boot.group)
    if policy == "affinity":
        pinned = next((site for site, there in members.items() if there), None)
        if pinned is not None:
            named[boot.group] = pinned
        elif None in members.values():
            raise Fault(503, "The availability zone of this server group is not available.", headers={"Retry-After": "10"})
    if not policy.endswith("anti-affinity"):
        return None
    rules = (await core.compute.rules(boot.group)).get("rules") or {}
    return Spread({site: len(there or ()) for site, there in members.items()}, rules.get("max_server_per_host", 1))


async def _room(core: Core, req: Request, flavor: dict[str, Any], low: int, high: int) -> int:
    """How many of a multi-create fit now, at least ``low``: a hopeless one is refused before anything is made."""
    if high == 1:
        return 1
    project = req.caller.project_id or ""
    limits, usage = await core.limits.of("compute", project), await core.store.ledger.usage(project)
    for resource, each in (("instances", 1), ("cores", int(flavor["vcpus"])), ("ram", int(flavor["ram"]))):
        limit, used = limits.get(resource, -1), usage.get(resource, 0)
        if limit >= 0 and each:
            if (limit - used) // each < low:
                raise Fault(403, _over(OverQuota(resource=resource, used=used, requested=each, limit=limit), low))
            high = min(high, (limit - used) // each)
    return high


async def _discard(core: Core, servers: list[str]) -> None:
    """All or nothing up to min_count."""
    for server in servers:
        await core.watch.discard(server)


async def _one(
    core: Core, req: Request, boot: reading.Boot, doc: dict[str, Any], site: str, flavor: dict[str, Any], number: int, low: int,
    until: float,
) -> tuple[Response, str | None]:  # fmt: skip
    project = req.caller.project_id or ""
    amounts = {"instances": 1, "cores": int(flavor["vcpus"]), "ram": int(flavor["ram"])}
    try:
        intent = await core.store.begin_create(
            verb="server.create", site=site, project_id=project, user_id=req.caller.user_id, request_id=req.request_id,
            body=reading.safe_to_store(doc) | {"user_ports": _ports_named(boot)}, amounts=amounts,
            limits=await core.limits.of("compute", project),
            user_limits=await core.limits.of_user("compute", project, req.caller.user_id),
        )  # fmt: skip
    except OverQuota as e:
        raise Fault(403, _over(e, low if number else 1)) from e
    with core.watch.at_work(intent):
        return await _make(core, req, boot, doc, site, number, intent, until)


async def _make(
    core: Core, req: Request, boot: reading.Boot, doc: dict[str, Any], site: str, number: int, intent: Intent, until: float
) -> tuple[Response, str | None]:
    """What the server needs, then the one POST; on every way out the intent says what is left to do.

    Where bits of an image are still on their way at ``until`` (monotonic), the POST is left to the watch.
    """
    point("server.create:intent")
    nics = Nics(core, req, site, intent.id)
    try:
        await core.allowances.ensure(site, "compute", req.caller.project_id or "")
        known = await _materialise(core, req, boot, site)
        late = await _images(core, req, boot.images, site, known, 0)
        if late and number < 2 and (refusal := await building.judge(core, req, boot, doc)) is not None:
            await take_back(core, intent, nics)
            return refusal, None
        point("server.create:materialised")
        ports = await nics.prepare(boot)
        point("server.create:ports")
        if late := await _images(core, req, late, site, known, until - time.monotonic()):
            body = reading.south_body(doc, stamp=STAMP_TAG + north_id(intent.id), ports=ports, number=number)
            return await building.accept(
                core, req, boot, doc, intent, body=body, known=known, images=late, ports=_ports_named(boot)
            )
        await core.store.intents.advance(intent.id, "posting")
        point("server.create:posting")
        body = reading.south_body(doc, stamp=STAMP_TAG + intent.id, ports=ports, number=number)
        reply = await _post(core, req, site, body, building.south_version(req, boot), known, intent)
    except (Fault, NativeFault) as e:
        await take_back(core, intent, nics)
        if isinstance(e, NativeFault) and e.target == "hub":
            # A reference was bad: Nova at the hub knows all of them and says it as Nova says it.
            return await hub_verdict(core, req, e), None
        raise
    except Conflict as e:
        await nics.undo()  # this process was taken for dead, and its intent was settled by another
        raise Fault(503, "The request was interrupted; try again.", headers={"Retry-After": "1"}) from e
    except SiteError as e:
        if (await core.store.intents.get(intent.id)).state != "posting" or isinstance(e, SiteUnreachable):
            await take_back(core, intent, nics)
        else:  # nobody knows whether it was made: the watch looks for the stamp
            await core.watch.unsure(intent)
        raise
    if reply.status != 202:
        await take_back(core, intent, nics)
        return await from_site(core, req, site, reply), None
    point("server.create:accepted")
    made = reply.json()["server"]["id"]
    await core.watch.accepted(intent, made)
    point("server.create:indexed")
    answer = await from_site(core, req, site, reply)
    return _as_asked(answer, req, boot), made


async def _post(
    core: Core, req: Request, site: str, body: dict[str, Any], version: str, known: dict[str, str], intent: Intent
) -> Reply:
    """The one POST. A lost or broken answer is looked up by the stamp before anybody is told anything."""
    try:
        reply = await site_reply(core, req, site, doc=body, version=version, known=known)
    except SiteError:
        point("server.create:lost")
        found = await core.watch.find_stamped(intent)
        if found is None:
            raise
        return found
    if reply.status >= 500:
        return await core.watch.find_stamped(intent) or reply
    return reply


async def _materialise(core: Core, req: Request, boot: reading.Boot, site: str) -> dict[str, str]:
    """Flavor, key pair, volume types and server group at the site; returns the ids that differ there."""
    known: dict[str, str] = {}
    work: list[Any] = [core.compute.materialise_flavor(site, boot.flavor, req.caller)]
    key = boot.server.get("key_name")
    if isinstance(key, str):
        work.append(core.compute.materialise_keypair(site, key, req.caller))
    await asyncio.gather(*work)
    for name in boot.volume_types:
        if await core.volumes.materialise_type(site, name, req.caller) is None:
            raise NativeFault(404, b"", {}, "hub")
    if boot.group:
        known[boot.group] = await core.compute.materialise_server_group(site, boot.group, req.caller)
    return known


async def _images(core: Core, req: Request, images: list[str], site: str, known: dict[str, str], patience: float) -> list[str]:
    """Images to the site, for at most ``patience`` seconds: into ``known`` those that are there; returns the others."""
    until, late = time.monotonic() + patience, []
    for image in dict.fromkeys(images):
        try:
            known[image] = await core.images.materialise(site, image, req.caller, wait=max(0.0, until - time.monotonic()))
        except NotYet:
            late.append(image)
    return late


async def take_back(core: Core, intent: Intent, nics: Nics) -> None:
    """Undo everything a refused create made; what cannot be undone now stays with the intent for recovery."""
    try:
        await nics.undo()
    except SiteError as e:
        log.warning("clean-up is left to recovery", intent=intent.id, error=str(e))
        await core.store.intents.update(intent.id, state="undo")
        core.watch.wake(intent.site)
        return
    await core.store.ledger.release(intent.id)
    await core.store.intents.close(intent.id)


async def hub_verdict(core: Core, req: Request, because: NativeFault | None = None) -> Response:
    """The hub's Nova refuses a bad create in the real words: it knows every flavor, image, key, network and group.

    Should it accept after all, nothing stays of it.
    """
    import msgspec

    doc = req.json()
    body = req.body
    if isinstance(doc, dict) and isinstance(doc.get("server"), dict):
        server = {k: v for k, v in doc["server"].items() if k != "availability_zone" or not isinstance(v, str)}
        body = msgspec.json.encode({**doc, "server": server})
    reply = await hub_reply(core, req, body=body)
    if not reply.ok:
        return from_hub(core, reply)
    made = reply.json().get("server", {}).get("id")
    if made:
        await core.south.call("hub", "compute", "DELETE", f"/servers/{made}", as_=req.caller)
    # Nova itself would find out only after its 202 (an address outside the subnet, say) and end in ERROR; we know now.
    said = because.message() if because is not None else None
    log.warning("the hub's Nova accepts what cannot be made", server=made, because=said)
    raise Fault(400, said or "The request names something that is not available.")


def _as_asked(answer: Response, req: Request, boot: reading.Boot) -> Response:
    """The answer in the version the client spoke, with the security groups it named."""
    import msgspec

    if req.version and "openstack-api-version" in answer.headers:
        answer.headers["openstack-api-version"] = f"compute {req.version}"
    if req.version and "x-openstack-nova-api-version" in answer.headers:
        answer.headers["x-openstack-nova-api-version"] = req.version
    doc = msgspec.json.decode(answer.body)
    if isinstance(doc.get("server"), dict) and isinstance(boot.server.get("security_groups"), list):
        doc["server"]["security_groups"] = boot.server["security_groups"]
        answer.body = msgspec.json.encode(doc)
    return answer


async def _reservation(core: Core, site: str, servers: list[str], answer: Response) -> Response:
    """``return_reservation_id``: that of the first server, or one of ours; at the site the others have their own."""
    there = await core.store.pairs.at("server", servers[0], site)
    reply = await core.south.call(site, "compute", "GET", f"/servers/{there}", as_=None, version="2.3")
    found = reply.json().get("server", {}).get("OS-EXT-SRV-ATTR:reservation_id", "") if reply.ok else ""
    if not found:  # not at the site yet
        found = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    if len(servers) > 1 or not reply.ok:
        await core.store.docs.put(f"reservation/{found}", servers)
    return Response.of(
        {"reservation_id": found}, 202, {k: v for k, v in answer.headers.items() if k not in ("location", "content-type")}
    )


def _ports_named(boot: reading.Boot) -> list[str]:
    nets = boot.networks if isinstance(boot.networks, list) else []
    return [n["port"] for n in nets if isinstance(n, dict) and isinstance(n.get("port"), str)]


def _over(e: OverQuota, count: int) -> str:
    """Nova's words (TooManyInstances)."""
    wanted = e.requested * max(count, 1)
    return f"Quota exceeded for {e.resource}: Requested {wanted}, but already used {e.used} of {e.limit} {e.resource}"


async def server_delete(core: Core, req: Request) -> Response:
    """DELETE /servers/{id}: intent first, so that ports and quota go when the server is gone, whatever happens to us."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    if not core.sites.usable(entry.site):
        raise Fault(503, f"Availability zone {entry.site} is not available at the moment.", headers={"Retry-After": "10"})
    volumes = await boot_volumes.leaving_with(core, entry)
    intent = await core.watch.begin_delete("server.delete", entry, req.request_id)
    point("server.delete:intent")
    try:
        reply = await site_reply(core, req, entry.site)
    except SiteError:
        core.watch.wake(entry.site)  # it may be going: watching costs little and settles it
        raise
    point("server.delete:sent")
    if reply.ok:
        core.watch.wake(entry.site)
        await core.images.unshelved(entry.id, entry.site)
        if volumes:
            core.tasks.start("volumes of a server", boot_volumes.gone_with(core, entry, volumes))
    elif reply.status == 404:
        await core.watch.noticed(entry)
    else:
        await core.watch.refused(intent, req)
    point("server.delete:answered")
    return await from_site(core, req, entry.site, reply)

"""What an operator looks at first: how the sites are, what lags, what fails and what to do about it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from importlib.metadata import version
from typing import Any

from cascade.api.core import Core
from cascade.api.request import Request, Response
from cascade.api.show import health_view, moment
from cascade.model.errors import Fault, NativeFault, SiteError
from cascade.model.site import HUB, Site
from cascade.sites.versions import releases

FAILING = 100
"""Failing keys in one answer, at most."""
_STATISTICS = "2.87"
"""The last microversion in which Nova adds its hypervisors up."""
_CAPACITY = {
    "hypervisors": "count", "servers": "running_vms", "vcpus": "vcpus", "vcpus_used": "vcpus_used", "memory_mb": "memory_mb",
    "memory_mb_used": "memory_mb_used", "local_gb": "local_gb", "local_gb_used": "local_gb_used",
}  # fmt: skip
_ADVICE = (
    (r"no answer within|no complete answer|did not answer",
     "It accepts connections and says nothing: look at its API workers and their database. Drain the site if this takes longer."),
    (r"Cannot connect|ConnectorError|refused|unreachable|Name or service",
     "Nothing answers at its address: look at the service, the network to it, and the endpoint in its catalogue."),
    (r"ertificate|SSL|TLS", "Its certificate is not accepted: look at its date and name, and at cacert in clouds.yaml."),
    (r"\b401\b|Unauthorized|password|requires authentication",
     "Its Keystone refuses the account: put the entry in clouds.yaml right; it is read again by itself."),
    (r"\b403\b|not allowed|Forbidden", "The account lacks a role there: see what a site must grant in the operator's guide."),
    (r"no .* endpoint", "Its catalogue lacks the service for the account's region and interface."),
    (r"uota|OverQuota", "The site's own quota for the shadow project is reached: keep site quotas far above the hub's."),
    (r"answers 5\d\d|status 5\d\d|\b50[0-4]\b", "The service fails: its own log says why. Cascade tries again by itself."),
    (r"bug", "Please report it with the lines of the log."),
)  # fmt: skip


def advice(error: str | None) -> str | None:
    """What to do about an error; None where the error is all there is to say."""
    return next((text for pattern, text in _ADVICE if error and re.search(pattern, error)), None)


async def status(core: Core, _: Request) -> Response:
    """GET /status."""
    await core.sites.reload()
    pending = await core.store.intents.pending()
    per_site = Counter(intent.site for intent in pending)
    queues = _queues(core)
    failing = sorted(
        ((since, name, key, error) for name, q in queues.items() for key, since, error in q.failing()), key=lambda f: f[0]
    )
    return Response.of({"status": {
        "version": version("openstack-cascade"),
        "hub": {**health_view(core.sites.health.get(HUB)), **_known(core, HUB)},
        "windows": {service: core.discovery.window(service) for service in ("compute", "volume")},
        "open_intents": len(pending),
        "waiting": {name: len(q) for name, q in queues.items()},
        "failing": [
            {"queue": name, "key": " ".join(map(str, key)) if isinstance(key, tuple) else str(key), "since": moment(since),
             "error": error, "advice": advice(error)}
            for since, name, key, error in failing[:FAILING]
        ],
        "sites": [
            {"name": s.name, "enabled": s.enabled, "draining": s.draining, "open_intents": per_site[s.name],
             "health": health_view(core.sites.health.get(s.name)), **_known(core, s.name)}
            for s in core.sites.all()
        ],
    }})  # fmt: skip


async def capacity(core: Core, _: Request) -> Response:
    """GET /capacity: what the sites' hypervisors have and what is used of it, whoever uses it; asked now, all at once."""
    await core.sites.reload()
    sites = core.sites.all()
    found = await asyncio.gather(*(_capacity(core, s) for s in sites))
    return Response.of({"capacity": [{"name": s.name, **row} for s, row in zip(sites, found, strict=True)]})


async def request(core: Core, req: Request) -> Response:
    """GET /requests/{id}: what a request that changed something did, at hub and sites, also after it was answered."""
    ident = req.match["id"]
    rows = await core.store.traces.of(ident)
    if not rows:
        kept = f"Reads and sign-ins are not written down, others for {core.conf.trace_days:g} days."
        raise Fault(404, f"Could not find request: {ident}. {kept}")
    own = next((r for r in rows if not r.target), None)
    begun = rows[0].at
    return Response.of({"request": {
        "id": rows[0].request_id, "global_id": own.remote_id or None if own else None,
        "project_id": own.project_id or None if own else None, "service": own.service if own else None,
        "method": own.method if own else None, "path": own.path if own else None, "status": own.result if own else None,
        "began": moment(begun), "seconds": round(own.seconds, 4) if own else None,
        "calls": [
            {"offset": round(r.at - begun, 4), "seconds": round(r.seconds, 4), "target": r.target, "service": r.service,
             "method": r.method, "path": r.path, "result": r.result, "request_id": r.remote_id or None}
            for r in rows if r.target
        ],
    }})  # fmt: skip


async def _capacity(core: Core, site: Site) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(_CAPACITY)
    if not core.sites.usable(site.name):
        return {**nothing, "error": "not asked: it is disabled or down"}
    try:
        reply = await core.south.call(
            site.name, "compute", "GET", "/os-hypervisors/statistics", version=_STATISTICS, timeout=core.conf.list_deadline
        )
        said = reply.expect(200).json()["hypervisor_statistics"]
    except (SiteError, NativeFault) as e:
        return {**nothing, "error": str(e)}
    return {**{ours: said.get(theirs) for ours, theirs in _CAPACITY.items()}, "error": None}


def _known(core: Core, target: str) -> dict[str, Any]:
    health = core.sites.health.get(target)
    windows = {service: core.discovery.target_window(target, service) for service in ("compute", "volume")}
    return {
        "advice": advice(health.last_error) if health is not None and health.state != "up" else None,
        "services_down": core.sites.health.down(target), "windows": windows, "release": releases(windows["compute"]),
        "extensions": sorted(core.discovery.extensions(target)),
    }  # fmt: skip


def _queues(core: Core) -> dict[str, Any]:
    """Copies that wait to follow the hub, or to travel, in this process."""
    images = core.images
    return {"network": core.networks.queue, "replicas": core.replicas.queue, "images": images.queue, "image bits": images.moves}

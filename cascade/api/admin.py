"""The admin API, ``/cascade/v1``: sites and how they are, what is under way. Faults in Keystone's shape.

Described by ``openapi.yaml`` beside this file. Everything here is for operators: site names, errors and addresses
in it are no secret to them, and policy keeps everybody else out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cascade import telemetry
from cascade.api import joining, overview, page
from cascade.api.core import Core
from cascade.api.policy import Policy
from cascade.api.request import Request, Response
from cascade.api.show import health_view, intent_view, site_view
from cascade.model.errors import Conflict, Fault
from cascade.model.site import HUB, OPTIONS, Site
from cascade.model.table import Kind, Row, find

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""One label of a host name, since hosts are shown as ``<host>.<site>``."""
Word = Annotated[str, Meta(min_length=1, max_length=255)]
Zone = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\s:/,]+$")]
"""A ``:`` would begin a forced host, a ``,`` another zone, a ``/`` another path."""
RESERVED = (HUB, "internal")
"""Ours, and the zone Nova keeps for itself."""
LOOK = 10.0
"""Seconds for learning anew what a site can do, before its health is shown."""
PAGE = 1000
"""Intents in one answer, at most."""


class SiteIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a client may say of a new site."""

    name: Name
    cloud: Word | None = None
    identity: Literal["mapped", "shared"] = "mapped"
    enabled: bool = True
    draining: bool = False
    zones: dict[Word, Zone] = {}
    options: dict[str, Annotated[str, Meta(max_length=255)]] = {}


class Create(msgspec.Struct, forbid_unknown_fields=True):
    """POST /sites."""

    site: SiteIn
    allow_lower_window: bool = False


class Change(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may be changed of a site. ``zones`` and ``options`` are merged in; an empty string takes one out."""

    enabled: bool | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    zones: dict[Word, Annotated[str, Meta(max_length=255, pattern=r"^[^\s:/,]*$")]] | UnsetType = UNSET
    options: dict[str, str] | UnsetType = UNSET


class Update(msgspec.Struct, forbid_unknown_fields=True):
    """PATCH /sites/{name}."""

    site: Change
    allow_lower_window: bool = False


T = TypeVar("T")


class Admin:
    """The routes of ``/cascade/v1``."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def serve(self, core: Core, req: Request) -> Response:
        """One authenticated request; ``req.path`` is relative to ``/v1``. Raises Fault."""
        found = find(ROWS, req.method, req.path)
        if found is None:
            if any(row.match(m, req.path) is not None for row in ROWS for m in row.methods):
                raise Fault(405, "The method is not allowed for the requested URL.")
            raise Fault(404, f"Could not find the requested path {req.path}.")
        req.row, req.match = found
        telemetry.row.set(req.row.pattern)
        await self._policy.check(req.row.resource, req.caller)
        try:
            return await HANDLERS[req.row.handler](core, req)
        except Conflict as e:
            raise Fault(409, str(e)) from e


def _row(method: str, pattern: str, handler: str, rule: str) -> Row:
    return Row(pattern=pattern, kind=Kind.HUB, methods=frozenset({method}), handler=handler, resource=rule)


ROWS = (
    _row("GET", "/sites", "list", "cascade:site:get"),
    _row("POST", "/sites", "create", "cascade:site:create"),
    _row("GET", "/sites/{name}", "show", "cascade:site:get"),
    _row("PATCH", "/sites/{name}", "update", "cascade:site:update"),
    _row("DELETE", "/sites/{name}", "delete", "cascade:site:delete"),
    _row("GET", "/sites/{name}/health", "health", "cascade:site:get"),
    _row("GET", "/intents", "intents", "cascade:intent:get"),
    _row("GET", "/status", "status", "cascade:status:get"),
    _row("GET", "/capacity", "capacity", "cascade:status:get"),
    _row("GET", "/requests/{id}", "request", "cascade:request:get"),
)


@cache
def document() -> bytes:
    """The OpenAPI document."""
    return resources.files("cascade.api").joinpath("openapi.yaml").read_bytes()


def public(core: Core, method: str, path: str, accept: str = "") -> Response | None:
    """What needs no token: the version document, which is a browser's way to the page, and the OpenAPI document.

    ``path`` is relative to ``/cascade``.
    """
    if method not in ("GET", "HEAD"):
        return None
    if path == "/v1/openapi.yaml":
        return Response(status=200, headers={"Content-Type": "application/yaml"}, body=document())
    if path not in ("/", "/v1"):
        return None
    if path == "/" and "text/html" in accept:
        return Response(status=303, headers={"Location": f"{core.conf.public_url.rstrip('/')}{page.PREFIX}/"})
    base = f"{core.conf.public_url.rstrip('/')}/cascade/v1"
    links = [{"rel": "self", "href": base}, {"rel": "describedby", "type": "application/yaml", "href": f"{base}/openapi.yaml"}]
    doc = {"id": "v1.0", "status": "CURRENT", "links": links}
    return Response.of({"versions": [doc]} if path == "/" else {"version": doc})


async def list_sites(core: Core, req: Request) -> Response:
    """GET /sites."""
    await core.sites.reload()
    return Response.of({"sites": [site_view(core, s) for s in core.sites.all()]})


async def create_site(core: Core, req: Request) -> Response:
    """POST /sites[?dry_run=true]: the joining report always comes first."""
    body = _decode(req, Create)
    wish = body.site
    _check_options(wish.options)
    if wish.name in RESERVED:
        raise Fault(400, f"A site cannot be called {wish.name}.")
    await core.sites.reload()
    if any(s.name == wish.name for s in core.sites.all()):
        raise Fault(409, f"There is a site {wish.name} already.")
    site = Site(
        name=wish.name, number=0, cloud=wish.cloud or wish.name, identity=wish.identity, enabled=wish.enabled,
        draining=wish.draining, zones=wish.zones, options=_merged({}, wish.options),
    )  # fmt: skip
    report = await joining.report(core, site, req.caller, lower=body.allow_lower_window)
    if _flag(req, "dry_run"):
        return Response.of({"report": report})
    if not report["ok"]:
        return _refused(f"Site {site.name} cannot join; see the report.", report)
    await core.store.sites.add(site)
    await joining.joined(core, site.name)
    return Response.of({"site": site_view(core, core.sites.get(site.name)), "report": report}, 201)


async def show_site(core: Core, req: Request) -> Response:
    """GET /sites/{name}."""
    return Response.of({"site": site_view(core, await _site(core, req))})


async def update_site(core: Core, req: Request) -> Response:
    """PATCH /sites/{name}. Enabling a site asks for its joining report again: the window could shrink."""
    body = _decode(req, Update)
    site = await _site(core, req)
    changes: dict[str, Any] = {}
    for name in ("enabled", "draining"):
        if (value := getattr(body.site, name)) is not UNSET:
            changes[name] = value
    if body.site.options is not UNSET:
        _check_options(body.site.options)
        changes["options"] = _merged(site.options, body.site.options)
    if body.site.zones is not UNSET:
        changes["zones"] = _merged(site.zones, body.site.zones)
    if not changes:
        raise Fault(400, "Nothing to change is named.")
    wished = replace(site, **changes)
    if wished.enabled and (not site.enabled or wished.zones != site.zones):
        report = await joining.report(core, wished, req.caller, lower=body.allow_lower_window)
        if not report["ok"]:
            return _refused(f"Site {site.name} cannot be changed so; see the report.", report)
    await core.store.sites.update(site.name, **changes)
    if wished.enabled:
        await joining.joined(core, site.name)
    else:
        await core.sites.reload()
    return Response.of({"site": site_view(core, core.sites.get(site.name))})


async def delete_site(core: Core, req: Request) -> Response:
    """DELETE /sites/{name}: only when nothing we know of lives there any more."""
    site = await _site(core, req)
    left = await joining.left_at(core, site.name)
    if left:
        what = ", ".join(f"{n} {kind}" for kind, n in sorted(left.items()))
        raise Fault(409, f"Site {site.name} still holds {what}. Drain it, and delete these first.")
    await core.store.sites.remove(site.name)
    await core.sites.reload()
    return Response(status=204)


async def site_health(core: Core, req: Request) -> Response:
    """GET /sites/{name}/health: probed now, not remembered; what the site can do is learnt anew, as after its upgrade."""
    site = await _site(core, req)
    if site.enabled and (await core.sites.health.check(site.name)).state == "up":
        await core.discovery.refresh(site.name, timeout=LOOK)
    return Response.of({"health": health_view(core.sites.health.get(site.name))})


async def intents(core: Core, req: Request) -> Response:
    """GET /intents[?site=&verb=&limit=&marker=]: what is not finished, oldest first."""
    rows = await core.store.intents.pending(site=req.param("site"), verb=req.param("verb"))
    rows.sort(key=lambda i: (i.created, i.id))
    if (marker := req.param("marker")) is not None:
        at = next((n for n, i in enumerate(rows) if i.id == marker), None)
        if at is None:
            raise Fault(400, f"marker {marker} is not in the list: it may be finished by now. Begin again.")
        rows = rows[at + 1 :]
    return Response.of({"intents": [intent_view(i) for i in rows[: _limit(req)]]})


HANDLERS: dict[str, Callable[[Core, Request], Awaitable[Response]]] = {
    "list": list_sites, "create": create_site, "show": show_site, "update": update_site, "delete": delete_site,
    "health": site_health, "intents": intents, "status": overview.status, "capacity": overview.capacity,
    "request": overview.request,
}  # fmt: skip


async def _site(core: Core, req: Request) -> Site:
    """The row as it is now: another gateway may have written it."""
    await core.sites.reload()
    found = next((s for s in core.sites.all() if s.name == req.match["name"]), None)
    if found is None:
        raise Fault(404, f"Could not find site: {req.match['name']}.")
    return found


def _decode(req: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(req.body, type=kind)
    except msgspec.ValidationError as e:
        raise Fault(400, f"The request body is not valid: {e}") from e
    except msgspec.DecodeError as e:
        raise Fault(400, "The request body is not JSON.") from e


def _check_options(options: Mapping[str, str]) -> None:
    unknown = sorted(options.keys() - OPTIONS.keys())
    if unknown:
        raise Fault(400, f"Unknown options: {', '.join(unknown)}. There are: {', '.join(OPTIONS)}.")


def _flag(req: Request, name: str) -> bool:
    value = req.param(name)
    if value is None or value.lower() in ("0", "false", "no"):
        return False
    if value.lower() in ("", "1", "true", "yes"):
        return True
    raise Fault(400, f"{name} is true or false, not {value!r}.")


def _limit(req: Request) -> int:
    value = req.param("limit")
    if value is None:
        return PAGE
    if not (value.isascii() and value.isdigit() and int(value[:9]) > 0):
        raise Fault(400, f"limit is a number above 0, not {value!r}.")
    return min(PAGE, int(value[:9]))


def _merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in {**old, **new}.items() if v}


def _refused(message: str, report: Mapping[str, Any]) -> Response:
    return Response.of({"error": {"code": 409, "title": "Conflict", "message": message}, "report": report}, 409)

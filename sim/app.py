"""The listeners: one port per cloud, a prefix per service, and the control path ``/_sim``."""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import inspect
import json
import re
from functools import partial
from typing import Any

from aiohttp import web

import sim.services  # noqa: F401 (registers the routes)
from sim import seed, seed_population
from sim.faults import Refused, render
from sim.misbehave import after, before, of_document
from sim.web import Answer, Call, authenticate, decode, find, microversion, permit
from sim.world import SERVICES, Cloud, World, new_id

VERSIONED = {"compute": "compute", "volume": "volume", "placement": "placement"}
_CINDER = re.compile(r"/v3(/(?P<project>[0-9a-f]{32}))?(?P<rest>/.+)?/?$")
"""Cinder's paths: the project of the token may stand in them, or not."""


def split(path: str) -> tuple[str, str] | None:
    """``/compute/v2.1/servers`` -> ("compute", "/v2.1/servers")."""
    for service, prefix in SERVICES.items():
        if path == prefix or path.startswith(prefix + "/"):
            return service, path[len(prefix) :] or "/"
    return None


async def serve(cloud: Cloud, request: web.Request) -> web.StreamResponse:
    """Answer one request to a cloud, or misbehave."""
    found = split(request.rel_url.raw_path)
    if found is None:
        return web.Response(status=404, text="no such service")
    service, path = found
    cloud.calls[service] += 1
    mode, seconds = cloud.modes.for_request(service, request.method)
    headers = {"x-openstack-request-id": f"req-{new_id()}"}
    call = Call(cloud, service, request.method, path, [(k, v) for k, v in request.query.items()], request)
    call.request_id = headers["x-openstack-request-id"]
    try:
        if (instead := await before(request, mode, seconds, partial(_forget, call))) is not None:
            return instead
        answer = await (_twice if mode == "twice" else _handle)(call)
        status, headers = answer.status, headers | answer.headers
        body = answer.stream if answer.stream is not None else b"" if answer.doc is None else json.dumps(answer.doc).encode()
        if answer.stream is None:
            headers.setdefault("Content-Type", "application/json")
    except Refused as fault:
        status, body, extra = render(service, fault, request.headers.get("Accept", ""))
        headers |= extra
    if service in VERSIONED and call.version != (0, 0):
        asked = ".".join(map(str, call.version))
        headers |= {"OpenStack-API-Version": f"{VERSIONED[service]} {asked}", "Vary": "OpenStack-API-Version"}
        if service == "compute":
            headers |= {"X-OpenStack-Nova-API-Version": asked, "x-compute-request-id": call.request_id}
    if status == 204:
        headers.pop("Content-Type", None)
    return await after(request, mode, seconds, cloud.modes.source, (status, body, headers))


def _forget(call: Call) -> None:
    """A token's Keystone knows it no more."""
    call.cloud.identity["tokens"].pop(call.request.headers.get("X-Auth-Token", ""), None)


async def _twice(call: Call) -> Answer:
    """The first answer is lost, whatever it is. What streams no proxy can send again."""
    if call.request.content_type != "application/octet-stream":
        with contextlib.suppress(Refused):
            await _handle(copy.copy(call))
    return await _handle(call)


async def _handle(call: Call) -> Answer:
    if call.service in VERSIONED and call.path not in ("/", "/v2", "/v3", "/v3/"):
        call.version = microversion(call)
    _enter(call)
    route, args = find(call)
    if route.role:
        authenticate(call)
        if route.role not in ("any", "reader") or not (call.who.may("reader") or route.role == "any"):
            permit(call, route.role, route.rule)
    if call.url_project and call.url_project != call.who.project_id and not call.who.admin:
        raise Refused(400, "Malformed request url")
    kind = call.request.content_type
    if call.request.body_exists and kind != "application/octet-stream":
        call.doc = decode(call, await call.request.read())
    got = route.handler(call, **args)
    if inspect.isawaitable(got):
        got = await got
    return got if isinstance(got, Answer) else Answer(200, got)


def _enter(call: Call) -> None:
    """Drop the version part of Nova's and Cinder's paths and Neutron's ``.json``: handlers name resources only."""
    if call.service == "compute":
        for entry in ("/v2.1", "/v2"):
            if call.path == entry or call.path.startswith(entry + "/"):
                call.path = call.path[len(entry) :] or "/v2.1"
                call.path = "/v2.1" if call.path == "/" else call.path
                return
    elif call.service == "network":
        call.path = call.path.removesuffix(".json")
    elif call.service == "volume" and (m := _CINDER.match(call.path)):
        call.path, call.url_project = m["rest"] or "/v3/", m["project"] or ""


async def control(world: World, request: web.Request) -> web.Response:
    """``GET /_sim``, ``POST /_sim/faults``, ``POST /_sim/reset``, ``POST /_sim/clock``, ``POST /_sim/vanish``."""
    what = request.match_info["what"]
    if request.method == "GET":
        doc: Any = {
            n: {"url": c.root, "mode": c.modes.mode, "calls": dict(c.calls), **{t: len(c[t]) for t in list(c.tables)}}
            for n, c in world.clouds.items()
        }
        return web.json_response(doc)
    doc = await request.json() if request.can_read_body else {}
    chosen = [world.clouds[n] for n in fnmatch.filter(world.clouds, doc.get("cloud") or "*")]
    if not chosen:
        return web.json_response({"error": "no such cloud"}, status=404)
    try:
        if what == "faults":
            for cloud in chosen:
                cloud.modes = of_document(doc, cloud.name)
        elif what == "clock":
            for cloud in chosen:
                cloud.offset = float(doc["skew"])
        elif what == "expire":
            for cloud in chosen:
                cloud["tokens"].clear()
        elif what == "vanish":
            for cloud in chosen:
                seed_population.vanish(cloud, int(doc["servers"]))
        elif what == "reset":
            for cloud in chosen:
                cloud.clear()
            seed.plant(world, chosen)
        else:
            return web.json_response({"error": "no such control"}, status=404)
    except Refused as e:
        return web.json_response({"error": e.message}, status=e.status)
    return web.json_response({n: c.modes.mode for n, c in world.clouds.items()})


async def start(world: World) -> list[web.AppRunner]:
    """Listen for every cloud. Raises OSError for a port in use."""
    seed.plant(world, list(world.clouds.values()))
    runners = []
    for cloud in world.clouds.values():
        app = web.Application(client_max_size=1 << 30)
        for path in ("/_sim", "/_sim/{what}"):
            app.router.add_route("*", path, _control(world))
        app.router.add_route("*", "/{path:.*}", partial(serve, cloud))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, world.options.host, cloud.port, backlog=1024).start()
        runners.append(runner)
    return runners


def _control(world: World) -> Any:
    async def handler(request: web.Request) -> web.Response:
        request.match_info.setdefault("what", "")
        return await control(world, request)

    return handler


async def stop(runners: list[web.AppRunner]) -> None:
    """End all listeners."""
    for runner in runners:
        await runner.cleanup()

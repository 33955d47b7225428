"""The front door: aiohttp in, one pipeline, faults in each service's own shape out.

Order of the pipeline, and why: sanitise first (nothing below ever sees an unclean path or header), then discovery
(needs no token), then the token, then a place (its project's share), and only then the body; then the microversion, then the
table row. Whatever no row names goes to the hub.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from aiohttp import http_exceptions, web

from cascade import telemetry, tracing
from cascade.api import admin, versions
from cascade.api import identity as identity_api
from cascade.api.admission import Admission, door, line
from cascade.api.arriving import AHEAD, chunks, read
from cascade.api.core import Core
from cascade.api.forward import to_hub
from cascade.api.links import north_links
from cascade.api.passed import passed
from cascade.api.policy import Policy
from cascade.api.request import Request, Response
from cascade.api.sanitise import STRICT, all_headers, clean_headers, framing_fault, split_target, undecodable
from cascade.api.tokens import Invalid, Tokens, allowed
from cascade.model.caller import Caller
from cascade.model.errors import WEBOB, CascadeError, Fault, NativeFault, SiteBusy, SiteError, SiteTimeout, StoreError, fault_body
from cascade.model.site import HUB
from cascade.model.table import Row, find
from cascade.model.trace import new_request_id, request_id, tenant
from cascade.tables import passed as passed_table

log = structlog.get_logger(__name__)

Handler = Callable[[Core, Request], Awaitable[Response]]
NOBODY = Caller(
    token="", user_id="", user_name="", user_domain_id="", project_id=None, project_name=None, project_domain_id=None,
    roles=frozenset(), expires_at=0.0,
)  # fmt: skip
_VERSIONS = {"compute": ("v2.1", "v2"), "volume": ("v3",)}
_PROJECT_ID = re.compile(r"[0-9a-f]{32}")
"""First segment below a version that can only be a project's id; one that is not the token's is refused as Nova and Cinder do."""
_NOT_YOURS = {
    "compute": "Malformed request URL: URL's project_id '{there}' doesn't match Context's project_id '{own}'",
    "volume": "Malformed request url",
}
_NO_FORMAT = ("/os-services", "/clusters", "/default-types")
"""The paths that Cinder does not take with ``.json`` behind them as well."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What goes on. Never TRACE: a web server in front of a site may send a request's headers back, and they hold a token of ours."""
_BODIES = {
    "compute": frozenset({"", "text/plain", "application/json", "application/vnd.openstack.compute+json"}),
    "volume": frozenset({"application/json", "application/vnd.openstack.volume+json"}),
}
"""Media types in which Nova and Cinder read a body; in any other they refuse the request before they look where it goes."""
_NO_TOKEN = "invalid"
_REQUEST_ID = re.compile(r"req-[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""What oslo.middleware takes for a client's own request id; anything else is not looked at."""
_GONE = 499
"""In log and metrics only: the client left before it had its answer."""


class Gateway:
    """One process's north face."""

    def __init__(
        self,
        core: Core,
        tokens: Tokens,
        tables: dict[str, tuple[Row, ...]],
        handlers: dict[str, Handler],
        *,
        extra: dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] | None = None,
        recorder: tracing.Recorder | None = None,
        exporter: tracing.Exporter | None = None,
    ) -> None:
        self.core, self.tokens, self.tables, self.handlers, self.extra = core, tokens, tables, handlers, extra or {}
        self.admin = admin.Admin(Policy(core.conf))
        self.admission = Admission(core.conf)
        self.recorder = recorder or tracing.Recorder(_nowhere, StoreError, on=False)
        self.exporter = exporter
        self.draining = False
        """This process is to stop: who is answered now shall not come back on that connection."""

    def server(self) -> web.Server:
        """aiohttp's server below its router, which has nothing to do here. The size limits of bodies are ours, per kind of body."""
        front = logging.getLogger("cascade.front")
        front.addFilter(_worth_logging)
        return web.Server(self.serve, auto_decompress=False, logger=front, access_log=None, read_bufsize=AHEAD)

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        """One request, start to end; the one place that must contain every fault."""
        rid, given = new_request_id(), http.headers.get("x-openstack-request-id", "")
        if _REQUEST_ID.fullmatch(given):
            structlog.contextvars.bind_contextvars(global_request_id=given)
        else:
            given = ""
        reset = request_id.set(given or rid)
        service, began, status = "", time.monotonic(), 500
        structlog.contextvars.bind_contextvars(request_id=rid)
        span = self._span(http, rid)
        tracing.current.set(span)
        telemetry.begin()
        tenant.set(line(NOBODY, http.remote))
        try:
            path = http.raw_path.partition("?")[0]
            for prefix, serve in self.extra.items():
                if path == prefix or path.startswith(prefix + "/"):
                    answer = await serve(http)
                    status = answer.status
                    return answer
            try:
                service, inner, params = split_target(http.raw_path)
                answer = await self._send(http, rid, service, await self._answer(http, rid, service, inner, params))
            except Fault as e:
                service = getattr(e, "service", service)
                answer = self._fault(http, rid, service, e)
            except NativeFault as e:
                e.body = north_links(self.core, e.target, e.body)
                if service in ("compute", "volume") and e.foreign:
                    answer = self._fault(http, rid, service, Fault(e.status, e.message() or "The request was refused."))
                else:
                    answer = web.Response(status=e.status, body=e.body, headers=_native_headers(e, rid))
            except SiteError as e:
                log.warning("site failed the request", site=e.target, error=str(e))
                answer = self._fault(http, rid, service, _site_fault(e))
            except StoreError as e:
                log.error("the database fails", error=str(e))
                wait = {"Retry-After": "5"}
                answer = self._fault(
                    http, rid, service, Fault(503, "The request could not be completed now; try again.", headers=wait)
                )
            except CascadeError as e:
                log.error("request failed", exc_info=e)
                answer = self._fault(
                    http, rid, service, Fault(500, "The request could not be completed; see the log for its request id.")
                )
            status = answer.status
            if self.draining:
                answer.force_close()
            return answer
        except ConnectionError:
            status = _GONE
            return web.Response(status=_GONE)  # to nobody
        except asyncio.CancelledError:
            status = _GONE
            raise
        except Exception:  # the last line: a bug of ours must not show a traceback, and must be in the log
            log.exception("bug")
            return self._fault(http, rid, service, Fault(500, "Unexpected error; see the log for its request id."))
        finally:
            seconds = time.monotonic() - began
            if span is not None:
                span.ended(began, service, http.method, http.path, status, given)
            asked = telemetry.ended(service, http.method, status, seconds)
            log.info("request", method=http.method, path=http.path, service=service, status=status, asked=asked,
                     seconds=round(seconds, 4))  # fmt: skip
            structlog.contextvars.clear_contextvars()
            request_id.reset(reset)

    def _span(self, http: web.BaseRequest, rid: str) -> tracing.Span | None:
        """What is written down of a request: nothing of one that changes nothing, nor of a sign-in."""
        keep = self.recorder.on and http.method not in tracing.READS and not http.path.endswith("/auth/tokens")
        exported = self.exporter.begin(http.headers) if self.exporter is not None else None
        return tracing.Span(self.recorder, rid, keep, exported=exported) if keep or exported is not None else None

    async def _answer(self, http: web.BaseRequest, rid: str, service: str, path: str, params: list[tuple[str, str]]) -> Response:
        raw = all_headers(http.headers.items())
        if (bad := framing_fault(raw, service)) is not None:
            raise bad
        if not service:
            if path == "/" and http.method in ("GET", "HEAD"):
                public = self.core.conf.public_url.rstrip("/")
                offered = [*self.tables, *(s for s in passed_table.BODIES if s in self.core.south.base_urls(HUB))]
                return Response.of({"services": {s: f"{public}/{s}" for s in offered}})
            raise Fault(404, "The resource could not be found.")
        if http.method not in _METHODS:
            nowhere = service in _VERSIONS  # Nova and Cinder have no route for it
            raise Fault(404 if nowhere else 405, "The method is not allowed for the requested URL.", kind=WEBOB)
        if service == "cascade":
            known = admin.public(self.core, http.method, path, http.headers.get("accept", ""))
            if known is not None:
                return known
        headers = clean_headers(http.headers.items())
        token = raw.get("x-auth-token") or raw.get("x-storage-token")
        if service != "cascade" and versions.is_discovery(service, http.method, path):
            return await versions.discovery(self.core, service, path, headers, token)
        req = Request(service=service, method=http.method, path=path, params=params, headers=headers, caller=NOBODY, request_id=rid)
        try:
            req.caller = await self.tokens.validate(token)
        except Invalid:
            pass  # said below, in the service's own words
        except SiteError:
            if service != "identity" and service not in passed_table.BODIES:  # which judge tokens themselves
                raise
        return await self.admission.served(
            door(service, path), line(req.caller, http.remote), lambda: http.transport is None,
            lambda: self._admitted(http, req, raw, token),
        )  # fmt: skip

    async def _admitted(self, http: web.BaseRequest, req: Request, raw: Mapping[str, str], token: str | None) -> Response:
        service, path, headers = req.service, req.path, req.headers
        streamed = (
            service == "image"
            and path.endswith(("/file", "/stage"))
            and "json" not in headers.get("content-type", "json")
            and http.can_read_body
        )
        if streamed:
            req.stream = chunks(http)
        else:
            limit = passed_table.BODIES.get(service, self.core.conf.max_json_body)
            req.body = await read(http, limit, self.core.conf.call_deadline)
        if service in passed_table.BODIES:
            return await passed(self.core, req, token)
        if service == "identity":
            if token is not None and "x-subject-token" in raw:
                req.headers = {**headers, "x-subject-token": raw["x-subject-token"]}
            return await identity_api.identity(self.core, self.tokens, req, token)
        return await self._authenticated(req, token)

    async def _authenticated(self, req: Request, token: str | None) -> Response:
        core = self.core
        if req.service == "cascade":
            return await self._administer(req, token)
        if not req.caller.user_id:
            # The hub's own service says it, with its own headers; body and query are not its business then.
            return await self._unauthenticated(req, token)
        if (span := tracing.current.get()) is not None:
            span.project_id = req.caller.project_id or ""
        if not allowed(req.caller.access_rules, req.service, req.method, req.path):
            return await self._unauthenticated(req, token)
        whole, req.path = req.path, _below_version(req)
        req.root = whole.removesuffix(req.path)
        if req.service in versions.DEFAULT:
            req.version = versions.requested(req.headers, req.service, core.discovery.window(req.service))
        if req.service in _VERSIONS and (req.version is None or _unreadable(req)):
            return await to_hub(core, req)
        if req.caller.project_id is None and req.service == "metric":
            raise Fault(403, "A token scoped to a project is needed.")  # there is no such service at the hub to judge
        if req.caller.project_id is None and req.service != "placement":
            return await to_hub(core, req)  # system, domain and unscoped tokens: the real service's own judgement
        nowhere = req.service in STRICT and len(req.path) > 1 and req.path.endswith("/")
        found = find(self.tables[req.service], req.method, "" if nowhere else req.path)
        if found is None:
            return await to_hub(core, req)
        req.row, req.match = found
        telemetry.row.set(req.row.pattern)
        answer = await self.handlers[req.row.handler or req.row.kind.value](core, req)
        if req.version is not None and "openstack-api-version" not in answer.headers:
            answer.headers |= versions.spoken(req.service, req.version)  # what was computed here says its version too
        return answer

    async def _administer(self, req: Request, token: str | None) -> Response:
        """Our own API is nobody else's to judge."""
        if not req.caller.user_id:
            raise self._unknown()
        if not allowed(req.caller.access_rules, req.service, req.method, req.path):
            raise Fault(401, "The request you have made requires authentication.")
        if not req.path.startswith("/v1/"):
            raise Fault(404, f"Could not find the requested path {req.path}.")
        req.path = req.path.removeprefix("/v1")
        return await self.admin.serve(self.core, req)

    async def _unauthenticated(self, req: Request, token: str | None) -> Response:
        from cascade.api.forward import from_hub

        if req.service == "metric":
            uri = f"{self.core.conf.public_url.rstrip('/')}/identity"
            challenge = {"WWW-Authenticate": f'Keystone uri="{uri}"'}
            raise Fault(401, "The request you have made requires authentication.", headers=challenge)
        # Never the token itself: a service believes a token for minutes after it was revoked, and knows no rule of ours.
        headers = {"x-auth-token": _NO_TOKEN} if token else {}
        if req.service == "placement":  # which the hub does not have
            raise self._unknown()
        path = req.path if req.service != "compute" or req.path.startswith("/v") else "/v2.1" + req.path
        reply = await self.core.south.anonymous("hub", req.service, "GET", path, headers=headers, rooted=True)
        if reply.status == 401:
            return from_hub(self.core, reply)
        raise Fault(401, "The request you have made requires authentication.")

    def _unknown(self) -> Fault:
        """The 401 of what no service at the hub can say."""
        uri = f"{self.core.conf.public_url.rstrip('/')}/identity"
        return Fault(
            401, "The request you have made requires authentication.", headers={"WWW-Authenticate": f'Keystone uri="{uri}"'}
        )

    async def _send(self, http: web.BaseRequest, rid: str, service: str, answer: Response) -> web.StreamResponse:
        headers = {**answer.headers, "X-Openstack-Request-Id": rid}
        if service == "compute" and "x-compute-request-id" not in headers:
            headers["X-Compute-Request-Id"] = rid
        if answer.stream is None:
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        out = web.StreamResponse(status=answer.status, headers=headers)
        idle = self.core.conf.call_deadline
        try:
            await out.prepare(http)
            async for chunk in answer.stream:
                async with asyncio.timeout(idle):  # who does not read holds a connection to the hub
                    await out.write(chunk)
            await out.write_eof()
        except (TimeoutError, SiteError, ConnectionError) as e:
            # Half of it is on its way: only a broken connection says that the rest will not come.
            log.info("stream ended early", error=str(e) or type(e).__name__)
            if http.transport is not None:
                http.transport.abort()
        finally:
            if answer.release is not None:
                await answer.release()
        return out

    def _fault(self, http: web.BaseRequest, rid: str, service: str, fault: Fault) -> web.Response:
        body, kind = fault_body(service or "cascade", fault, accept=http.headers.get("accept", ""))
        return web.Response(
            status=fault.status, body=body, headers={**fault.headers, "Content-Type": kind, "X-Openstack-Request-Id": rid}
        )


async def _nowhere(rows: Sequence[tracing.Row]) -> None:
    """Where rows go that nobody wants."""


def _unreadable(req: Request) -> bool:
    """Whether Nova or Cinder refuses the request for how it is written, whatever it is about."""
    media = req.headers.get("content-type")
    strange = media is not None and media.partition(";")[0].strip().lower() not in _BODIES[req.service]
    return (strange and bool(req.body)) or undecodable(req.params)


def _below_version(req: Request) -> str:
    """The path below the version root; the project id of Cinder's (and old Nova's) URLs is checked and taken out."""
    path = req.path
    if req.service == "network" and "/tags/" not in path:
        return path.removesuffix(".json")  # Neutron takes every path with it as well
    if req.service in ("network", "image", "placement", "metric"):
        return path
    head, _, rest = path[1:].partition("/")
    if not head.startswith("v"):
        return path
    if head not in _VERSIONS[req.service]:
        raise Fault(404, "The resource could not be found.", kind=WEBOB)
    first, _, below = rest.partition("/")
    if first and first == req.caller.project_id:
        rest = below
    elif below and _PROJECT_ID.fullmatch(first):
        raise Fault(400, _NOT_YOURS[req.service].format(there=first, own=req.caller.project_id))
    whole = "/" + rest
    return whole.removesuffix(".json") if req.service == "volume" and not whole.startswith(_NO_FORMAT) else whole


def _worth_logging(record: logging.LogRecord) -> bool:
    """What is not HTTP has been answered with 400, and is no news."""
    return not (record.exc_info and isinstance(record.exc_info[1], http_exceptions.HttpProcessingError))


def _native_headers(e: NativeFault, rid: str) -> dict[str, str]:
    return {"Content-Type": e.headers.get("content-type", "application/json"), "X-Openstack-Request-Id": rid}


def _site_fault(e: SiteError) -> Fault:
    """Tenants read that a zone does not answer; which address and why is in the log."""
    where = "The identity, image or network service" if e.target == "hub" else f"Availability zone {e.target}"
    if isinstance(e, SiteBusy):
        return Fault(503, f"{where} is busy at the moment.", headers={"Retry-After": str(max(1, min(60, round(e.after))))})
    late = isinstance(e, SiteTimeout)
    return Fault(504 if late else 503, f"{where} is not available at the moment.", headers={"Retry-After": "10"})

"""One request on its way through a service: routes, microversions, who calls, and the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from sim.faults import UNAUTHENTICATED, WEBOB_401, WEBOB_404, Refused
from sim.world import Cloud, Row

Handler = Callable[..., Any]
Version = tuple[int, int]


@dataclass
class Answer:
    """What a handler says when a document with 200 is not all. ``stream``: bytes instead of ``doc``."""

    status: int = 200
    doc: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    stream: bytes | None = None


@dataclass(frozen=True)
class Who:
    """Whom a token speaks for."""

    token: Row

    @property
    def user_id(self) -> str:
        return str(self.token["user_id"])

    @property
    def project_id(self) -> str:
        return str(self.token["project_id"] or "")

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.token["role_names"])

    @property
    def admin(self) -> bool:
        return "admin" in self.roles

    @property
    def service(self) -> bool:
        return "service" in self.roles

    def may(self, role: str) -> bool:
        """Whether he has the role, or one that implies it."""
        return role in self.roles or self.admin


@dataclass
class Call:
    """One request."""

    cloud: Cloud
    service: str
    method: str
    path: str
    query: list[tuple[str, str]]
    request: web.Request
    who: Who = field(default_factory=lambda: Who({}))
    version: Version = (0, 0)
    doc: Any = None
    request_id: str = ""
    url_project: str = ""
    """The project named in a path of Cinder's."""

    def get(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return next((v for k, v in reversed(self.query) if k == name), default)

    def values(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return [v for k, v in self.query if k == name]

    def flag(self, name: str) -> bool:
        """A boolean query parameter; present without a value is true for nobody."""
        return self.get(name).lower() in ("1", "true", "t", "yes", "y", "on")

    def since(self, minor: int) -> bool:
        """Whether the microversion is this one or later."""
        return self.version[1] >= minor

    def body(self, key: str) -> Row:
        """The object below ``key``. Raises Refused 400."""
        got = self.doc.get(key) if isinstance(self.doc, dict) else None
        if not isinstance(got, dict):
            if self.service == "network":
                raise Refused(400, f"Unable to find '{key}' in request body")
            raise Refused(400, f"'{key}' is a required property" if got is None else invalid(key, got, "is not of type 'object'"))
        return got


def invalid(name: str, value: Any, why: str) -> str:
    """Nova's and Cinder's words for a value that does not match the schema."""
    return f"Invalid input for field/attribute {name}. Value: {value}. {value!r} {why}"


@dataclass(frozen=True)
class Route:
    """``role``: "" = no token needed, else reader, member or admin. ``rule``: the policy's name for the refusal."""

    pattern: re.Pattern[str]
    handler: Handler
    role: str
    rule: str
    low: int
    high: int
    literal: int


_ROUTES: dict[tuple[str, str], list[Route]] = {}


def route(
    service: str, method: str, pattern: str, role: str = "reader", rule: str = "", *, low: int = 0, high: int = 999
) -> Callable[[Handler], Handler]:
    """Register a handler for ``pattern`` ("/servers/{id}") in microversions ``low`` to ``high``."""

    def register(handler: Handler) -> Handler:
        regex = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern) + "$")
        literal = -sum(1 for s in pattern.split("/") if s.startswith("{"))
        rows = _ROUTES.setdefault((service, method), [])
        rows.append(Route(regex, handler, role, rule, low, high, literal))
        rows.sort(key=lambda r: -r.literal)
        return handler

    return register


def find(call: Call) -> tuple[Route, dict[str, str]]:
    """The route of a request. Raises Refused 404 or 405."""
    later: Route | None = None
    for r in _ROUTES.get((call.service, call.method), ()):
        m = r.pattern.match(call.path)
        if m is None:
            continue
        if not r.low <= call.version[1] <= r.high:
            later = later or r
        elif later is None or later.literal == r.literal:
            return r, {k: unquote(v) for k, v in m.groupdict().items()}
    if later is not None:  # it is there, in another microversion
        raise Refused(404, WEBOB_404)
    others = [m for (s, m), rows in _ROUTES.items() if s == call.service and any(r.pattern.match(call.path) for r in rows)]
    if others and call.method not in others and call.service not in ("volume", "compute"):
        raise Refused(405, "The method specified is not allowed for this resource.", plain=call.service == "image")
    raise Refused(404, WEBOB_404, plain=call.service not in ("network", "placement"))


def microversion(call: Call) -> Version:
    """The version asked for. Raises Refused 400 for nonsense, 406 outside of the window."""
    low, high = call.cloud.window(call.service)
    names = {"compute": "compute", "volume": "volume", "placement": "placement"}
    asked = ""
    for part in call.request.headers.get("OpenStack-API-Version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service.lower() == names[call.service]:
            asked = version.strip()
    if not asked and call.service == "volume" and "OpenStack-API-Version" in call.request.headers:
        raise Refused(400, "API version None is not supported on this method.")  # Cinder takes no header meant for others
    if not asked and call.service == "compute":
        asked = call.request.headers.get("X-OpenStack-Nova-API-Version", "")
    if not asked:
        return low
    if asked.lower() == "latest":
        return high
    m = re.fullmatch(r"([1-9]\d*)\.([1-9]\d*|0)", asked)
    if not m:
        message = f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
        raise Refused(400, message if call.service != "placement" else f"invalid version string: {asked}")
    got = (int(m[1]), int(m[2]))
    if not low <= got <= high:
        lo, hi = ".".join(map(str, low)), ".".join(map(str, high))
        if call.service == "placement":
            raise Refused(406, f"Unacceptable version header: {asked}")
        call.version = got
        raise Refused(406, f"Version {asked} is not supported by the API. Minimum is {lo} and maximum is {hi}.")
    return got


def authenticate(call: Call) -> None:
    """Find out who calls. Raises Refused 401 as keystonemiddleware, or Glance, says it."""
    value = call.request.headers.get("X-Auth-Token", "")
    token = call.cloud.identity["tokens"].get(value)
    if token is None or token["expires"] < call.cloud.identity.now():
        headers = {"WWW-Authenticate": f'Keystone uri="{call.cloud.identity.url("identity")}/v3"'}
        if call.service == "image":
            raise Refused(401, WEBOB_401, headers=headers)
        raise Refused(401, UNAUTHENTICATED, headers=headers)
    call.who = Who(token)


def permit(call: Call, role: str, rule: str) -> None:
    """Raises Refused 403 for a caller without ``role``."""
    if not call.who.may(role):
        forbid(call, rule or f"{call.service}:{call.method.lower()}")


def forbid(call: Call, rule: str) -> None:
    """Raises Refused 403 in the service's words."""
    if call.service == "identity":
        raise Refused(403, f"You are not authorized to perform the requested action: {rule}.")
    if call.service == "network":
        raise Refused(403, f"(rule:{rule}) is disallowed by policy", kind="PolicyNotAuthorized")
    if call.service == "image":
        raise Refused(403, f"You are not authorized to complete {rule} action.")
    raise Refused(403, f"Policy doesn't allow {rule} to be performed.")


def decode(call: Call, raw: bytes) -> Any:
    """The JSON of a body. Raises Refused 400."""
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        if call.service == "network":
            raise Refused(400, "Cannot understand JSON", kind="HTTPBadRequest") from None
        raise Refused(400, "Malformed request body" if call.service == "compute" else "cannot understand JSON") from None


def next_link(call: Call, name: str, marker: str, *, base: str = "") -> Row:
    """``{"servers_links": [...]}``: the request's own URL with another marker."""
    from urllib.parse import urlencode

    query = [(k, v) for k, v in call.query if k != "marker"]
    query = [*(sorted(query) if call.service == "compute" else query), ("marker", marker)]
    return {f"{name}_links": [{"rel": "next", "href": f"{base or call.cloud.root + call.request.path}?{urlencode(query)}"}]}

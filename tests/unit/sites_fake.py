"""A cloud of one process for tests of cascade.sites: a Keystone with real role semantics, and a service to call.

Real HTTP on a real port. ``Fake.hang`` makes every answer wait; ``Fake.status`` answers that to everything.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from cascade.model.caller import Caller
from cascade.model.errors import Conflict
from cascade.model.site import Site
from cascade.sites.clouds import Clouds
from cascade.sites.limits import Limits
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store.pairs import Pair
from cascade.store.roles import RoleSet

QUICK = Limits(
    connect=0.5, call=2.0, login=2.0, stream_idle=0.5, probe_interval=0.1, probe_deadline=0.1, probe_gap=0.02, probe_down=0.05
)
ROLES = ("admin", "member", "reader")
Handler = Callable[[web.Request], Any]


@dataclass
class Fake:
    """State of the cloud; tests look into it and break it."""

    url: str = ""
    hang: bool = False
    status: int | None = None
    life: float = 3600.0
    calls: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    extra: dict[tuple[str, str], Handler] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=lambda: {n: f"role-{n}" for n in ROLES})
    implies: dict[str, list[str]] = field(default_factory=lambda: {"admin": ["member"], "member": ["reader"]})
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    grants: set[tuple[str, str, str]] = field(default_factory=set)
    credentials: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.projects["svc"] = {"id": "svc", "name": "service", "domain_id": "default"}
        self.users["svc"] = {"id": "svc", "name": "cascade", "domain_id": "default", "password": "secret", "enabled": True}
        self.grants |= {("svc", "svc", r) for r in self.roles.values()}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path = request.path
        self.calls[f"{request.method} {path}"] += 1
        self.seen.append((request.method, request.raw_path, {k.lower(): v for k, v in request.headers.items()}, body))
        while self.hang:  # noqa: ASYNC110 - tests flip a plain flag
            await asyncio.sleep(0.01)
        if self.status is not None:
            return web.Response(status=self.status)
        if (handler := self.extra.get((request.method, path))) is not None:
            answer: web.StreamResponse = await handler(request)
            return answer
        if path in ("/", "/v3", "/v3/", "/compute/", "/volume/"):
            return web.json_response(self._root(path))
        doc = await request.json() if body and "json" in request.content_type else {}
        if path == "/v3/auth/tokens" and request.method == "POST":
            return self._login(doc["auth"])
        token = self.tokens.get(request.headers.get("X-Auth-Token", ""))
        if token is None:
            return web.Response(status=401)
        if path.startswith("/v3/"):
            return self._identity(request, path, doc, token)
        return web.json_response({"path": path, "roles": token["roles"], "project": token["project"]})

    def _root(self, path: str) -> dict[str, Any]:
        if path.startswith("/compute"):
            return {"versions": [{"id": "v2.0"}, {"id": "v2.1", "version": "2.100", "min_version": "2.1"}]}
        if path.startswith("/volume"):
            return {"versions": [{"id": "v3.0", "version": "3.71", "min_version": "3.0"}]}
        me = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.url}/v3/"}]}
        return {"version": me} if path.startswith("/v3") else {"versions": {"values": [me]}}

    def _login(self, auth: dict[str, Any]) -> web.Response:
        identity = auth["identity"]
        if "application_credential" in identity["methods"]:
            given = identity["application_credential"]
            held = self.credentials.get(given["id"])
            if held is None or held["secret"] != given["secret"]:
                return web.Response(status=401)
            user, project = held["user"], held["project"]
            names = [r["name"] for r in held["roles"] if (project, user, r["id"]) in self.grants]
        else:
            who, scope = identity["password"]["user"], auth["scope"]["project"]
            user = who.get("id") or next((u["id"] for u in self.users.values() if u["name"] == who["name"]), "")
            project = scope.get("id") or next((p["id"] for p in self.projects.values() if p["name"] == scope["name"]), "")
            found = self.users.get(user)
            if found is None or not found["enabled"] or found["password"] != who["password"] or project not in self.projects:
                return web.Response(status=401)
            names = [n for n, i in self.roles.items() if (project, user, i) in self.grants]
        if not names or user not in self.users or project not in self.projects:
            return web.Response(status=401)
        for name in names:  # grows while we look: rules chain
            names += [n for n in self.implies.get(name, ()) if n not in names]
        value, now = f"token-{uuid.uuid4().hex}", time.time()
        doc = {
            "methods": identity["methods"], "user": {"id": user, "name": user, "domain": {"id": "d", "name": "d"}},
            "project": {"id": project, "name": project, "domain": {"id": "d", "name": "d"}},
            "roles": [{"id": self.roles[n], "name": n} for n in names], "catalog": self._catalog(),
            "issued_at": _iso(now), "expires_at": _iso(now + self.life), "audit_ids": ["a"],
        }  # fmt: skip
        self.tokens[value] = {"user": user, "project": project, "roles": names, "methods": identity["methods"]}
        return web.json_response({"token": doc}, status=201, headers={"X-Subject-Token": value})

    def _catalog(self) -> list[dict[str, Any]]:
        def service(kind: str, path: str) -> dict[str, Any]:
            ends = [
                {
                    "id": f"{kind}{i}",
                    "interface": i,
                    "region": "r",
                    "region_id": "r",
                    "url": f"{self.url if i == 'public' else 'http://no'}{path}",
                }
                for i in ("internal", "public")
            ]
            other = {"id": "x", "interface": "public", "region": "z", "region_id": "z", "url": "http://other.region"}
            return {"id": kind, "type": kind, "name": kind, "endpoints": [other, *ends]}

        return [
            service("identity", "/v3"), service("compute", "/compute/v2.1"), service("volumev3", "/volume/v3/svc"),
            service("image", "/image/"), service("network", "/network"),
        ]  # fmt: skip

    def _identity(self, request: web.Request, path: str, doc: dict[str, Any], token: dict[str, Any]) -> web.Response:
        parts, method = path.split("/")[2:], request.method
        if parts[0] == "users" and len(parts) >= 3 and parts[2] == "application_credentials":
            return self._credentials(request, parts, doc, token)
        if "admin" not in token["roles"]:
            return web.Response(status=403)
        if parts == ["role_inferences"]:
            rules = [{"prior_role": {"name": a}, "implies": [{"name": b} for b in bs]} for a, bs in self.implies.items()]
            return web.json_response({"role_inferences": rules})
        if parts == ["roles"]:
            return web.json_response({"roles": [{"name": n, "id": i} for n, i in self.roles.items()]})
        if len(parts) == 6 and method == "PUT":
            if parts[1] not in self.projects or parts[3] not in self.users or parts[5] not in self.roles.values():
                return web.Response(status=404)
            self.grants.add((parts[1], parts[3], parts[5]))
            return web.Response(status=204)
        kind = parts[0][:-1]
        table: dict[str, dict[str, Any]] = getattr(self, parts[0])
        if method == "POST":
            made = {"enabled": True, "domain_id": None, **doc[kind], "id": uuid.uuid4().hex}
            if any(r["name"] == made["name"] and r.get("domain_id") == made["domain_id"] for r in table.values()):
                return web.Response(status=409)
            table[made["id"]] = made
            return web.json_response({kind: made}, status=201)
        if len(parts) == 1:
            rows = [r for r in table.values() if all(r.get(k) == v for k, v in request.query.items())]
            return web.json_response({parts[0]: rows})
        if parts[1] not in table:
            return web.Response(status=404)
        if method == "PATCH":
            table[parts[1]].update(doc[kind])
        return web.json_response({kind: {k: v for k, v in table[parts[1]].items() if k != "password"}})

    def _credentials(self, request: web.Request, parts: list[str], doc: dict[str, Any], token: dict[str, Any]) -> web.Response:
        mine = parts[1] == token["user"]
        if request.method == "DELETE":
            allowed = mine or "admin" in token["roles"]
            return web.Response(status=403 if not allowed else 204 if self.credentials.pop(parts[3], None) else 404)
        if not mine or token["methods"] != ["password"]:
            return web.Response(status=403)
        if request.method == "GET":
            name = request.query.get("name")
            rows = [c for c in self.credentials.values() if c["user"] == parts[1] and name in (None, c["name"])]
            return web.json_response({"application_credentials": rows})
        wanted = doc["application_credential"]
        names = {i: n for n, i in self.roles.items()}
        if any((token["project"], token["user"], r["id"]) not in self.grants for r in wanted["roles"]):
            return web.Response(status=400)
        if any(c["user"] == token["user"] and c["name"] == wanted["name"] for c in self.credentials.values()):
            return web.Response(status=409)
        roles = [{"id": r["id"], "name": names[r["id"]]} for r in wanted["roles"]]
        made = {**wanted, "id": uuid.uuid4().hex, "user": token["user"], "project": token["project"], "roles": roles}
        self.credentials[made["id"]] = made
        return web.json_response({"application_credential": made}, status=201)

    def logins(self, method: str) -> int:
        """How many tokens of this method were made."""
        return sum(t["methods"] == [method] and t["user"] != "svc" for t in self.tokens.values())


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Pairs:
    """``store.pairs`` in a dict, with its uniqueness."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Pair] = {}

    async def get(self, kind: str, hub_id: str, site: str) -> Pair | None:
        await asyncio.sleep(0)
        return self.rows.get((kind, hub_id, site))

    async def put(self, pair: Pair) -> None:
        old = self.rows.get((pair.kind, pair.hub_id, pair.site))
        if old is not None and old.site_id != pair.site_id:
            raise Conflict("pair")
        self.rows[pair.kind, pair.hub_id, pair.site] = pair

    async def drop(self, kind: str, hub_id: str, site: str) -> None:
        self.rows.pop((kind, hub_id, site), None)


class Roles:
    """``store.roles`` in a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str, tuple[str, ...]], RoleSet] = {}

    async def get(self, site: str, user_id: str, project_id: str, roles: tuple[str, ...]) -> RoleSet | None:
        return self.rows.get((site, user_id, project_id, roles))

    async def put(self, role_set: RoleSet) -> None:
        self.rows[role_set.site, role_set.user_id, role_set.project_id, tuple(role_set.roles)] = role_set


class Docs:
    """``store.docs`` in a dict."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    async def get(self, key: str) -> Any:
        return self.rows.get(key)

    async def put(self, key: str, doc: Any) -> None:
        self.rows[key] = doc


class SiteRows:
    """``store.sites`` in a list."""

    def __init__(self, *sites: Site) -> None:
        self.rows = list(sites)

    async def all(self) -> list[Site]:
        return list(self.rows)


class Store:
    """As much of a store as cascade.sites asks for."""

    def __init__(self, *sites: Site) -> None:
        self.sites, self.pairs, self.roles, self.docs = SiteRows(*sites), Pairs(), Roles(), Docs()


@dataclass
class World:
    """A hub and a site, each a Fake, and a South that knows them."""

    hub: Fake
    site: Fake
    store: Store
    sites: Sites
    clouds: Clouds
    south: South
    others: list[South] = field(default_factory=list)

    def another(self, store: Store | None = None, master_key: bytes = b"k" * 32) -> South:
        """A second gateway in the same world."""
        self.others.append(South(self.sites, self.clouds, store or self.store, master_key=master_key))
        return self.others[-1]


@asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[Fake]:
    """The fake on a port of its own."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", r"/{tail:[\s\S]*}", fake.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.hang = False
        await runner.cleanup()


def write_clouds(path: Path, **urls: str) -> Path:
    """A clouds.yaml with one service account per entry."""
    auth = {
        "username": "cascade", "password": "secret", "project_name": "service", "user_domain_id": "default",
        "project_domain_id": "default",
    }  # fmt: skip
    more = {"region_name": "r", "identity_api_version": "3"}
    entries = {n: {"auth": {**auth, "auth_url": f"{u}/v3"}, **more} for n, u in urls.items()}
    path.write_text(yaml.safe_dump({"clouds": entries}))
    return path


@asynccontextmanager
async def world(tmp: Path, *, limits: Limits = QUICK, identity: Any = "mapped") -> AsyncIterator[World]:
    """Hub and site ``paris``, up and not probed."""
    async with serving(Fake()) as hub, serving(Fake()) as site:
        store = Store(Site(name="paris", number=1, cloud="paris-account", identity=identity))
        sites = Sites(store, limits=limits)
        await sites.reload()
        clouds = Clouds(write_clouds(tmp / "clouds.yaml", **{"hub": hub.url, "paris-account": site.url}), limits=limits)
        it = World(hub, site, store, sites, clouds, South(sites, clouds, store, master_key=b"k" * 32))
        try:
            yield it
        finally:
            hub.hang = site.hang = False
            for south in (*it.others, it.south):
                await south.close()


def caller(*roles: str, user: str = "u" * 32, project: str | None = "p" * 32, token: str = "north") -> Caller:
    """A north caller."""
    return Caller(
        token=token, user_id=user, user_name="u", user_domain_id="default", project_id=project, project_name="p",
        project_domain_id="default", roles=frozenset(roles or ("member", "reader")), expires_at=time.time() + 3600,
    )  # fmt: skip

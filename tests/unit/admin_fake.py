"""A hub and a candidate site as dictionaries, and a Core around them: enough for the admin API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cascade.api.admin import Admin
from cascade.api.policy import Policy
from cascade.api.request import Request, Response
from cascade.conf import load
from cascade.model.caller import Caller
from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.reconcile.workqueue import WorkQueue
from cascade.sites.registry import Sites
from cascade.store import Store

FLAVOR = {"id": "42", "name": "m1.nano", "ram": 128, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 0, "swap": "",
          "rxtx_factor": 1.0, "os-flavor-access:is_public": True}  # fmt: skip


def caller(*roles: str, project: str | None = "p1", system: bool = False) -> Caller:
    return Caller(
        token="t", user_id="u", user_name="u", user_domain_id="default", project_id=project, project_name=None,
        project_domain_id=None, roles=frozenset(roles), expires_at=1e12, is_system=system,
    )  # fmt: skip


def cloud(*, high: str = "2.104") -> dict[tuple[str, str], Any]:
    """(service, path) -> document, or an int for a bare status. Everything a report asks for."""
    return {
        ("identity", "/v3"): {},
        ("compute", "/"): {"versions": [{"id": "v2.1", "version": high, "min_version": "2.1"}]},
        ("volume", "/"): {"versions": [{"id": "v3.0", "version": "3.71", "min_version": "3.0"}]},
        ("network", "/"): {}, ("image", "/"): {},
        ("identity", "/v3/projects"): {"projects": []}, ("identity", "/v3/users"): {"users": []},
        ("compute", "/servers"): {"servers": []}, ("compute", "/os-hypervisors"): {"hypervisors": []},
        ("compute", "/limits"): 401, ("volume", "/os-services"): {"services": []}, ("identity", "/v3/projects/p1"): 404,
        ("network", "/v2.0/extensions"): {"extensions": [{"alias": "router"}]},
        ("network", "/v2.0/agents"): {"agents": [{"configurations": {"bridge-mappings": "public:br-ex,wan:br-wan"}}]},
        ("network", "/v2.0/networks"): {"networks": [{"id": "n1", "name": "public"}]},
        ("compute", "/flavors/detail"): {"flavors": [FLAVOR]}, ("volume", "/types"): {"volume_types": [{"name": "ssd"}]},
        ("compute", "/os-availability-zone"): {"availabilityZoneInfo": [{"zoneName": "nova"}, {"zoneName": "internal"}]},
    }  # fmt: skip


class FakeSouth:
    """Answers from ``clouds`` by the cloud entry of the target's site."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.clouds: dict[str, dict[tuple[str, str], Any]] = {"hub": cloud()}

    def forget(self, target: str) -> None:
        pass

    def waiting(self) -> dict[str, int]:
        return {"paris": 3}

    def base_urls(self, target: str) -> dict[str, str]:
        return {"compute": f"http://{'hub' if target == 'hub' else self.sites.get(target).cloud}:8774/v2.1"}

    async def call(self, target: str, service: str, method: str, path: str, **_: Any) -> Reply:
        assert method == "GET", "a report writes nothing"
        entry = "hub" if target == "hub" else self.sites.get(target).cloud
        if entry not in self.clouds or (service, path) not in self.clouds[entry]:
            raise SiteUnreachable(target, f"{service}: refused")
        found = self.clouds[entry][service, path]
        if isinstance(found, int):
            return Reply(target, found, {}, b"")
        return Reply(target, 200, {}, json.dumps(found).encode())

    async def anonymous(self, target: str, service: str, method: str, path: str, **_: Any) -> Reply:
        return await self.call(target, service, method, path)


class World:
    """The admin API with everything it needs."""

    def __init__(self, store: Store, conf: Any) -> None:
        self.store, self.sites = store, Sites(store)
        self.south = FakeSouth(self.sites)
        self.followed: list[str] = []
        self.windows = {"compute": ("2.1", "2.104"), "volume": ("3.0", "3.71")}
        self.zones: dict[str, list[str]] = {}
        self.queue = WorkQueue(self._work)
        self.core: Any = SimpleNamespace(
            conf=conf, store=store, sites=self.sites, south=self.south,
            discovery=SimpleNamespace(
                window=self.windows.__getitem__, refresh=self._refresh, zones=lambda name, _="compute": self.zones.get(name, []),
                target_window=lambda target, service: self.windows[service], extensions=lambda target: frozenset({"router"}),
            ),
            replicas=SimpleNamespace(sweep=lambda name: self.followed.append(f"sweep {name}"), queue=self.queue),
            networks=SimpleNamespace(queue=WorkQueue(self._work)),
            images=SimpleNamespace(queue=WorkQueue(self._work), moves=WorkQueue(self._work)),
        )  # fmt: skip
        self.admin = Admin(Policy(conf))

    @classmethod
    async def make(cls, tmp: Path) -> World:
        conf = load([], [])
        return cls(await Store.open(f"sqlite+aiosqlite:///{tmp}/c.db"), conf)

    async def ask(
        self, method: str, path: str, body: Any = None, *, who: Caller | None = None, params: Mapping[str, str] | None = None
    ) -> Response:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        req = Request(
            service="cascade", method=method, path=path, params=list((params or {}).items()), headers={}, body=raw,
            caller=who or caller("admin"), request_id="req-1",
        )  # fmt: skip
        return await self.admin.serve(self.core, req)

    async def _work(self, key: tuple[str, str]) -> None:
        raise SiteUnreachable("paris", f"compute: Cannot connect, for {key[1]}")

    async def _refresh(self, name: str, timeout: float = 30.0) -> None:
        self.followed.append(f"discovery {name}")

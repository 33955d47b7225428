"""Stacks by Heat's own API: create, wait, look, and see that nothing stays."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.data import HUB, SITES
from lab.paths import State
from lab.shell import run
from tests.lab.rest import Answer, Cloud

TEMPLATES = Path(__file__).parents[2] / "examples" / "heat"
SECONDS = 300
COPIES = {
    # a resource type of Heat: the collection at a site in which a copy may be
    "OS::Neutron::Net": "networks",
    "OS::Neutron::Subnet": "subnets",
    "OS::Neutron::Port": "ports",
    "OS::Neutron::Router": "routers",
    "OS::Neutron::SecurityGroup": "security-groups",
    "OS::Neutron::FloatingIP": "floatingips",
}
ZONAL = {
    # a resource type of Heat: service and path at a site
    "OS::Nova::Server": ("compute", "/servers"),
    "OS::Cinder::Volume": ("volume", "/volumes"),
}


MINT = """
import secrets, sys
from datetime import UTC, datetime, timedelta
import keystone.conf
from keystone.token import token_formatters
file, user, project, seconds = sys.argv[1:]
keystone.conf.configure()
keystone.conf.CONF(["--config-file", file], project="keystone")
ends = (datetime.now(UTC) + timedelta(seconds=float(seconds))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
print(token_formatters.TokenFormatter().create_token(
    user, ends, [secrets.token_urlsafe(16)[:22]], token_formatters.ProjectScopedPayload, ["password"], project_id=project))
"""
"""Keystone's own code with the hub's own keys: its API gives out no token that ends soon."""


def expiring(cloud: Cloud, state: State, seconds: float) -> Cloud:
    """The same account with a token that is good for so long."""
    python, conf = state.venv(HUB.release) / "bin" / "python", state.cloud(HUB).etc / "keystone" / "keystone.conf"
    made = run([python, "-W", "ignore", "-c", MINT, conf, cloud.user_id, cloud.project_id, str(seconds)])
    return replace(cloud, token=made.strip())


@dataclass
class Stack:
    """One stack of a tenant's."""

    cloud: Cloud
    name: str
    id: str
    seen: set[tuple[str, str]] = field(default_factory=set)
    """(resource type, id) of everything that was ever a part of it."""

    def call(self, method: str, path: str = "", body: Any = None, **params: Any) -> Answer:
        """A request below the stack."""
        return self.cloud("orchestration", method, f"/stacks/{self.name}/{self.id}{path}", body, **params)

    def ended(self, status: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait for the end of what is under way, which must be this."""
        end = time.monotonic() + seconds
        while True:
            got = self.call("GET")
            shown: dict[str, Any] = got.json()["stack"]
            if not shown["stack_status"].endswith("IN_PROGRESS"):
                break
            assert time.monotonic() < end, (shown["stack_status"], self.reasons())
            time.sleep(1)
        assert shown["stack_status"] == status, (shown["stack_status"], shown["stack_status_reason"], self.reasons())
        self.resources()
        return shown

    def resources(self) -> dict[str, dict[str, Any]]:
        """What it is made of, by name; of nested stacks as ``parent/name``."""
        rows = self.call("GET", "/resources", nested_depth=4).json()["resources"]
        self.seen |= {(r["resource_type"], r["physical_resource_id"]) for r in rows if r["physical_resource_id"]}
        return {f"{r['parent_resource']}/{r['resource_name']}" if "parent_resource" in r else r["resource_name"]: r for r in rows}

    def reasons(self) -> list[str]:
        """Why it stands as it does."""
        return [f"{n} {r['resource_status']}: {r['resource_status_reason']}" for n, r in self.resources().items()]

    def id_of(self, name: str) -> str:
        """The id of a resource, as the cloud knows it."""
        found: str = self.resources()[name]["physical_resource_id"]
        return found

    def server(self, name: str) -> dict[str, Any]:
        """The server that a resource is."""
        found: dict[str, Any] = self.cloud("compute", "GET", f"/servers/{self.id_of(name)}").json()["server"]
        return found

    def zone(self, name: str) -> str:
        """Where a server of it is."""
        found: str = self.server(name)["OS-EXT-AZ:availability_zone"]
        return found

    def outputs(self) -> dict[str, Any]:
        """Its outputs, by name."""
        return {o["output_key"]: o["output_value"] for o in self.call("GET").json()["stack"]["outputs"]}

    def act(self, action: str, status: str) -> None:
        """``check``, ``suspend``, ``resume``."""
        got = self.call("POST", "/actions", {action: None})
        assert got.status < 300, got.body
        self.ended(status)

    def update(self, template: str, status: str = "UPDATE_COMPLETE", **parameters: Any) -> None:
        """An update of parameters, or of the template."""
        got = self.call("PUT", "", {**document(template), "parameters": parameters, "disable_rollback": False})
        assert got.status == 202, got.body
        self.ended(status)

    def ids(self) -> dict[str, str]:
        """The id of every resource, by name."""
        return {name: row["physical_resource_id"] for name, row in self.resources().items()}

    def abandon(self) -> dict[str, Any]:
        """Have Heat forget it and leave all that it is made of; what another stack can adopt. Heat answers before it is done."""
        got = self.call("DELETE", "/abandon")
        assert got.status == 200, got.body
        self._gone()
        found: dict[str, Any] = got.json()
        return found

    def delete(self, seconds: float = SECONDS) -> None:
        """Delete it, if it is there, and wait until it is gone."""
        self.call("DELETE")
        self._gone(seconds)

    def _gone(self, seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while (got := self.call("GET")).status == 200 and got.json()["stack"]["stack_status"] != "DELETE_COMPLETE":
            assert got.json()["stack"]["stack_status"] != "DELETE_FAILED", self.reasons()
            assert time.monotonic() < end, self.reasons()
            time.sleep(1)


def document(template: str) -> dict[str, Any]:
    """A template of ours, or a text, with the files it names."""
    text = (TEMPLATES / template).read_text() if template.endswith(".yaml") else template
    return {"template": text, "files": {p.name: p.read_text() for p in TEMPLATES.glob("*.yaml") if f"type: {p.name}" in text}}


def create(cloud: Cloud, name: str, template: str, *, rollback: bool = False, minutes: int = 10, **parameters: Any) -> Stack:
    """Begin a stack, which fails where it takes longer than these minutes."""
    body = {
        "stack_name": name,
        "parameters": parameters,
        "disable_rollback": not rollback,
        "timeout_mins": minutes,
        **document(template),
    }
    got = cloud("orchestration", "POST", "/stacks", body)
    assert got.status == 201, got.body
    return Stack(cloud, name, got.json()["stack"]["id"])


def adopt(cloud: Cloud, name: str, abandoned: dict[str, Any]) -> Stack:
    """Begin a stack of what another one left."""
    body = {"stack_name": name, "adopt_stack_data": json.dumps(abandoned), "disable_rollback": True, "timeout_mins": 10}
    got = cloud("orchestration", "POST", "/stacks", body)
    assert got.status == 201, got.body
    return Stack(cloud, name, got.json()["stack"]["id"])


def left(stack: Stack, clouds: dict[str, Cloud]) -> list[str]:
    """What of a stack is at any site that runs, or at the hub, though it was deleted. Copies go in the background."""
    sites = {name: clouds[f"{name}-admin"] for name in SITES if _answers(clouds[f"{name}-admin"])}
    end = time.monotonic() + 60
    while (found := _left(stack, sites)) and time.monotonic() < end:
        time.sleep(2)
    return found


def _left(stack: Stack, sites: dict[str, Cloud]) -> list[str]:
    found = []
    for kind, ident in sorted(stack.seen):
        for name, site in sites.items():
            if kind in ZONAL:
                service, path = ZONAL[kind]
                if site(service, "GET", f"{path}/{ident}").status != 404:
                    found.append(f"{kind} {ident} in {name}")
            elif kind in COPIES:
                rows = site("network", "GET", f"/v2.0/{COPIES[kind]}", description=f"cascade:{ident}").json()
                found += [f"copy of {kind} {ident} in {name}" for _ in rows[COPIES[kind].replace("-", "_")]]
        if kind in COPIES and stack.cloud("network", "GET", f"/v2.0/{COPIES[kind]}/{ident}").status != 404:
            found.append(f"{kind} {ident} at the hub")
    return found


def _answers(site: Cloud) -> bool:
    try:
        return site("compute", "GET", "/").status < 500
    except OSError:
        return False


POLICY = "heat-test"
GRANULARITY = 10
"""Seconds of the archive policy of what is measured here."""


@dataclass
class Meter:
    """Measures of a stack's servers, written as a site's own Ceilometer writes them: by its account, into the site's Gnocchi."""

    site: Cloud
    metric: str
    _series: dict[str, str] = field(default_factory=dict)
    """Server at the site: its metric."""

    @classmethod
    def at(cls, clouds: dict[str, Cloud], zone: str, metric: str) -> Meter:
        """For the servers in a zone. The archive policy is made through Cascade, at all sites."""
        policy = {
            "name": POLICY,
            "definition": [{"granularity": f"0:00:{GRANULARITY}", "points": 360}],
            "aggregation_methods": ["mean", "sum", "count"],
        }
        assert clouds["cascade-admin"]("metric", "POST", "/v1/archive_policy", policy).status in (201, 409)
        admin = clouds[f"{zone}-admin"]
        account = {**admin.auth, "username": "ceilometer", "project_name": "service"}
        return cls(Cloud(f"{zone}-ceilometer", account, admin.region).login(), metric)

    def write(self, servers: list[dict[str, Any]], value: float) -> None:
        """All have this value now. ``servers``: as the site's Nova shows them."""
        now = time.time()
        for server in servers:
            ident = server["id"]
            if ident not in self._series:
                instance = {
                    "id": ident, "project_id": server["tenant_id"], "display_name": server["name"], "host": server["hostId"],
                    "flavor_id": "1", "flavor_name": "any", "server_group": server["metadata"]["metering.server_group"],
                    "metrics": {self.metric: {"archive_policy_name": POLICY}},
                }  # fmt: skip
                made = self.site("metric", "POST", "/v1/resource/instance", instance)
                assert made.status == 201, made.body
                self._series[ident] = made.json()["metrics"][self.metric]
            row = [{"timestamp": now, "value": value}]
            assert self.site("metric", "POST", f"/v1/metric/{self._series[ident]}/measures", row).status == 202

    def forget(self) -> None:
        """Delete what was measured."""
        for ident in self._series:
            self.site("metric", "DELETE", f"/v1/resource/instance/{ident}")

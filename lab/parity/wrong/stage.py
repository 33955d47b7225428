"""Either side of a comparison: an account of its own, things to name in requests, sending, and undoing what succeeded."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab.data import PASSWORD
from lab.parity import clean
from lab.parity.sides import CASCADE
from lab.parity.wrong.cases import Case
from lab.parity.wrong.seeds.seed import NOWHERE
from lab.paths import State
from lab.raw import Answer, Cloud
from lab.report import LabError

_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqnGlbAWQf4bn2NrlpBrT1rSDZ4+PrPUx6gvUyv1BWH wrong"
_PREFIX = "wrong-"
"""How the names of everything begin that is made on purpose. All of it goes in the end, also what a killed run left."""
_THINGS = (
    ("compute", "/servers", "server"), ("volume", "/volumes", "volume"), ("compute", "/os-server-groups", "server_group"),
    ("compute", "/os-keypairs", "keypair"), ("network", "/v2.0/routers", "router"), ("network", "/v2.0/ports", "port"),
    ("network", "/v2.0/networks", "network"), ("network", "/v2.0/security-groups", "security_group"),
    ("image", "/v2/images", "image"),
)  # fmt: skip
"""What is set up, in the order in which it can go."""
_READY = 120.0
"""Seconds a server or a volume may take."""


@dataclass
class Stage:
    """One side, ready to be asked."""

    name: str
    clouds: dict[str, Cloud]
    """``member`` and ``admin``."""
    facts: dict[str, str]
    undone: list[str] = field(default_factory=list)

    def ask(self, case: Case) -> Answer:
        """Send a case; what it made by accident is deleted at once."""
        cloud = self.clouds[case.seed.account]
        headers = {"Content-Type": "application/json"} if case.body is not None else {}
        if case.seed.version is not None:
            headers["OpenStack-API-Version"] = f"{case.seed.service} {case.seed.version}"
        headers |= case.headers  # type: ignore[arg-type]  # None goes below
        sent = {k: v for k, v in headers.items() if v is not None}
        body = None if case.body is None else self.fill(case.body.decode("latin-1")).encode("latin-1")
        path = self.fill(case.path)
        try:
            got = cloud(case.seed.service, case.method, path, body, headers=sent, json_type=False)
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, {}, f"{type(error).__name__}: {error}".encode())
        if 200 <= got.status < 300 and case.method == "POST":
            self._undo(case, path.partition("?")[0], got)
        return got

    def fill(self, text: str) -> str:
        """The side's own things in the place of their names."""
        for name, value in self.facts.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _undo(self, case: Case, path: str, got: Answer) -> None:
        """DELETE what an answer says was made."""
        if path.rstrip("/").endswith(("/action", "/metadata", "/tokens", "/import")):
            return
        doc = got.json()
        made = next(iter(doc.values()), None) if isinstance(doc, dict) and "id" not in doc else doc
        for one in made if isinstance(made, list) else [made]:
            if isinstance(one, dict) and (ident := one.get("id") or one.get("name") or one.get("namespace")):
                cloud = self.clouds[case.seed.account]
                cloud(case.seed.service, "DELETE", f"{path.rstrip('/')}/{quote(str(ident))}", version=case.seed.version)
                self.undone.append(case.name)


@contextlib.contextmanager
def stages(place: State, direct: str, through: str | None = None, *, sweep: bool = True) -> Iterator[tuple[Stage, Stage]]:
    """Both sides, set up at the same time and cleaned up behind. ``through``: another gateway than the lab's.

    ``sweep``: look through all clouds for what this run or an earlier one that was killed may have left, which takes a while.
    """
    run = f"{_PREFIX}{secrets.token_hex(3)}"
    accounts = Cloud.load(place.clouds_file)
    admins = {direct: accounts[f"{direct}-admin"], CASCADE: accounts[f"{CASCADE}-admin"]}
    if through:
        admins[CASCADE] = admins[CASCADE].through(through)
    try:
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda name: _set_up(name, admins[name], run, direct), (direct, CASCADE))
        try:
            yield one, two
        finally:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(_tear_down, (one, two)))
    finally:
        for name in (CASCADE, direct) if sweep else ():  # what Cascade made at the site must not go behind its back
            clean.side(place, name, (_PREFIX,))


def _set_up(name: str, admin: Cloud, run: str, direct: str) -> Stage:
    """A project with a member, and one of each kind of thing in it.

    Through Cascade the server and the volume, and with them all the project makes later, are at the site asked directly.
    """
    project = _made(admin, "identity", "/projects", {"project": {"name": run}})["id"]
    body = {"user": {"name": run, "password": PASSWORD, "default_project_id": project}}
    user = _made(admin, "identity", "/users", body)["id"]
    roles = {r["name"]: r["id"] for r in admin("identity", "GET", "/roles").json()["roles"]}
    admin("identity", "PUT", f"/projects/{project}/users/{user}/roles/{roles['member']}")
    auth = {**admin.auth, "username": run, "project_name": run}
    member = Cloud(run, auth, admin.region).login()
    if (base := admin.endpoints["compute"]) != member.endpoints["compute"]:
        member = member.through(base.rpartition("/compute")[0])
    flavors = member("compute", "GET", "/flavors").json()["flavors"]
    facts = {
        "run": run.partition("-")[2], "uuid": NOWHERE, "project": project, "user": user, "keypair": run,
        "public_key": _PUBLIC_KEY, "flavor": _flavor(flavors),
    }  # fmt: skip
    facts |= _images_and_networks(member)
    _made(member, "compute", "/os-keypairs", {"keypair": {"name": run, "type": "ssh", "public_key": _PUBLIC_KEY}}, "2.92")
    group = {"server_group": {"name": run, "policy": "soft-affinity"}}
    facts["server_group"] = _made(member, "compute", "/os-server-groups", group, "2.64")["id"]
    zone = {"availability_zone": direct} if name == CASCADE else {}
    server = {**zone, "name": run, "flavorRef": facts["flavor"], "imageRef": facts["image"], "networks": "none"}
    facts["server"] = _made(member, "compute", "/servers", {"server": server}, "2.90")["id"]
    facts["volume"] = _made(member, "volume", "/volumes", {"volume": {**zone, "name": run, "size": 1}}, "3.60")["id"]
    for service, path, key, wanted in (
        ("compute", f"/servers/{facts['server']}", "server", "ACTIVE"),
        ("volume", f"/volumes/{facts['volume']}", "volume", "available"),
    ):
        got = member.until(service, path, lambda a, key=key: a.json()[key]["status"].lower() not in ("build", "creating"),
                           seconds=_READY)  # fmt: skip
        if (status := got.json()[key]["status"]) != wanted:
            raise LabError(f"{name}: the {key} to be named in requests is {status}")
    return Stage(name, {"member": member, "admin": admin}, facts)


def _tear_down(stage: Stage) -> None:
    """Delete what was set up, by the side's own API."""
    for service, path, fact in _THINGS:
        stage.clouds["member"](service, "DELETE", f"{path}/{stage.facts[fact]}", version="2.96" if service == "compute" else None)
    for path, fact in (("/users", "user"), ("/projects", "project")):
        stage.clouds["admin"]("identity", "DELETE", f"{path}/{stage.facts[fact]}")


def _flavor(flavors: list[dict[str, Any]]) -> str:
    """A small one that both sides of a comparison may know by other ids."""
    return str(next((f["id"] for f in flavors if f["name"] in ("direct", "m1.nano")), flavors[0]["id"]))


def _images_and_networks(cloud: Cloud) -> dict[str, str]:
    image = cloud("image", "POST", "/v2/images", {"name": "wrong", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    cloud("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    network = _made(cloud, "network", "/v2.0/networks", {"network": {"name": "wrong"}})["id"]
    subnet = _made(cloud, "network", "/v2.0/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.99.9.0/24"}})
    port = _made(cloud, "network", "/v2.0/ports", {"port": {"network_id": network}})
    router = _made(cloud, "network", "/v2.0/routers", {"router": {"name": "wrong"}})
    group = _made(cloud, "network", "/v2.0/security-groups", {"security_group": {"name": "wrong"}})
    return {
        "image": image, "network": network, "subnet": subnet["id"], "port": port["id"], "router": router["id"],
        "security_group": group["id"],
    }  # fmt: skip


def _made(cloud: Cloud, service: str, path: str, body: Any, version: str | None = None) -> dict[str, Any]:
    got = cloud(service, "POST", path, body, version=version)
    if got.status not in (200, 201, 202):
        raise LabError(f"{cloud.name}: POST {path}: {got.status} {got.body[:300]!r}")
    inner: dict[str, Any] = next(iter(got.json().values()))
    return inner


def image_schema(stage: Stage) -> dict[str, Any]:
    """Glance's own schema of an image."""
    doc = stage.clouds["member"]("image", "GET", "/v2/schemas/image").json()
    return {"image": {"type": "object", "properties": doc["properties"]}}


def dumped(place: Path, doc: Any) -> None:
    """Write results."""
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(doc, indent=1))

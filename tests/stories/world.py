"""The two worlds a story plays in, and the tenant it plays with."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.lab.conftest import GATEWAY, STATE
from tests.lab.gateway import Gateway
from tests.lab.rest import Cloud, raw

SITES = ("paris", "tokyo")
PASSWORD = "a story's own"
LISTS = (
    # service, path, what deletes one; in the order in which they can go
    ("compute", "/servers", "/servers/{id}"),
    ("volume", "/snapshots", "/snapshots/{id}"),
    ("volume", "/volumes", "/volumes/{id}"),
    ("network", "/v2.0/floatingips?project_id={project}", "/v2.0/floatingips/{id}"),
    ("network", "/v2.0/routers?project_id={project}", "/v2.0/routers/{id}"),
    ("network", "/v2.0/ports?project_id={project}", "/v2.0/ports/{id}"),
    ("network", "/v2.0/networks?project_id={project}", "/v2.0/networks/{id}"),
    ("network", "/v2.0/security-groups?project_id={project}", "/v2.0/security-groups/{id}"),
    ("image", "/v2/images?owner={project}", "/v2/images/{id}"),
)
SIM_STARTS_WITHIN = 30.0


@dataclass
class World:
    """A gateway, its administrator, and where the simulator is controlled ("" in the lab)."""

    name: str
    url: str
    admin: Cloud
    control: str = ""
    home: Path | None = None
    """Where the simulator's clouds.yaml and the key are; none in the lab."""


@dataclass
class Tenant:
    """A project and a user of one story."""

    world: World
    cloud: Cloud

    def environ(self) -> dict[str, str]:
        """What a story may name by $ENVIRON."""
        return {
            "TOKEN": self.cloud.token,
            "ADMIN": self.world.admin.token,
            "PROJECT": self.cloud.project_id,
            "USER": self.cloud.user_id,
            "USER_NAME": self.cloud.auth["username"],
            "PASSWORD": PASSWORD,
            "GATEWAY": self.world.url,
            "SIM": self.world.control,
        }

    def left(self) -> dict[str, list[str]]:
        """What the project still has, by list; its own default security group is not counted."""
        found = {}
        for service, path, _ in LISTS:
            got = self.cloud(service, "GET", path.format(project=self.cloud.project_id)).json()
            rows = next(v for k, v in got.items() if isinstance(v, list) and not k.endswith("_links"))
            if ids := [r["id"] for r in rows if not ("security-groups" in path and r["name"] == "default")]:
                found[path.partition("?")[0]] = ids
        return found

    def sweep(self) -> None:
        """Delete what a failed story left, so that the next run finds the clouds as they were."""
        end = time.monotonic() + 60
        while (found := self.left()) and time.monotonic() < end:
            for service, path, one in LISTS:
                for ident in found.get(path.partition("?")[0], ()):
                    if "routers" in one:
                        self._unplug(ident)
                    self.cloud(service, "DELETE", one.format(id=ident))
            time.sleep(1)

    def _unplug(self, router: str) -> None:
        for port in self.cloud("network", "GET", f"/v2.0/ports?device_id={router}").json()["ports"]:
            self.cloud("network", "PUT", f"/v2.0/routers/{router}/remove_router_interface", {"port_id": port["id"]})


@contextmanager
def tenant(world: World, story: str) -> Iterator[Tenant]:
    """A fresh project with one member, gone afterwards."""
    admin = world.admin = world.admin.through(world.url)
    admin.endpoints["cascade"] = world.url + "/cascade/v1"
    name = f"story-{story}-{uuid4().hex[:6]}"
    project = admin("identity", "POST", "/projects", {"project": {"name": name, "domain_id": "default"}}).json()["project"]["id"]
    account = {"name": name, "domain_id": "default", "password": PASSWORD, "default_project_id": project}
    user = admin("identity", "POST", "/users", {"user": account}).json()["user"]["id"]
    roles = {r["name"]: r["id"] for r in admin("identity", "GET", "/roles").json()["roles"]}
    assert admin("identity", "PUT", f"/projects/{project}/users/{user}/roles/{roles['member']}").status == 204
    auth = {**admin.auth, "username": name, "password": PASSWORD, "project_name": name}
    it = Tenant(world, Cloud(name, auth, admin.region).through(world.url))
    try:
        yield it
    finally:
        if world.control:
            raw(world.control + "/faults", "POST", body=b'{"mode": "ok"}')
            _until_up(world)
        it.cloud = it.cloud.through(world.url)  # a story may have revoked the token
        it.sweep()
        for path in (f"/users/{user}", f"/projects/{project}"):
            admin("identity", "DELETE", path)


def _until_up(world: World) -> None:
    """A story that failed in the middle of an outage is not the next one's trouble."""
    end = time.monotonic() + 60
    while any(s["health"]["state"] != "up" for s in world.admin("cascade", "GET", "/sites").json()["sites"]):
        assert time.monotonic() < end, "a site did not come back"
        time.sleep(0.2)


@contextmanager
def lab_world() -> Iterator[World]:
    """The gateway of the running lab."""
    url = f"http://127.0.0.1:{GATEWAY}"
    yield World("lab", url, Cloud.load(STATE / "clouds.yaml")["cascade-admin"].through(url))


@contextmanager
def sim_world(home: Path) -> Iterator[World]:
    """A simulator of two sites and a gateway in front of it, processes of our own."""
    base = free_ports(len(SITES) + 2)
    port = base + len(SITES) + 1
    (home / "master.key").write_bytes(b"k" * 32)
    clouds = home / "clouds.yaml"
    argv = [sys.executable, "-m", "sim", "--sites", ",".join(SITES), "--base-port", str(base)]
    argv += ["--clouds-file", str(clouds), "--gateway-url", f"http://127.0.0.1:{port}"]
    root = Path(__file__).parents[2]
    with (home / "sim.out").open("wb") as out:
        sim = subprocess.Popen(argv, cwd=root, stdout=out, stderr=out)
    gateway: Gateway | None = None
    try:
        _until_ready(sim, home / "sim.out")
        gateway = Gateway(home, home, port).start()
        admin = gateway.cloud(Cloud.load(clouds)["cascade-admin"])
        gateway.join(admin, *SITES)
        yield World("sim", gateway.url, admin, f"http://127.0.0.1:{base}/_sim", home)
    finally:
        if gateway is not None:
            gateway.stop()
        sim.terminate()
        sim.wait(30)


def _until_ready(sim: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + SIM_STARTS_WITHIN
    while "READY" not in output.read_text():
        assert sim.poll() is None and time.monotonic() < end, output.read_text()[-2000:]
        time.sleep(0.1)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for base in range(31000, 39000, 10):
        held = []
        try:
            for port in range(base, base + count):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return base
        finally:
            for s in held:
                s.close()
    raise AssertionError("no free ports")

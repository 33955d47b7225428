"""The fake Nova: a server's life, microversions, refusals and tenancy, against what the real one was seen to answer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sim import app
from sim.seed import PASSWORD
from sim.world import Options, World
from tests.unit.sim_time import Held, time_passes

NOWHERE = "6a391870-3b57-458b-adc0-4bfdfbf76cf1"
KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAgEB me"


def free_ports(count: int) -> int:
    """The first of some ports in a row that nobody listens at."""
    for base in range(34000, 60000, 50):
        held = []
        try:
            for n in range(count):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", base + n))
        except OSError:
            continue
        else:
            return base
        finally:
            for s in held:
                s.close()
    raise OSError("no free ports")


class Place:
    """One cloud, spoken to over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, world: World, name: str) -> None:
        self.session, self.cloud = session, world.clouds[name]
        self.tokens: dict[str, tuple[str, str]] = {}

    async def token(self, user: str, project: str) -> tuple[str, str]:
        """A token and its project's id."""
        if user not in self.tokens:
            domain = {"id": "default"}
            who = {"user": {"name": user, "password": PASSWORD, "domain": domain}}
            scope = {"project": {"name": project, "domain": domain}}
            doc = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
            async with self.session.post(f"{self.cloud.url('identity')}/v3/auth/tokens", json=doc) as r:
                assert r.status == 201
                self.tokens[user] = r.headers["X-Subject-Token"], (await r.json())["token"]["project"]["id"]
        return self.tokens[user]

    async def __call__(
        self, method: str, path: str, doc: Any = None, *, who: str = "demo", version: str = "", service: str = "compute/v2.1"
    ) -> tuple[int, Any]:
        """Status and document of one call."""
        token, _ = await self.token(who, who.split("-")[0])
        headers = {"X-Auth-Token": token}
        if version:
            headers["OpenStack-API-Version"] = f"{service.partition('/')[0]} {version}"
        async with self.session.request(method, f"{self.cloud.root}/{service}{path}", json=doc, headers=headers) as r:
            text = await r.text()
            return r.status, await r.json() if text and "json" in r.content_type else text

    async def server(self, **more: Any) -> str:
        """A server that is being built."""
        image = next(iter(self.cloud["images"]), None) or (await self._image())
        wish = {"name": "web", "flavorRef": "42", "imageRef": image, "networks": "none", **more}
        status, doc = await self("POST", "/servers", {"server": wish}, version="2.52")
        assert status == 202, doc
        return str(doc["server"]["id"])

    async def _image(self) -> str:
        _, doc = await self("POST", "/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"}, service="image")
        token, _ = await self.token("demo", "demo")
        headers = {"X-Auth-Token": token, "Content-Type": "application/octet-stream"}
        async with self.session.put(f"{self.cloud.url('image')}/v2/images/{doc['id']}/file", data=b"x", headers=headers) as r:
            assert r.status == 204
        return str(doc["id"])

    async def network(self) -> str:
        """A network with a subnet."""
        _, doc = await self("POST", "/v2.0/networks", {"network": {"name": "net"}}, service="network")
        ident = doc["network"]["id"]
        subnet = {"network_id": ident, "cidr": "10.1.0.0/24", "ip_version": 4}
        status, doc = await self("POST", "/v2.0/subnets", {"subnet": subnet}, service="network")
        assert status == 201, doc
        return str(ident)

    async def act(self, ident: str, name: str, given: Any = None, **how: Any) -> tuple[int, Any]:
        """One action."""
        return await self("POST", f"/servers/{ident}/action", {name: given}, **how)

    async def settled(self, ident: str) -> Any:
        """The server when nothing is going on any more."""
        time_passes(self.cloud)
        _, doc = await self("GET", f"/servers/{ident}", version="2.52")
        assert doc["server"]["OS-EXT-STS:task_state"] is None
        return doc["server"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(["paris", "tokyo"], free_ports(3), Options())
    for cloud in made.clouds.values():
        cloud.later = Held()  # type: ignore[method-assign]
    runners = await app.start(made)
    yield made
    await app.stop(runners)


@pytest.fixture
async def paris(world: World) -> AsyncIterator[Place]:
    async with aiohttp.ClientSession() as session:
        yield Place(session, world, "paris")


def message(doc: Any) -> str:
    """What a fault says, whatever it is called."""
    (fault,) = doc.values()
    return str(fault["message"])


async def test_the_life_of_a_server(paris: Place) -> None:
    ident = await paris.server(networks=[{"uuid": await paris.network()}])
    _, doc = await paris("GET", f"/servers/{ident}")
    assert doc["server"]["status"] == "BUILD" and doc["server"]["addresses"] == {}
    s = await paris.settled(ident)
    assert s["status"] == "ACTIVE" and s["OS-EXT-AZ:availability_zone"] == "nova" and len(s["addresses"]["net"]) == 1
    assert await paris("DELETE", f"/servers/{ident}") == (204, "")
    assert (await paris("GET", f"/servers/{ident}"))[1]["server"]["OS-EXT-STS:task_state"] == "deleting"
    time_passes(paris.cloud)
    assert (await paris("GET", f"/servers/{ident}"))[0] == 404
    assert not [p for p in paris.cloud["ports"].values() if p["device_id"] == ident]
    _, doc = await paris("GET", "/servers/detail?changes-since=2020-01-01T00:00:00Z")
    assert [s["status"] for s in doc["servers"]] == ["DELETED"]


@pytest.mark.parametrize(
    ("before", "name", "given", "during", "after"),
    [
        ((), "os-stop", None, "powering-off", "SHUTOFF"),
        (("os-stop",), "os-start", None, "powering-on", "ACTIVE"),
        ((), "reboot", {"type": "HARD"}, "rebooting_hard", "ACTIVE"),
        ((), "pause", None, "pausing", "PAUSED"),
        (("pause",), "unpause", None, "unpausing", "ACTIVE"),
        ((), "suspend", None, "suspending", "SUSPENDED"),
        (("suspend",), "resume", None, "resuming", "ACTIVE"),
        ((), "shelve", None, "shelving", "SHELVED_OFFLOADED"),
        (("shelve",), "unshelve", None, "unshelving", "ACTIVE"),
        ((), "rescue", None, "rescuing", "RESCUE"),
        (("rescue",), "unrescue", None, "unrescuing", "ACTIVE"),
        ((), "resize", {"flavorRef": "84"}, "resize_prep", "VERIFY_RESIZE"),
        ((), "createImage", {"name": "s"}, "image_snapshot_pending", "ACTIVE"),
        ((), "migrate", None, "resize_prep", "VERIFY_RESIZE"),
        ((), "os-resetState", {"state": "error"}, None, "ERROR"),
    ],
)
async def test_actions(paris: Place, before: tuple[str, ...], name: str, given: Any, during: str | None, after: str) -> None:
    ident = await paris.server()
    await paris.settled(ident)
    for earlier in before:
        assert (await paris.act(ident, earlier))[0] < 300
        await paris.settled(ident)
    status, doc = await paris.act(ident, name, given, who="admin")
    assert status < 300, doc
    assert paris.cloud["servers"][ident]["task_state"] == during
    assert (await paris.settled(ident))["status"] == after
    _, doc = await paris("GET", f"/servers/{ident}/os-instance-actions", version="2.58")
    assert doc["instanceActions"][0]["action"] == name.removeprefix("os-") and doc["instanceActions"][-1]["action"] == "create"


async def test_a_resize_is_confirmed_or_reverted(paris: Place) -> None:
    ident = await paris.server()
    await paris.settled(ident)
    for verb, flavor in (("revertResize", "m1.nano"), ("confirmResize", "m1.micro")):
        await paris.act(ident, "resize", {"flavorRef": "84"})
        await paris.settled(ident)
        assert (await paris.act(ident, verb))[0] in (202, 204)
        s = await paris.settled(ident)
        assert s["status"] == "ACTIVE" and s["flavor"]["original_name"] == flavor
    _, doc = await paris("GET", "/os-migrations", who="admin", version="2.59")
    assert [m["status"] for m in doc["migrations"]] == ["confirmed", "reverted"]


@pytest.mark.parametrize(
    ("name", "given", "status", "says"),
    [
        ("os-start", None, 409, "Cannot 'start' instance ID while it is in vm_state active"),
        ("confirmResize", None, 409, "Cannot 'confirmResize' instance ID while it is in vm_state active"),
        ("nope", None, 400, "There is no such action: nope"),
        ("resize", {"flavorRef": "nope"}, 400, "Flavor nope could not be found."),
        ("resize", {}, 400, "Invalid input for field/attribute resize. Value: {}. 'flavorRef' is a required property"),
        ("os-getVNCConsole", {"type": "xvpvnc"}, 400, "Unavailable console type xvpvnc."),
        ("os-resetState", {"state": "active"}, 403,
         "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed."),
        ("trigger_crash_dump", None, 404, "The resource could not be found."),
        ("resetNetwork", None, 410, "This resource is no longer available. No forwarding address is given."),
    ],
)  # fmt: skip
async def test_refused_actions(paris: Place, name: str, given: Any, status: int, says: str) -> None:
    ident = await paris.server()
    await paris.settled(ident)
    got, doc = await paris.act(ident, name, given)
    assert (got, message(doc)) == (status, says.replace("ID", ident))


async def test_a_locked_server_stays_as_it_is(paris: Place) -> None:
    ident = await paris.server()
    await paris.settled(ident)
    assert (await paris.act(ident, "lock", {"locked_reason": "why"}, who="admin", version="2.73"))[0] == 202
    for method, path, doc in (
        ("POST", "/action", {"os-stop": None}),
        ("DELETE", "", None),
        ("POST", "/metadata", {"metadata": {"a": "b"}}),
    ):
        status, fault = await paris(method, f"/servers/{ident}{path}", doc)
        assert (status, fault) == (409, {"conflictingRequest": {"code": 409, "message": f"Instance {ident} is locked"}})
    assert (await paris.act(ident, "unlock"))[0] == 403
    assert (await paris.act(ident, "os-stop", who="admin"))[0] == 202


async def test_faults_have_their_names(paris: Place) -> None:
    assert await paris("GET", f"/servers/{NOWHERE}") == (
        404, {"itemNotFound": {"code": 404, "message": f"Instance {NOWHERE} could not be found."}})  # fmt: skip
    status, doc = await paris("GET", "/servers?limit=-1")
    assert (status, list(doc)) == (400, ["badRequest"])
    status, doc = await paris("GET", "/servers", version="2.999")
    assert status == 406 and "2.999" in message(doc)
    status, doc = await paris("GET", "/nope")
    assert status == 404


async def test_microversions_show_more(paris: Place) -> None:
    ident = await paris.server(tags=["t"])
    await paris.settled(ident)
    seen = {}
    for version in ("2.1", "2.19", "2.26", "2.47", "2.73", "2.96", "2.100"):
        _, doc = await paris("GET", f"/servers/{ident}", version=version)
        seen[version] = set(doc["server"])
        assert ("original_name" in doc["server"]["flavor"]) == (version not in ("2.1", "2.19", "2.26"))
    assert "description" in seen["2.19"] - seen["2.1"] and "tags" in seen["2.26"] - seen["2.19"]
    assert "locked_reason" in seen["2.73"] - seen["2.47"] and "pinned_availability_zone" in seen["2.96"] - seen["2.73"]
    assert (await paris("GET", f"/servers/{ident}/tags"))[0] == 404
    assert await paris("GET", f"/servers/{ident}/tags", version="2.26") == (200, {"tags": ["t"]})
    for version, kind in (("2.1", int), ("2.53", str)):
        _, doc = await paris("GET", "/os-hypervisors", who="admin", version=version)
        assert isinstance(doc["hypervisors"][0]["id"], kind)
    assert (await paris("GET", "/os-hypervisors/statistics", who="admin", version="2.88"))[0] == 404


async def test_two_releases(world: World, paris: Place) -> None:
    tokyo = Place(paris.session, world, "tokyo")
    assert (await paris("GET", "/servers", version="2.104"))[0] == 200
    assert (await tokyo("GET", "/servers", version="2.104"))[0] == 406


async def test_tenancy(paris: Place) -> None:
    ident = await paris.server()
    await paris.settled(ident)
    for method, path, doc in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/metadata", None),
        ("POST", "/action", {"os-stop": None}),
    ):
        assert (await paris(method, f"/servers/{ident}{path}", doc, who="other"))[0] == 404
    assert (await paris("GET", "/servers", who="other"))[1] == {"servers": []}
    assert (await paris("GET", "/servers", who="admin"))[1] == {"servers": []}
    assert (await paris("GET", "/servers?all_tenants=1"))[0] == 403
    assert len((await paris("GET", "/servers?all_tenants=1", who="admin"))[1]["servers"]) == 1
    assert (await paris.act(ident, "os-stop", who="demo-reader"))[0] == 403
    assert (await paris("GET", f"/servers/{ident}", who="demo-reader"))[0] == 200
    for path in ("/os-hypervisors", "/os-services", "/os-aggregates", "/os-migrations", "/os-availability-zone/detail"):
        assert (await paris("GET", path))[0] == 403 and (await paris("GET", path, who="admin"))[0] == 200


async def test_pages_come_newest_first_and_by_id(paris: Place) -> None:
    idents = [await paris.server(name=f"s{n}") for n in range(3)]
    for ident in idents:
        await paris.settled(ident)
    for s in paris.cloud["servers"].values():
        s["created_at"] = 1000.0
    found, marker = [], ""
    for _ in range(4):
        _, doc = await paris("GET", f"/servers?limit=1{marker}")
        found += [s["id"] for s in doc["servers"]]
        if "servers_links" in doc:
            assert doc["servers_links"][0]["href"].endswith(f"/servers?limit=1&marker={found[-1]}")
            marker = f"&marker={found[-1]}"
    assert found == sorted(idents)


async def test_quota(paris: Place) -> None:
    _, project = await paris.token("demo", "demo")
    assert (await paris("PUT", f"/os-quota-sets/{project}", {"quota_set": {"cores": 1}}, who="admin"))[0] == 200
    await paris.server()
    wish = {"name": "x", "flavorRef": "42", "imageRef": next(iter(paris.cloud["images"])), "networks": "none"}
    status, doc = await paris("POST", "/servers", {"server": wish}, version="2.52")
    assert (status, message(doc)) == (403, "Quota exceeded for cores: Requested 1, but already used 1 of 1 cores")
    _, doc = await paris("GET", f"/os-quota-sets/{project}/detail", version="2.57")
    assert doc["quota_set"]["cores"] == {"limit": 1, "in_use": 1, "reserved": 0} and "floating_ips" not in doc["quota_set"]


async def test_flavors_keys_and_groups(paris: Place) -> None:
    flavor = {"id": "f", "name": "f", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    assert (await paris("POST", "/flavors", {"flavor": flavor}))[0] == 403
    assert (await paris("POST", "/flavors", {"flavor": flavor}, who="admin"))[0] == 200
    assert (await paris("GET", "/flavors/f"))[0] == 404
    _, project = await paris.token("demo", "demo")
    assert (await paris("POST", "/flavors/f/action", {"addTenantAccess": {"tenant": project}}, who="admin"))[0] == 200
    assert (await paris("GET", "/flavors/f"))[0] == 200
    for version, made, gone in (("2.1", 200, 202), ("2.2", 201, 204)):
        key = {"name": "k", "public_key": KEY}
        assert (await paris("POST", "/os-keypairs", {"keypair": key}, version=version))[0] == made
        assert (await paris("POST", "/os-keypairs", {"keypair": key}, version=version))[0] == 409
        assert (await paris("DELETE", "/os-keypairs/k", version=version))[0] == gone
    wish = {"name": "g", "policy": "anti-affinity"}
    _, doc = await paris("POST", "/os-server-groups", {"server_group": wish}, version="2.64")
    ident = await paris.server()
    paris.cloud["server_groups"][doc["server_group"]["id"]]["members"].append(ident)
    _, doc = await paris("GET", f"/servers/{ident}", version="2.71")
    assert doc["server"]["server_groups"] == list(paris.cloud["server_groups"])


async def test_interfaces(paris: Place) -> None:
    network = await paris.network()
    ident = await paris.server(networks=[{"uuid": network}])
    await paris.settled(ident)
    wish = {"net_id": network, "fixed_ips": [{"ip_address": "10.1.0.77"}]}
    status, doc = await paris("POST", f"/servers/{ident}/os-interface", {"interfaceAttachment": wish})
    assert status == 200, doc
    port = doc["interfaceAttachment"]["port_id"]
    assert (await paris("POST", f"/servers/{ident}/os-interface", {"interfaceAttachment": wish}))[0] == 409
    assert await paris("DELETE", f"/servers/{ident}/os-interface/{port}") == (202, "")
    time_passes(paris.cloud)
    _, doc = await paris("GET", f"/servers/{ident}/os-interface")
    assert len(doc["interfaceAttachments"]) == 1 and port not in paris.cloud["ports"]


async def test_a_hub_runs_nothing(world: World, paris: Place) -> None:
    hub = Place(paris.session, world, "hub")
    ident = await hub.server()
    time_passes(hub.cloud)
    _, doc = await hub("GET", f"/servers/{ident}")
    assert doc["server"]["status"] == "BUILD"
    assert (await hub("GET", "/os-services", who="admin"))[1] == {"services": []}


async def test_zones_and_disabled_hosts(paris: Place) -> None:
    assert [z["zoneName"] for z in (await paris("GET", "/os-availability-zone"))[1]["availabilityZoneInfo"]] == ["nova"]
    for host in ("paris-cmp1", "paris-cmp2"):
        wish = {"host": host, "binary": "nova-compute"}
        assert (await paris("PUT", "/os-services/disable", wish, who="admin"))[0] == 200
    ident = await paris.server()
    s = await paris.settled(ident)
    assert s["status"] == "ERROR" and s["fault"]["message"] == "No valid host was found. "
    assert (await paris.act(ident, "reboot", {"type": "HARD"}))[0] == 409


async def test_volumes_of_servers(paris: Place) -> None:
    _, project = await paris.token("demo", "demo")
    ident = await paris.server()
    await paris.settled(ident)
    volume = {"id": NOWHERE, "status": "available", "size": 1, "project_id": project, "attachments": []}
    paris.cloud["volumes"][NOWHERE] = volume
    path, wish = f"/servers/{ident}/os-volume_attachments", {"volumeAttachment": {"volumeId": NOWHERE}}
    status, doc = await paris("POST", path, wish)
    assert (status, doc["volumeAttachment"]["device"]) == (200, "/dev/sdb") and volume["status"] == "reserved"
    time_passes(paris.cloud)
    assert volume["status"] == "in-use"
    status, doc = await paris("POST", path, wish)
    assert (status, message(doc)) == (400, f"Invalid volume: volume {NOWHERE} is already attached to instances: {ident}")
    _, doc = await paris("GET", path, version="2.89")
    assert "id" not in doc["volumeAttachments"][0] and doc["volumeAttachments"][0]["attachment_id"] in paris.cloud["attachments"]
    assert await paris("DELETE", f"{path}/{NOWHERE}") == (202, "")
    assert volume["status"] == "detaching"
    time_passes(paris.cloud)
    assert volume["status"] == "available" and (await paris("GET", path))[1] == {"volumeAttachments": []}

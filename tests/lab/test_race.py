"""Two hundred creates at once against a quota of ten end with exactly ten: one gateway, two, and with a site away."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import GATEWAY, STATE
from tests.lab.gateway import Gateway
from tests.lab.rest import Answer, Cloud

LAB = Path(__file__).parents[2] / "bin" / "lab"
AT_ONCE, ROOM = 200, 10


@pytest.fixture(scope="module")
def c(clouds: dict[str, Cloud], admin: Cloud) -> Iterator[Cloud]:
    """A tenant whose quota nobody else depends on."""
    other = clouds["cascade-other"].login()
    yield other
    for service in ("compute", "volume"):
        admin(service, "DELETE", f"/os-quota-sets/{other.project_id}")


@pytest.fixture(scope="module")
def image(c: Cloud) -> Iterator[str]:
    body = {"name": "race", "disk_format": "raw", "container_format": "bare"}
    made = c("image", "POST", "/v2/images", body).json()["id"]
    c("image", "PUT", f"/v2/images/{made}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    yield made
    c("image", "DELETE", f"/v2/images/{made}")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, c: Cloud) -> Iterator[Cloud]:
    """The same tenant through a second gateway process on the lab's gateway's database."""
    gateway = Gateway(tmp_path_factory.mktemp("second"), STATE, GATEWAY + 109, database=STATE / "cascade" / "cascade.db").start()
    try:
        yield gateway.cloud(c)
    finally:
        gateway.stop()


def quota(admin: Cloud, c: Cloud, service: str, key: str, room: int) -> None:
    """Room for so many more."""
    path = f"/os-quota-sets/{c.project_id}"
    assert admin(service, "PUT", path, {"quota_set": {key: used(c, service, key) + room}}).status == 200


def used(c: Cloud, service: str, key: str) -> int:
    if service == "volume":
        row = c("volume", "GET", f"/os-quota-sets/{c.project_id}", usage="true").json()["quota_set"][key]
    else:
        row = c("compute", "GET", f"/os-quota-sets/{c.project_id}/detail").json()["quota_set"][key]
    assert isinstance(row, dict)
    return int(row["in_use"]) + int(row["reserved"])


def at_once(act: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, range(AT_ONCE)))


def boots(through: list[Cloud], image: str, zones: tuple[str, ...]) -> list[Answer]:
    def boot(n: int) -> Answer:
        server: dict[str, Any] = {"name": f"race-{n}", "flavorRef": "42", "imageRef": image, "networks": "none"}
        server["availability_zone"] = zones[n % len(zones)]
        return through[n % len(through)]("compute", "POST", "/servers", {"server": server}, version="2.60", timeout=120)

    return at_once(boot)


def exactly(answers: list[Answer], refused: int = 403) -> list[Answer]:
    """The accepted ones: as many as there was room; everybody else was told that the quota is full."""
    counted = Counter(a.status for a in answers)
    assert counted == {202: ROOM, refused: AT_ONCE - ROOM}, (
        counted,
        [a.body for a in answers if a.status not in (202, refused)][:3],
    )
    return [a for a in answers if a.status == 202]


def away(c: Cloud, service: str, kind: str, answers: list[Answer], key: str) -> None:
    """Delete them, and all their room is there again."""
    ids = [a.json()[kind]["id"] for a in answers]
    for ident in ids:
        c.until(service, f"/{kind}s/{ident}", lambda a: a.json()[kind]["status"] in ("ACTIVE", "available"))
    before = used(c, service, key)
    for ident in ids:
        assert c(service, "DELETE", f"/{kind}s/{ident}").status in (202, 204)
    for ident in ids:
        c.until(service, f"/{kind}s/{ident}", lambda a: a.status == 404)
    soon(lambda: used(c, service, key) == before - ROOM)


def soon(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_servers_over_two_sites(c: Cloud, admin: Cloud, image: str) -> None:
    quota(admin, c, "compute", "instances", ROOM)
    away(c, "compute", "server", exactly(boots([c], image, ("paris", "tokyo"))), "instances")


def test_servers_over_two_gateways(c: Cloud, second: Cloud, admin: Cloud, image: str) -> None:
    quota(admin, c, "compute", "instances", ROOM)
    away(c, "compute", "server", exactly(boots([c, second], image, ("paris", "tokyo"))), "instances")


def test_volumes_over_two_gateways(c: Cloud, second: Cloud, admin: Cloud) -> None:
    quota(admin, c, "volume", "volumes", ROOM)

    def create(n: int) -> Answer:
        volume = {"name": f"race-{n}", "size": 1, "availability_zone": ("paris", "tokyo")[n % 2]}
        return (c, second)[n // 2 % 2]("volume", "POST", "/volumes", {"volume": volume}, version="3.60", timeout=120)

    away(c, "volume", "volume", exactly(at_once(create), refused=413), "volumes")


def test_servers_with_a_site_away(c: Cloud, admin: Cloud, image: str) -> None:
    """What the silent site holds is still counted: the ledger is the hub's, not the sites'."""
    quota(admin, c, "compute", "instances", ROOM)
    subprocess.run([LAB, "freeze", "tokyo"], check=True, capture_output=True, timeout=300)
    try:
        accepted = exactly(boots([c], image, ("paris",)))
    finally:
        subprocess.run([LAB, "thaw", "tokyo"], check=True, capture_output=True, timeout=300)
    away(c, "compute", "server", accepted, "instances")


def test_deleted_at_the_site(c: Cloud, clouds: dict[str, Cloud], admin: Cloud, image: str) -> None:
    """Its owner's hand, past us: found, and its room is given back."""
    server = {"name": "drift", "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": "paris"}
    made = c("compute", "POST", "/servers", {"server": server}, version="2.60").json()["server"]["id"]
    c.until("compute", f"/servers/{made}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    before = used(c, "compute", "instances")
    assert clouds["paris-admin"]("compute", "DELETE", f"/servers/{made}").status == 204
    soon(lambda: used(c, "compute", "instances") == before - 1, 90)
    assert c("compute", "GET", f"/servers/{made}").status == 404


def test_below_what_is_used(c: Cloud, admin: Cloud, image: str) -> None:
    server = {"name": "below", "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": "tokyo"}
    made = c("compute", "POST", "/servers", {"server": server}, version="2.60").json()["server"]["id"]
    c.until("compute", f"/servers/{made}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    path, now = f"/os-quota-sets/{c.project_id}", used(c, "compute", "instances")
    refused = admin("compute", "PUT", path, {"quota_set": {"instances": now - 1}})
    assert refused.status == 400 and "must be greater than or equal to already used" in refused.json()["badRequest"]["message"]
    forced = admin("compute", "PUT", path, {"quota_set": {"instances": now - 1, "force": True}})
    assert forced.status == 200, forced.body
    limits = c("compute", "GET", "/limits").json()["limits"]["absolute"]
    assert (limits["maxTotalInstances"], limits["totalInstancesUsed"]) == (now - 1, now)
    assert c("compute", "DELETE", f"/servers/{made}").status == 204
    c.until("compute", f"/servers/{made}", lambda a: a.status == 404)

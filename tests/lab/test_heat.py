"""Heat, unmodified, at the hub: stacks over sites. ``bin/lab up --with heat`` brings it up."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.addons import heat as engine
from lab.paths import State
from tests.lab import heat
from tests.lab.conftest import STATE
from tests.lab.heat import Stack
from tests.lab.rest import Cloud, raw

Make = Callable[..., Stack]
LIFE = 45.0
"""Seconds for which a token is good that has to expire while its stack lives on."""
EXAMPLE, SIGNALS, SCALING, ALARM = "two-zones.yaml", "signals.yaml", "scaling.yaml", "alarm.yaml"


def fresh(cloud: Cloud) -> Cloud:
    """The same account with a token of its own, which may be revoked without harm to others."""
    return replace(cloud, token=Cloud(cloud.name, cloud.auth, cloud.region).login().token)


@pytest.fixture(scope="module", autouse=True)
def _heat_is_up(clouds: dict[str, Cloud]) -> None:
    demo = clouds["cascade"].login()
    if "orchestration" not in demo.endpoints or demo("orchestration", "GET", "/stacks").status != 200:
        pytest.skip("Heat is not up (bin/lab up --with heat)")


@pytest.fixture(scope="module")
def image(clouds: dict[str, Cloud]) -> Iterator[str]:
    """An image's id."""
    demo = clouds["cascade"]
    wish = {"name": "heat", "disk_format": "raw", "container_format": "bare"}
    ident = demo("image", "POST", "/v2/images", wish).json()["id"]
    octets = {"Content-Type": "application/octet-stream"}
    assert demo("image", "PUT", f"/v2/images/{ident}/file", b"\0" * 4096, headers=octets).status == 204
    yield ident
    demo("image", "DELETE", f"/v2/images/{ident}")


@pytest.fixture(scope="module")
def key() -> str:
    """A public key."""
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


@pytest.fixture
def make(clouds: dict[str, Cloud], image: str) -> Iterator[Make]:
    """Begin stacks; at the end they are deleted, and nothing of them may stay at the hub or in a site."""
    made: list[Stack] = []

    def begin(template: str | dict[str, Any], owner: Cloud | None = None, **more: Any) -> Stack:
        """Of a template, or of what another stack has left."""
        owner, name = owner or fresh(clouds["cascade"]), f"heat-{uuid.uuid4().hex[:8]}"
        if isinstance(template, dict):
            made.append(heat.adopt(owner, name, template))
        else:
            parameters = {"image": image} if template in (EXAMPLE, SIGNALS, SCALING, ALARM) else {}
            made.append(heat.create(owner, name, template, **parameters, **more))
        return made[-1]

    yield begin
    for stack in made:
        if stack.call("GET").status == 200:
            stack.resources()
        stack.delete()
    assert [row for stack in made for row in heat.left(stack, clouds)] == []


def test_one_stack_over_two_zones(make: Make, key: str, image: str) -> None:
    """Its life: made, looked after, changed in place and by replacement, suspended and resumed."""
    stack = make(EXAMPLE, public_key=key)
    stack.ended("CREATE_COMPLETE")
    assert (stack.zone("web"), stack.zone("database")) == ("paris", "tokyo")
    assert stack.zone("worker") in ("paris", "tokyo")
    found = stack.outputs()
    assert len(set(found["addresses"].values())) == 3
    stack.cloud.until(
        "compute", f"/servers/{stack.id_of('web')}/ips", lambda got: found["outside"] in got.body.decode(), seconds=30
    )
    assert [v["id"] for v in stack.server("database")["os-extended-volumes:volumes_attached"]] == [stack.id_of("data")]
    stack.act("check", "CHECK_COMPLETE")
    stack.act("suspend", "SUSPEND_COMPLETE")
    assert {stack.server(n)["status"] for n in ("web", "database", "worker")} == {"SUSPENDED"}
    stack.act("resume", "RESUME_COMPLETE")
    assert {stack.server(n)["status"] for n in ("web", "database", "worker")} == {"ACTIVE"}

    same = {"image": image, "public_key": key}
    before = {n: stack.id_of(n) for n in ("web", "database", "network")}
    stack.update(EXAMPLE, flavor="m1.micro", **same)
    assert {n: stack.id_of(n) for n in before} == before
    assert stack.cloud("compute", "GET", f"/servers/{before['web']}", version="2.47").json()["server"]["flavor"]["ram"] == 192
    stack.update(EXAMPLE, flavor="m1.micro", zones="tokyo,paris", **same)
    assert (stack.zone("web"), stack.zone("database")) == ("tokyo", "paris")
    assert stack.id_of("web") != before["web"] and stack.id_of("network") == before["network"]
    assert [v["id"] for v in stack.server("database")["os-extended-volumes:volumes_attached"]] == [stack.id_of("data")]


def test_abandoned_and_adopted(make: Make, key: str, image: str) -> None:
    """Servers, volume and networks in both zones stay as they are; another stack takes them over, changes and deletes them."""
    # A server whose user data names a SoftwareConfig has a user of its stack, whom Heat does not let another stack delete.
    template = (heat.TEMPLATES / EXAMPLE).read_text().replace("SOFTWARE_CONFIG", "RAW")
    one = make(template, image=image, public_key=key)
    one.ended("CREATE_COMPLETE")
    ids, names = one.ids(), ("web", "database", "worker")
    before = {name: _known(one.cloud, ids[name]) for name in names}
    with engine.adopting(State(STATE)):
        left = one.abandon()
        one.cloud.until("orchestration", "/stacks", lambda got: one.id not in got.body.decode(), seconds=30)
        assert {name: _known(one.cloud, ids[name]) for name in names} == before
        two = make(left)
        two.ended("ADOPT_COMPLETE")
    assert two.ids() == ids
    assert {name: _known(two.cloud, ids[name]) for name in names} == before
    two.act("check", "CHECK_COMPLETE")
    two.update(template, flavor="m1.micro", image=image, public_key=key)
    assert {name: two.id_of(name) for name in names} == {name: ids[name] for name in names}
    assert [v["id"] for v in two.server("database")["os-extended-volumes:volumes_attached"]] == [ids["data"]]


def test_an_update_that_fails_is_rolled_back(make: Make, key: str, image: str) -> None:
    """Servers go to the other zone, a volume is larger than any quota: all is as it was."""
    stack = make(EXAMPLE, public_key=key)
    stack.ended("CREATE_COMPLETE")
    given = {"image": image, "public_key": key}
    stack.update(EXAMPLE, "ROLLBACK_COMPLETE", zones="tokyo,paris", database_size=100000, **given)
    assert (stack.zone("web"), stack.zone("database")) == ("paris", "tokyo")
    assert [v["id"] for v in stack.server("database")["os-extended-volumes:volumes_attached"]] == [stack.id_of("data")]


def test_a_create_that_fails_is_rolled_back(make: Make) -> None:
    """What was made before the failure goes again."""
    stack = make(
        """
heat_template_version: 2021-04-16
resources:
  network: {type: OS::Neutron::Net}
  volume: {type: OS::Cinder::Volume, properties: {size: 1, availability_zone: tokyo}}
  toomuch: {type: OS::Cinder::Volume, depends_on: volume, properties: {size: 100000}}
""",
        rollback=True,
    )
    time.sleep(2)
    stack.resources()
    stack.ended("ROLLBACK_COMPLETE")


def test_signals(make: Make) -> None:
    """By a token of the stack's own user, and by a signed address, while its owner's token is long gone."""
    stack = make(SIGNALS)
    stack.cloud.until("orchestration", f"/stacks/{stack.name}/{stack.id}/resources/first", _complete, seconds=120)
    found = stack.outputs()
    owner = stack.cloud
    assert owner("identity", "DELETE", "/auth/tokens", headers={"X-Subject-Token": owner.token}).status == 204
    headers = {"X-Auth-Token": found["token"], "Content-Type": "application/json"}
    assert raw(found["endpoint"], "POST", body=b'{"status": "SUCCESS"}', headers=headers).status == 200
    stack.cloud = owner = fresh(owner)
    owner.until("orchestration", f"/stacks/{stack.name}/{stack.id}/resources/ready", _complete, seconds=60)
    words = {"Status": "SUCCESS", "Reason": "done", "UniqueId": "1", "Data": "d"}
    plain = {"Content-Type": "application/json"}
    assert raw(found["signed_url"], "PUT", body=json.dumps(words).encode(), headers=plain).status == 200
    stack.ended("CREATE_COMPLETE")
    assert (stack.zone("first"), stack.zone("second")) == ("paris", "tokyo")


@pytest.mark.parametrize("zone", ["paris", "tokyo"])
def test_a_group_grows_by_its_owners_trust(make: Make, clouds: dict[str, Cloud], zone: str) -> None:
    """Nested stacks with volumes and deployments; the owner's token has expired, and the call that makes the group grow bears
    none at all."""
    owner = heat.expiring(fresh(clouds["cascade"]), State(STATE), LIFE)
    stack = make(SCALING, owner, zone=zone)
    stack.cloud = fresh(owner)
    stack.ended("CREATE_COMPLETE")
    owner.until("orchestration", "/stacks", lambda got: got.status == 401, seconds=LIFE + 10)
    assert raw(stack.outputs()["grow_url"], "POST").status == 200

    end = time.monotonic() + 90
    while len(members := _members(stack)) < 2:
        assert time.monotonic() < end, stack.reasons()
        time.sleep(1)
    assert {_known(stack.cloud, ident)["OS-EXT-AZ:availability_zone"] for ident in members} == {zone}


@pytest.mark.parametrize("zone", ["paris", "tokyo"])
def test_a_group_follows_alarms(make: Make, clouds: dict[str, Cloud], zone: str) -> None:
    """Measures in the site's Gnocchi raise an alarm of the hub's Aodh, which has the group grow, and another has it shrink."""
    demo = clouds["cascade"].login()
    if not {"alarming", "metric"} <= set(demo.endpoints) or demo("alarming", "GET", "/v2/alarms").status != 200:
        pytest.skip("Aodh is not up (bin/lab up --with metering,aodh)")
    meter = heat.Meter.at(clouds, zone, "cpu_util")
    stack = make(ALARM, zone=zone, granularity=heat.GRANULARITY)
    try:
        stack.ended("CREATE_COMPLETE")
        for value, size in ((95.0, 2), (1.0, 1)):
            end = time.monotonic() + 150
            while len(members := _members(stack)) != size:
                assert time.monotonic() < end, (value, stack.reasons(), demo("alarming", "GET", "/v2/alarms").json())
                meter.write(_at_site(clouds[f"{zone}-admin"], stack), value)
                time.sleep(3)
            assert {_known(stack.cloud, i)["OS-EXT-AZ:availability_zone"] for i in members} == {zone}
    finally:
        meter.forget()


def _at_site(site: Cloud, stack: Stack) -> list[dict[str, Any]]:
    """The servers of a stack as their site shows them."""
    rows = site("compute", "GET", "/servers/detail", all_tenants=1).json()["servers"]
    return [row for row in rows if row["metadata"].get("metering.server_group") == stack.id]


def _members(stack: Stack) -> list[str]:
    """The servers of a group that are complete."""
    return [
        row["physical_resource_id"]
        for row in stack.resources().values()
        if row["resource_type"] == "OS::Nova::Server" and row["resource_status"] == "CREATE_COMPLETE"
    ]


def _known(cloud: Cloud, server: str) -> dict[str, Any]:
    """What of a server stays the same as long as nobody touches it."""
    shown = cloud("compute", "GET", f"/servers/{server}").json()["server"]
    return {key: shown[key] for key in ("id", "status", "created", "hostId", "flavor", "OS-EXT-AZ:availability_zone")}


def _complete(got: Any) -> bool:
    return bool(got.status == 200 and got.json()["resource"]["resource_status"] == "CREATE_COMPLETE")

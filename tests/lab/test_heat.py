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

from tests.lab import heat
from tests.lab.heat import Stack
from tests.lab.rest import Cloud, raw

Make = Callable[..., Stack]
EXAMPLE, SIGNALS, SCALING = "two-zones.yaml", "signals.yaml", "scaling.yaml"


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

    def begin(template: str, **more: Any) -> Stack:
        parameters = {"image": image} if template in (EXAMPLE, SIGNALS, SCALING) else {}
        stack = heat.create(fresh(clouds["cascade"]), f"heat-{uuid.uuid4().hex[:8]}", template, **parameters, **more)
        made.append(stack)
        return stack

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
def test_a_group_grows_by_its_owners_trust(make: Make, zone: str) -> None:
    """Nested stacks with volumes and deployments; the call that makes the group grow bears no token at all."""
    stack = make(SCALING, zone=zone)
    stack.ended("CREATE_COMPLETE")
    owner = stack.cloud
    url = stack.outputs()["grow_url"]
    owner("identity", "DELETE", "/auth/tokens", headers={"X-Subject-Token": owner.token})
    assert raw(url, "POST").status == 200
    stack.cloud = fresh(owner)

    def members() -> list[str]:
        rows = stack.resources().values()
        return [
            r["physical_resource_id"]
            for r in rows
            if r["resource_type"] == "OS::Nova::Server" and r["resource_status"] == "CREATE_COMPLETE"
        ]

    end = time.monotonic() + 90
    while len(members()) < 2:
        assert time.monotonic() < end, stack.reasons()
        time.sleep(1)
    zones = {stack.cloud("compute", "GET", f"/servers/{i}").json()["server"]["OS-EXT-AZ:availability_zone"] for i in members()}
    assert zones == {zone}


def _complete(got: Any) -> bool:
    return bool(got.status == 200 and got.json()["resource"]["resource_status"] == "CREATE_COMPLETE")

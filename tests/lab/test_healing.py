"""An alarm's ``trust+heat`` action: real Aodh heals a group of a real Heat, by the trust of the alarm's owner.

Only Octavia's pools are watched by alarms that have it, and the lab has no Octavia. So the test says what the evaluator would have
said, with Aodh's own code on Aodh's own bus; from there on it is the lab's notifier, Heat and Cascade.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.addons import kind
from lab.paths import State
from lab.shell import run
from tests.lab import heat
from tests.lab.conftest import STATE, _up
from tests.lab.heat import Stack
from tests.lab.rest import Cloud

SECONDS = 240
SAID = """
import json, sys
from aodh import queue, service, storage
conf = service.prepare_service([])
(alarm,) = storage.get_connection_from_config(conf).get_alarms(alarm_id=sys.argv[1])
alarm.state = "alarm"
queue.AlarmNotifier(conf).notify(alarm, "ok", "a member of the pool does not answer", json.loads(sys.argv[2]))
"""
pytestmark = pytest.mark.skipif(not _up(kind.port("aodh-api")), reason="aodh is not up (bin/lab up --with aodh,heat)")


@pytest.fixture
def stack(clouds: dict[str, Cloud], request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A group of one server with its volume, in the zone that is asked for."""
    demo = clouds["cascade"].login()
    if "orchestration" not in demo.endpoints or demo("orchestration", "GET", "/stacks").status != 200:
        pytest.skip("Heat is not up (bin/lab up --with heat)")
    wish = {"name": "healing", "disk_format": "raw", "container_format": "bare"}
    image = demo("image", "POST", "/v2/images", wish).json()["id"]
    octets = {"Content-Type": "application/octet-stream"}
    assert demo("image", "PUT", f"/v2/images/{image}/file", b"\0" * 4096, headers=octets).status == 204
    made = heat.create(demo, f"healing-{uuid.uuid4().hex[:8]}", "scaling.yaml", image=image, zone=request.param)
    try:
        made.ended("CREATE_COMPLETE")
        yield made
    finally:
        made.resources()
        made.delete()
        demo("image", "DELETE", f"/v2/images/{image}")
    assert heat.left(made, clouds) == []


@pytest.mark.parametrize("stack", ["paris", "tokyo"], indirect=True)
def test_a_member_that_does_not_answer_is_replaced(stack: Stack) -> None:
    """The token the alarm was made with is revoked; the trust that Aodh made then is enough, and goes with the alarm."""
    demo = stack.cloud
    owner = replace(demo, token=Cloud(demo.name, demo.auth, demo.region).login().token)
    group, (before,) = stack.id_of("group"), _servers(stack)
    zone = stack.cloud("compute", "GET", f"/servers/{before}").json()["server"]["OS-EXT-AZ:availability_zone"]
    rule = {"pool_id": uuid.uuid4().hex, "stack_id": stack.id, "autoscaling_group_id": group}
    alarm = {"name": stack.name, "type": "loadbalancer_member_health", "loadbalancer_member_health_rule": rule}
    others = _trusts(demo)
    got = owner("alarming", "POST", "/v2/alarms", {**alarm, "alarm_actions": ["trust+heat://"]})
    assert got.status == 201, got.body
    ident = got.json()["alarm_id"]
    assert "@" not in got.json()["alarm_actions"][0]  # nobody is shown the trust
    assert owner("identity", "DELETE", "/auth/tokens", headers={"X-Subject-Token": owner.token}).status == 204
    (trust,) = _trusts(demo) - others
    try:
        _say(ident, {"unhealthy_members": [{"id": before}], "stack_id": stack.id, "asg_id": group})
        end = time.monotonic() + SECONDS
        while not (now := set(_servers(stack)) - {before}):
            assert time.monotonic() < end, stack.reasons()
            time.sleep(2)
        stack.ended("UPDATE_COMPLETE")
        (one,) = now
        assert demo("compute", "GET", f"/servers/{one}").json()["server"]["OS-EXT-AZ:availability_zone"] == zone
        assert demo("compute", "GET", f"/servers/{before}").status == 404
    finally:
        assert demo("alarming", "DELETE", f"/v2/alarms/{ident}").status == 204
    assert trust not in _trusts(demo)


def _servers(stack: Stack) -> list[str]:
    """The servers of the group that are complete."""
    return [
        row["physical_resource_id"]
        for row in stack.resources().values()
        if row["resource_type"] == "OS::Nova::Server" and row["resource_status"] == "CREATE_COMPLETE"
    ]


def _trusts(cloud: Cloud) -> set[str]:
    rows = cloud("identity", "GET", "/OS-TRUST/trusts", trustor_user_id=cloud.user_id).json()["trusts"]
    return {row["id"] for row in rows}


def _say(alarm: str, reason: dict[str, object]) -> None:
    """Have the notifier told about an alarm."""
    state = State(STATE)
    python, home = kind.venv(state, "aodh") / "bin" / "python", kind.place(state, "aodh").etc
    run([python, "-W", "ignore", "-c", SAID, alarm, json.dumps(reason)], env={"HOME": str(home)})

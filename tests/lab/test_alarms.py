"""Real Aodh before the gateway: alarms on measures of servers in several sites, and what they set off."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lab.addons import kind
from tests.lab.conftest import _up
from tests.lab.metering import MISSING, RUNS, ZONES, boot, ceilometer, image, metric, own, wait
from tests.lab.rest import Cloud

RUN = uuid.uuid4().hex[:8]
POLICY = "cascade-alarms"
LOAD = {"paris": 10.0, "tokyo": 50.0}
"""Zone -> what its server is measured at: together 30, alone on different sides of it."""
QUIET = -1000.0
"""So low that a minute's mean is negative, whatever was measured before in it."""
SECONDS = 90
pytestmark = [
    pytest.mark.skipif(not RUNS, reason=MISSING),
    pytest.mark.skipif(not _up(kind.port("aodh-api")), reason="aodh is not up (bin/lab up --with metering,aodh)"),
]


@dataclass
class Measured:
    """A server per zone, with a metric that its site's Ceilometer made; the value now is ``load``."""

    writers: dict[str, Cloud]
    servers: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    load: dict[str, float] = field(default_factory=lambda: dict(LOAD))

    def write(self) -> None:
        """A measure of now for each."""
        for zone, writer in self.writers.items():
            point = [{"timestamp": time.time(), "value": self.load[zone]}]
            assert metric(writer, "POST", f"/v1/metric/{self.metrics[zone]}/measures", point).status == 202


@pytest.fixture(scope="module")
def measured(clouds: dict[str, Cloud]) -> Iterator[Measured]:
    c, admin = clouds["cascade"], clouds["cascade-admin"]
    policy = {"name": POLICY, "definition": [{"granularity": "0:01:00", "points": 60}], "aggregation_methods": ["mean"]}
    assert metric(admin, "POST", "/v1/archive_policy", policy).status in (201, 409)
    used = image(c)
    m = Measured({zone: ceilometer(clouds[f"{zone}-admin"]) for zone in ZONES})
    m.servers = {zone: boot(c, zone, f"alarms-{RUN}-{zone}", used) for zone in ZONES}
    for zone, ident in m.servers.items():
        c.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        there = own(clouds[f"{zone}-admin"], f"alarms-{RUN}-{zone}")
        resource = {"id": there["id"], "project_id": there["tenant_id"]}
        made = metric(m.writers[zone], "POST", "/v1/resource/generic", resource)
        assert made.status in (201, 409), made.body  # Ceilometer itself may have been quicker
        added = {"load": {"archive_policy_name": POLICY}}
        path = f"/v1/resource/generic/{there['id']}/metric"
        assert metric(m.writers[zone], "POST", path, added).status == 200
        m.metrics[zone] = metric(m.writers[zone], "GET", f"{path}/load").json()["id"]
    yield m
    for ident in m.servers.values():
        metric(admin, "DELETE", f"/v1/resource/generic/{ident}")
        c("compute", "DELETE", f"/servers/{ident}")
    c("image", "DELETE", f"/v2/images/{used}")
    metric(admin, "DELETE", f"/v1/archive_policy/{POLICY}")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[tuple[dict[str, str], dict[str, Any]]]]]:
    """``host:port/path`` of a small server, and what it got: (headers, document)."""
    got: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(({k.lower(): v for k, v in self.headers.items()}, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not a word."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/alarm", got
    server.shutdown()
    server.server_close()


def alarm(c: Cloud, kind: str, rule: dict[str, Any], **more: Any) -> str:
    """An alarm on the mean of a minute."""
    whole = {"aggregation_method": "mean", "granularity": 60, "evaluation_periods": 1, "comparison_operator": "gt", **rule}
    got = c(
        "alarming", "POST", "/v2/alarms", {"name": f"{kind}-{uuid.uuid4().hex[:8]}", "type": kind, f"{kind}_rule": whole, **more}
    )
    assert got.status == 201, got.body
    return str(got.json()["alarm_id"])


def becomes(c: Cloud, m: Measured, ident: str, state: str) -> dict[str, Any]:
    """Measure on until an alarm is in a state."""

    end = time.monotonic() + SECONDS
    while True:
        m.write()
        shown: dict[str, Any] = c("alarming", "GET", f"/v2/alarms/{ident}").json()
        if shown["state"] == state:
            return shown
        assert time.monotonic() < end, (state, shown["state"], shown["state_reason"])
        time.sleep(2)


def test_an_alarm_over_sites_follows_their_mean_and_calls(
    demo: Cloud, admin: Cloud, measured: Measured, webhook: tuple[str, list[tuple[dict[str, str], dict[str, Any]]]]
) -> None:
    """The mean of both servers is 30, and no server's alone. Then both go quiet."""
    where, got = webhook
    query = {"and": [{"=": {"ended_at": None}}, {"in": {"id": list(measured.servers.values())}}]}
    rule = {
        "metric": "load",
        "resource_type": "generic",
        "query": json.dumps(query),
        "threshold": 30.0,
        "comparison_operator": "eq",
    }
    trusted = f"trust+http://{where}"

    def called(state: str) -> tuple[dict[str, str], dict[str, Any]]:
        return next(one for one in wait(f"no call: {state}", lambda: [o for o in got if o[1]["current"] == state], 30))

    kind = "gnocchi_aggregation_by_resources_threshold"
    ident = alarm(demo, kind, rule | {"comparison_operator": "eq"}, alarm_actions=[trusted], ok_actions=[f"http://{where}"])
    try:
        becomes(demo, measured, ident, "alarm")
        headers, told = called("alarm")
        assert (told["alarm_id"], told["reason_data"]["most_recent"]) == (ident, 30.0)
        token = headers["x-auth-token"]  # of the trust that Aodh made: it acts as the tenant, in any site
        seen = admin("identity", "GET", "/auth/tokens", headers={"X-Subject-Token": token}).json()["token"]
        assert (seen["user"]["id"], seen["project"]["id"]) == (demo.user_id, demo.project_id) and "OS-TRUST:trust" in seen
        for server in measured.servers.values():
            assert demo("compute", "GET", f"/servers/{server}", token=token).status == 200
        got.clear()
        measured.load = dict.fromkeys(ZONES, QUIET)
        becomes(demo, measured, ident, "ok")
        headers, told = called("ok")
        assert told["previous"] == "alarm" and "x-auth-token" not in headers
        history = demo("alarming", "GET", f"/v2/alarms/{ident}/history").json()
        assert [h["type"] for h in history].count("state transition") >= 2
    finally:
        measured.load = dict(LOAD)
        assert demo("alarming", "DELETE", f"/v2/alarms/{ident}").status == 204


def test_alarms_on_one_server_and_on_metrics_by_id(demo: Cloud, measured: Measured) -> None:
    """Each is evaluated where its server is. Of metrics by id Aodh 23 can name one alone: Gnocchi refuses two."""
    wanted: dict[str, str] = {}
    for zone in ZONES:
        state = "alarm" if LOAD[zone] > 25 else "ok"
        rule = {"metric": "load", "resource_type": "generic", "resource_id": measured.servers[zone], "threshold": 25.0}
        wanted[alarm(demo, "gnocchi_resources_threshold", rule)] = state
        rule = {"metrics": [measured.metrics[zone]], "threshold": 25.0}
        wanted[alarm(demo, "gnocchi_aggregation_by_metrics_threshold", rule)] = state
    try:
        time.sleep(61 - time.time() % 60)  # a minute in which nothing else was measured
        for ident, state in wanted.items():
            becomes(demo, measured, ident, state)
    finally:
        for ident in wanted:
            demo("alarming", "DELETE", f"/v2/alarms/{ident}")


def test_another_tenants_servers_set_off_nothing(clouds: dict[str, Cloud], measured: Measured) -> None:
    other = clouds["cascade-other"]
    query = json.dumps({"in": {"id": list(measured.servers.values())}})
    rule = {"metric": "load", "resource_type": "generic", "query": query, "threshold": -1e6}
    ident = alarm(other, "gnocchi_aggregation_by_resources_threshold", rule)
    try:
        end = time.monotonic() + 15  # three evaluations
        while time.monotonic() < end:
            measured.write()
            assert other("alarming", "GET", f"/v2/alarms/{ident}").json()["state"] == "insufficient data"
            time.sleep(3)
        assert ident not in {a["alarm_id"] for a in clouds["cascade"]("alarming", "GET", "/v2/alarms").json()}
    finally:
        other("alarming", "DELETE", f"/v2/alarms/{ident}")

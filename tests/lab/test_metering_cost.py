"""What /metric costs: the calls of every row of the table in docs/metering.md, counted between a gateway and two real Gnocchis."""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lab.addons import metering
from lab.data import SITES
from tests.lab.conftest import STATE
from tests.lab.gateway import Gateway
from tests.lab.metering import MISSING, RUNS, ZONES, metric, wait
from tests.lab.rest import Cloud

pytestmark = pytest.mark.skipif(not RUNS, reason=MISSING)
PORT = 19110
POLICY = f"cost-{uuid.uuid4().hex[:8]}"
START = 1_790_000_400
S = len(ZONES)
TOGETHER = 10.0
"""Seconds in which calls that are made at once have all come."""


class Between:
    """Stands before a site's Gnocchi and writes down what it is asked. ``meeting``: calls wait there for each other."""

    def __init__(self, site: str) -> None:
        self.seen: list[str] = []
        self.meeting: threading.Barrier | None = None
        real, between = urlsplit(metering.url(SITES[site])).netloc, self

        class Pass(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                between.seen.append(f"{self.command} {self.path}")
                if between.meeting is not None:
                    between.meeting.wait(TOGETHER)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                onward = http.client.HTTPConnection(real, timeout=60)
                onward.request(self.command, self.path, body, dict(self.headers.items()))
                got = onward.getresponse()
                said = got.read()
                self.send_response(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
                onward.close()

            do_POST = do_PATCH = do_DELETE = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Not a word."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What the gateway takes for the Gnocchi."""
        return f"http://127.0.0.1:{self.server.server_port}"


class Rig:
    """The gateway, its sites, and a resource with a metric in each of them that it has not seen yet."""

    def __init__(self, gateway: Gateway, between: dict[str, Between], demo: Cloud, admin: Cloud) -> None:
        self.gateway, self.between, self.demo, self.admin = gateway, between, demo, admin
        self.volumes = {zone: self._volume(zone) for zone in ZONES}
        self.metrics: dict[str, str] = {}
        self.made: list[str] = []

    def _volume(self, zone: str) -> str:
        """By which the project is known in a site."""
        made = self.demo("volume", "POST", "/volumes", {"volume": {"size": 1, "availability_zone": zone}}).json()["volume"]["id"]
        self.demo.until("volume", f"/volumes/{made}", lambda a: a.json()["volume"]["status"] == "available")
        return str(made)

    def resource(self) -> tuple[str, str]:
        """``(resource, metric)`` at the project's home site, new."""
        body = {"id": str(uuid.uuid4()), "metrics": {"load": {"archive_policy_name": POLICY}}}
        made = metric(self.demo, "POST", "/v1/resource/generic", body)
        assert made.status == 201, made.body
        self.made.append(made.json()["id"])
        return made.json()["id"], made.json()["metrics"]["load"]

    def meet(self, meeting: threading.Barrier | None) -> None:
        """From now on calls wait until they are all there."""
        for one in self.between.values():
            one.meeting = meeting

    def calls(self, c: Cloud, method: str, path: str, body: Any = None, *, ok: int = 200, **params: Any) -> list[str]:
        """What the sites were asked for one request."""
        for one in self.between.values():
            one.seen.clear()
        got = metric(c, method, path, body, **params)
        assert got.status == ok, (path, got.status, got.body)
        self.got = got
        return [f"{site}: {call}" for site, one in self.between.items() for call in one.seen]


@pytest.fixture(scope="module")
def r(clouds: dict[str, Cloud], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    home = tmp_path_factory.mktemp("cost")
    between = {zone: Between(zone) for zone in ZONES}
    known = yaml.safe_load((STATE / "clouds.yaml").read_text())
    for zone, one in between.items():
        known["clouds"][zone]["metric_endpoint_override"] = one.url
    (home / "clouds.yaml").write_text(yaml.safe_dump(known))
    gateway = Gateway(home, STATE, PORT, clouds=Path(home / "clouds.yaml")).start()
    try:
        admin = gateway.cloud(clouds["cascade-admin"])
        gateway.join(admin, *ZONES)
        rig = Rig(gateway, between, gateway.cloud(clouds["cascade"]), admin)
        policy = {"name": POLICY, "definition": [{"granularity": "0:01:00", "points": 60}]}
        assert metric(admin, "POST", "/v1/archive_policy", policy).status == 201
        for zone, volume in rig.volumes.items():
            path, load = f"/v1/resource/generic/{volume}", {"load": {"archive_policy_name": POLICY}}
            made = metric(admin, "POST", "/v1/resource/generic", {"id": volume, "project_id": rig.demo.project_id})
            assert made.status in (201, 409), made.body  # Ceilometer may have been quicker
            assert metric(admin, "POST", f"{path}/metric", load).status == 200
            rig.metrics[zone] = metric(rig.demo, "GET", f"{path}/metric/load").json()["id"]
        yield rig
        for ident in (*rig.made, *rig.volumes.values()):
            metric(admin, "DELETE", f"/v1/resource/generic/{ident}")
        for volume in rig.volumes.values():
            rig.demo("volume", "DELETE", f"/volumes/{volume}")
        # metricd takes the metrics away, and until then they use it
        wait("the policy is still used", lambda: metric(admin, "DELETE", f"/v1/archive_policy/{POLICY}").status == 204)
    finally:
        gateway.stop()
        for one in between.values():
            one.server.shutdown()
            one.server.server_close()


def test_what_is_known_is_asked_of_its_site_alone(r: Rig) -> None:
    """At first sight every site is asked, and then the one that has it."""
    resource, measured = r.resource()
    for path in (f"/v1/resource/generic/{resource}", f"/v1/metric/{measured}", f"/v1/metric/{measured}/measures"):
        first, then = r.calls(r.demo, "GET", path), r.calls(r.demo, "GET", path)
        assert (len(first), len(then)) == (1 if path.endswith("/measures") else S + 1, 1), (first, then)


def test_lists_and_searches_ask_each_site_once(r: Rig) -> None:
    for c in (r.demo, r.admin):
        assert len(r.calls(c, "GET", "/v1/resource/generic")) == S
        assert len(r.calls(c, "POST", "/v1/search/resource/generic", {"=": {"id": r.volumes["paris"]}})) == S
    assert len(r.calls(r.demo, "GET", "/v1/metric")) == S
    assert len(r.calls(r.admin, "GET", "/v1/metric")) <= 2 * S  # whose a metric is, its resource says


def test_a_page_after_a_marker_finds_the_markers_row_first(r: Rig) -> None:
    r.calls(r.demo, "GET", "/v1/resource/generic", sort="id:asc", limit=1)
    marker = r.got.json()[0]["id"]
    calls = r.calls(r.demo, "GET", "/v1/resource/generic", sort="id:asc", limit=1, marker=marker)
    looked = [c for c in calls if c.partition("?")[0].endswith(marker)]
    assert 1 <= len(looked) <= S and len(calls) - len(looked) >= S
    # the other sites are read from their beginning, a page of one row at a time here
    assert {c.split()[0] for c in calls if c not in looked} == {f"{zone}:" for zone in ZONES}


def test_pages_of_histories_look_for_numbers(r: Rig) -> None:
    resource, _ = r.resource()
    for user in ("a", "b"):
        assert metric(r.demo, "PATCH", f"/v1/resource/generic/{resource}", {"user_id": user}).status == 200
    search, order = {"=": {"id": resource}}, {"history": "true", "sort": "revision_start:asc", "limit": 1}
    calls = r.calls(r.demo, "POST", "/v1/search/resource/generic", search, **order)
    assert len(calls) == S + 2, calls
    marker = r.got.headers["link"].partition("marker=")[2].partition("&")[0].replace("%40", "@")
    calls = r.calls(r.demo, "POST", "/v1/search/resource/generic", search, **order, marker=marker)
    looked = [c for c in calls if "GET" in c and "/history" not in c]
    assert 1 <= len(looked) <= S and len(calls) == len(looked) + 2 + S + 2, calls


def test_a_batch_goes_to_each_site_once(r: Rig) -> None:
    point = [{"timestamp": START, "value": 1.0}]
    seen = dict.fromkeys(r.metrics.values(), point)
    for ident in seen:
        r.calls(r.admin, "GET", f"/v1/metric/{ident}")
    assert len(r.calls(r.admin, "POST", "/v1/batch/metrics/measures", seen, ok=202)) == S
    news = [r.resource()[1] for _ in range(3)]
    calls = r.calls(r.demo, "POST", "/v1/batch/metrics/measures", dict.fromkeys(news, point), ok=202)
    assert len(calls) == 3 * S + 1, calls


PARTS = [("sum", 1), ("count", 1), ("min", 1), ("max", 1), ("mean", 2), ("var", 3), ("std", 3)]


@pytest.mark.parametrize(("how", "each"), PARTS)
def test_an_aggregate_asks_each_site_for_its_parts(r: Rig, how: str, each: int) -> None:
    search = {"in": {"id": list(r.volumes.values())}}
    body = {"operations": f"(aggregate {how} (metric load mean))", "resource_type": "generic", "search": search}
    assert len(r.calls(r.demo, "POST", "/v1/aggregates", body)) == each * S


def test_the_rest_asks_one_site_or_each_once(r: Rig) -> None:
    alone: list[tuple[Cloud, str, str, Any, int]] = [
        (r.demo, "GET", "/v1/archive_policy", None, 200),
        (r.demo, "GET", "/v1/resource_type/generic", None, 200),
        (r.demo, "POST", "/v1/resource/generic", {}, 400),
    ]
    for c, method, path, body, ok in alone:
        assert len(r.calls(c, method, path, body, ok=ok)) == 1, path
    rule = {"name": POLICY, "metric_pattern": POLICY, "archive_policy_name": POLICY}
    each: list[tuple[Cloud, str, str, Any, int]] = [
        (r.admin, "GET", "/v1/status", None, 200),
        (r.demo, "GET", "/v1/capabilities", None, 200),
        (r.admin, "POST", "/v1/archive_policy_rule", rule, 201),
        (r.admin, "DELETE", f"/v1/archive_policy_rule/{POLICY}", None, 204),
        (r.demo, "DELETE", "/v1/resource/generic", {"=": {"id": str(uuid.uuid4())}}, 200),
    ]
    for c, method, path, body, ok in each:
        assert len(calls := r.calls(c, method, path, body, ok=ok)) == S, (path, calls)


def test_sites_are_asked_at_once(r: Rig) -> None:
    """Each call waits until every site has its own: one after the other, none would ever be answered."""
    parts: list[tuple[str, str, Any, int]] = [
        ("GET", "/v1/resource/generic", None, S),
        ("POST", "/v1/aggregates", {"operations": "(aggregate var (metric load mean))", "resource_type": "generic",
                                    "search": {"in": {"id": list(r.volumes.values())}}}, 3 * S),
    ]  # fmt: skip
    for method, path, body, together in parts:
        r.meet(threading.Barrier(together))
        try:
            assert len(r.calls(r.demo, method, path, body)) == together
        finally:
            r.meet(None)

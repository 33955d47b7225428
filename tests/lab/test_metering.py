"""Metering over sites on real Gnocchis: what a site's own Ceilometer would write is written there, and read through the gateway."""

from __future__ import annotations

import fcntl
import math
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest

from lab.addons import metering
from lab.paths import State
from lab.procs import stop
from lab.wait import ready
from tests.lab.conftest import STATE
from tests.lab.metering import MISSING, RUNS, ZONES, boot, ceilometer, image, metric, own, wait
from tests.lab.rest import Cloud

POLICY = "cascade-test"
MISSING_ZONES = "x-cascade-missing-zones"
VALUES = {"paris": [[1.0, 5.0], [2.0, 6.0]], "tokyo": [[30.0, 70.0]]}
"""Site -> the series of its servers: two in paris and one in tokyo, so that a mean of means is wrong."""
RUN = uuid.uuid4().hex[:8]
START = 1_760_000_400
pytestmark = pytest.mark.skipif(not RUNS, reason=MISSING)


@dataclass
class Measured:
    """What stands at the sites."""

    resources: dict[str, list[str]] = field(default_factory=dict)
    metrics: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def servers(clouds: dict[str, Cloud]) -> Iterator[dict[str, list[str]]]:
    """A server per series, by zone: only where a project has something it is measured."""
    c = clouds["cascade"]
    used = image(c)
    out = {z: [boot(c, z, f"metering-{RUN}-{z}-{n}", used) for n in range(len(VALUES[z]))] for z in ZONES}
    for ident in (i for ids in out.values() for i in ids):
        c.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield out
    for ident in (i for ids in out.values() for i in ids):
        c("compute", "DELETE", f"/servers/{ident}")
    c("image", "DELETE", f"/v2/images/{used}")


@pytest.fixture(scope="module")
def measured(clouds: dict[str, Cloud], servers: dict[str, list[str]]) -> Iterator[Measured]:
    """Resources and metrics as a site's Ceilometer makes them: by an account of the site, of the tenant's project there."""
    out = Measured()
    policy = {"name": POLICY, "definition": [{"granularity": "0:01:00", "points": 1000}],
              "aggregation_methods": ["mean", "sum", "count", "max", "std"]}  # fmt: skip
    got = metric(clouds["cascade-admin"], "POST", "/v1/archive_policy", policy)
    assert got.status in (201, 409), got.body
    for zone in ZONES:
        site = clouds[f"{zone}-admin"]
        writer = ceilometer(site)
        out.resources[zone], out.metrics[zone] = servers[zone], []
        for n, values in enumerate(VALUES[zone]):
            there = own(site, f"metering-{RUN}-{zone}-{n}")
            made = metric(writer, "POST", "/v1/resource/generic", {"id": there["id"], "project_id": there["tenant_id"]})
            assert made.status in (201, 409), made.body  # Ceilometer itself may have been quicker
            path, added = f"/v1/resource/generic/{there['id']}/metric", {"load": {"archive_policy_name": POLICY}}
            assert metric(writer, "POST", path, added).status == 200
            out.metrics[zone].append(metric(writer, "GET", f"{path}/load").json()["id"])
            measures = [{"timestamp": START + 60 * i, "value": v} for i, v in enumerate(values)]
            assert metric(writer, "POST", f"/v1/metric/{out.metrics[zone][-1]}/measures", measures).status == 202
    c, end = clouds["cascade"], time.monotonic() + 60
    for ident in (i for ids in out.metrics.values() for i in ids):
        while len(metric(c, "GET", f"/v1/metric/{ident}/measures").json()) < 2:
            assert time.monotonic() < end
            time.sleep(0.5)
    yield out
    for ident in (i for ids in out.resources.values() for i in ids):
        metric(clouds["cascade-admin"], "DELETE", f"/v1/resource/generic/{ident}")
    metric(clouds["cascade-admin"], "DELETE", f"/v1/archive_policy/{POLICY}")


def test_resources_of_all_sites_are_one_list(demo: Cloud, measured: Measured) -> None:
    rows = {r["id"]: r for r in metric(demo, "GET", "/v1/resource/generic").json()}
    ours = [i for ids in measured.resources.values() for i in ids]
    assert set(ours) <= rows.keys()
    assert {rows[i]["project_id"] for i in ours} == {demo.project_id}
    found = metric(demo, "POST", "/v1/search/resource/generic", {"=": {"project_id": demo.project_id}}).json()
    assert set(ours) <= {r["id"] for r in found}


def test_pages_are_the_list_in_pieces(demo: Cloud, measured: Measured) -> None:
    whole = [r["id"] for r in metric(demo, "GET", "/v1/resource/generic", sort="id:asc").json()]
    pieces: list[str] = []
    while True:
        marker = {"marker": pieces[-1]} if pieces else {}
        page = [r["id"] for r in metric(demo, "GET", "/v1/resource/generic", sort="id:asc", limit=1, **marker).json()]
        if not page:
            break
        pieces += page
    assert pieces == whole and len(whole) >= 3


def test_another_tenant_sees_nothing(clouds: dict[str, Cloud], measured: Measured) -> None:
    other = clouds["cascade-other"]
    ours = {i for ids in measured.resources.values() for i in ids}
    assert not ours & {r["id"] for r in metric(other, "GET", "/v1/resource/generic").json()}
    for ident in ours:
        assert metric(other, "GET", f"/v1/resource/generic/{ident}").status in (403, 404)
    for ident in (i for ids in measured.metrics.values() for i in ids):
        assert metric(other, "GET", f"/v1/metric/{ident}/measures").status in (403, 404)


@pytest.mark.parametrize("how", ["mean", "sum", "count", "min", "max", "std", "var"])
def test_an_aggregate_is_that_of_all_series(demo: Cloud, measured: Measured, how: str) -> None:
    search = {"in": {"id": [i for ids in measured.resources.values() for i in ids]}}
    body = {"operations": f"(aggregate {how} (metric load mean))", "resource_type": "generic", "search": search}
    got = metric(demo, "POST", "/v1/aggregates", body)
    assert got.status == 200, got.body
    columns = list(zip(*(s for series in VALUES.values() for s in series), strict=True))
    wanted = [_single(how, column) for column in columns]
    points = got.json()["measures"]["aggregated"]
    assert [p[2] for p in points] == pytest.approx(wanted)
    ids = " ".join(f"({i} mean)" for held in measured.metrics.values() for i in held)
    again = metric(demo, "POST", "/v1/aggregates", {"operations": f"(aggregate {how} (metric {ids}))"})
    assert again.json()["measures"]["aggregated"] == points


def _single(how: str, values: tuple[float, ...]) -> float:
    mean = math.fsum(values) / len(values)
    var = math.fsum((v - mean) ** 2 for v in values) / len(values)
    known = {"mean": mean, "sum": math.fsum(values), "count": len(values), "min": min(values), "max": max(values)}
    return known.get(how, math.sqrt(var) if how == "std" else var)


def test_what_cannot_be_combined_is_refused(demo: Cloud, measured: Measured) -> None:
    ids = " ".join(f"({i} mean)" for held in measured.metrics.values() for i in held)
    got = metric(demo, "POST", "/v1/aggregates", {"operations": f"(aggregate median (metric {ids}))"})
    assert got.status == 400 and "median" in got.json()["description"]
    alone = " ".join(f"({i} mean)" for i in measured.metrics["paris"])
    assert metric(demo, "POST", "/v1/aggregates", {"operations": f"(aggregate median (metric {alone}))"}).status == 200


def test_a_batch_goes_to_its_sites_or_nowhere(clouds: dict[str, Cloud], measured: Measured) -> None:
    admin = clouds["cascade-admin"]  # a metric of a resource that the site's own Ceilometer made is not a tenant's to add
    made = {z: metric(admin, "POST", "/v1/metric", {"archive_policy_name": POLICY, "name": "own", "resource_id": ids[0]})
            for z, ids in measured.resources.items()}  # fmt: skip
    assert {z: a.status for z, a in made.items()} == dict.fromkeys(ZONES, 201), {z: a.body for z, a in made.items()}
    held = {z: a.json()["id"] for z, a in made.items()}
    point = [{"timestamp": START, "value": 4.0}]
    lost = {**dict.fromkeys(held.values(), point), str(uuid.uuid4()): point}
    assert metric(admin, "POST", "/v1/batch/metrics/measures", lost).status == 400
    assert metric(admin, "POST", "/v1/batch/metrics/measures", dict.fromkeys(held.values(), point)).status == 202
    for zone, ident in held.items():
        end = time.monotonic() + 30
        while len(metric(clouds[f"{zone}-admin"], "GET", f"/v1/metric/{ident}/measures").json()) != 1:
            assert time.monotonic() < end
            time.sleep(0.5)
        assert metric(admin, "DELETE", f"/v1/metric/{ident}").status == 204


def test_archive_policies_are_the_same_everywhere(clouds: dict[str, Cloud], measured: Measured) -> None:
    for zone in ZONES:
        assert metric(clouds[f"{zone}-admin"], "GET", f"/v1/archive_policy/{POLICY}").status == 200
    assert metric(clouds["cascade"], "POST", "/v1/archive_policy", {"name": "x", "definition": []}).status in (400, 403)


def test_status_adds_up_for_administrators(clouds: dict[str, Cloud]) -> None:
    got = metric(clouds["cascade-admin"], "GET", "/v1/status")
    assert got.status == 200 and got.json()["storage"]["summary"].keys() == {"metrics", "measures"}
    assert metric(clouds["cascade"], "GET", "/v1/status").status == 403


def test_an_administrator_leaves_the_site_owners_tenants_alone(clouds: dict[str, Cloud], measured: Measured) -> None:
    """He is an administrator at the site, for which Gnocchi leaves nothing out: what is not this cloud's is out of his reach."""
    admin, site, ident = clouds["cascade-admin"], clouds["paris-admin"], str(uuid.uuid4())
    stranger = {"id": ident, "project_id": uuid.uuid4().hex, "metrics": {"strange": {"archive_policy_name": POLICY}}}
    assert metric(site, "POST", "/v1/resource/generic", stranger).status == 201
    try:
        assert metric(admin, "GET", f"/v1/resource/generic/{ident}").status == 404
        assert metric(admin, "PATCH", f"/v1/resource/generic/{ident}", {"user_id": "x"}).status == 404
        assert metric(admin, "DELETE", f"/v1/resource/generic/{ident}").status == 404
        found = metric(admin, "POST", "/v1/search/resource/generic", {"=": {"id": ident}})
        assert (found.status, found.json()) == (200, [])
        for body, query in ((({"=": {"id": ident}}), ""), (None, f"?filter=id%3D%22{ident}%22")):
            done = metric(admin, "DELETE", f"/v1/resource/generic{query}", body)
            assert (done.status, done.json()) == (200, {"deleted": 0}), done.body
        summed = {"operations": "(aggregate sum (metric strange mean))", "resource_type": "generic", "search": {"=": {"id": ident}}}
        assert metric(admin, "POST", "/v1/aggregates", summed).status == 404
        assert metric(site, "GET", f"/v1/resource/generic/{ident}").status == 200
    finally:
        metric(site, "DELETE", f"/v1/resource/generic/{ident}")


def test_groups_and_details_are_of_all_sites(demo: Cloud, measured: Measured) -> None:
    ours = sorted(i for ids in measured.resources.values() for i in ids)
    body = {"operations": "(aggregate sum (metric load mean))", "resource_type": "generic", "search": {"in": {"id": ours}}}
    (whole,) = metric(demo, "POST", "/v1/aggregates", body, groupby="project_id", details="true").json()
    assert whole["group"] == {"project_id": demo.project_id}
    assert [p[2] for p in whole["measures"]["measures"]["aggregated"]] == [33.0, 81.0]
    assert sorted(r["id"] for r in whole["measures"]["references"]) == ours
    each = {g["group"]["id"]: g["measures"]["measures"]["aggregated"] for g in
            metric(demo, "POST", "/v1/aggregates", body, groupby=["id", "project_id"]).json()}  # fmt: skip
    wanted = {i: values for z, ids in measured.resources.items() for i, values in zip(ids, VALUES[z], strict=True)}
    assert {i: [p[2] for p in points] for i, points in each.items()} == wanted


def test_history_is_paged_over_sites(clouds: dict[str, Cloud], measured: Measured) -> None:
    """Every revision of every resource once, in order, however small the page."""
    c, ours = clouds["cascade"], {ids[0] for ids in measured.resources.values()}
    for zone, ids in measured.resources.items():
        there = own(clouds[f"{zone}-admin"], f"metering-{RUN}-{zone}-0")["id"]
        for n in range(2):
            changed = {"user_id": f"{RUN}-{ids[0]}-{n}"}
            assert metric(ceilometer(clouds[f"{zone}-admin"]), "PATCH", f"/v1/resource/generic/{there}", changed).status == 200
    search, order = {"in": {"id": sorted(ours)}}, ["revision_start:asc", "id:asc"]

    def page(path: str) -> tuple[list[tuple[str, str]], str]:
        got = metric(c, "POST", path, search)
        assert got.status == 200, got.body
        link = got.headers.get("link", "").partition("/metric")[2].partition(">")[0]
        return [(r["id"], r["revision_start"]) for r in got.json()], link

    path = "/v1/search/resource/generic?" + urlencode({"history": "true", "sort": order}, doseq=True)
    whole, _ = page(path)
    assert len(whole) == len(set(whole)) >= 3 * len(ours) and {i for i, _ in whole} == ours
    pieces: list[tuple[str, str]] = []
    link = path + "&limit=1"
    while link:
        found, link = page(link)
        pieces += found
    assert pieces == whole


def test_ceilometer_itself_measures_servers(clouds: dict[str, Cloud]) -> None:
    """Out of what Nova tells of them: its tenant finds them by their north ids, in all sites, and in a history their end."""
    c, other = clouds["cascade"], clouds["cascade-other"]
    used = image(c)
    servers = {zone: boot(c, zone, f"metering-{RUN}-told-{zone}", used) for zone in ZONES}
    shown = {}
    try:
        for zone, ident in servers.items():
            path = f"/v1/resource/instance/{ident}"
            c.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
            wait(f"Ceilometer of {zone} says nothing", lambda path=path: metric(c, "GET", path).status == 200)
            got = shown[zone] = metric(c, "GET", path).json()
            assert (got["id"], got["project_id"], got["user_id"]) == (ident, c.project_id, c.user_id)
            assert got["display_name"] == f"metering-{RUN}-told-{zone}" and got["ended_at"] is None
            cores = wait("no measure", lambda path=path: metric(c, "GET", f"{path}/metric/vcpus/measures").json())
            assert {value for _, _, value in cores} == {1.0}
            assert metric(other, "GET", path).status in (403, 404)
        found = metric(c, "POST", "/v1/search/resource/instance", {"like": {"display_name": f"metering-{RUN}-told-%"}}).json()
        assert {row["id"] for row in found} == set(servers.values())
        search = {"in": {"id": list(servers.values())}}
        body = {"operations": "(aggregate sum (metric vcpus mean))", "resource_type": "instance", "search": search}
        total = wait("no sum", lambda: metric(c, "POST", "/v1/aggregates", body).json()["measures"]["aggregated"])
        assert max(value for _, _, value in total) <= len(servers)
    finally:
        for ident in servers.values():
            c("compute", "DELETE", f"/servers/{ident}")
        c("image", "DELETE", f"/v2/images/{used}")
    for ident in servers.values():
        path = f"/v1/resource/instance/{ident}"
        # Of a revision: Ceilometer's own samples of the end come after its event, and take the time away again.
        history = f"{path}/history"
        wait("it has not ended", lambda at=history: any(row["ended_at"] for row in metric(c, "GET", at).json()))
        assert ident not in {row["id"] for row in metric(other, "GET", "/v1/resource/instance").json()}


def test_a_bulk_delete_counts_what_went_at_all_sites(clouds: dict[str, Cloud], measured: Measured) -> None:
    admin, mark = clouds["cascade-admin"], f"bulk-{RUN}"
    for zone in ZONES:
        site = clouds[f"{zone}-admin"]
        project = own(site, f"metering-{RUN}-{zone}-0")["tenant_id"]
        for _ in range(2):
            made = {"id": str(uuid.uuid4()), "project_id": project, "user_id": mark}
            assert metric(ceilometer(site), "POST", "/v1/resource/generic", made).status == 201
    assert metric(clouds["cascade"], "DELETE", "/v1/resource/generic", {"=": {"user_id": mark}}).status in (200, 403)
    left = len(metric(admin, "POST", "/v1/search/resource/generic", {"=": {"user_id": mark}}).json())
    assert left in (0, 2 * len(ZONES))  # a tenant's is all or nothing
    assert metric(admin, "DELETE", "/v1/resource/generic", {"=": {"user_id": mark}}).json() == {"deleted": left}
    for zone in ZONES:
        assert metric(clouds[f"{zone}-admin"], "POST", "/v1/search/resource/generic", {"=": {"user_id": mark}}).json() == []


@pytest.fixture
def tokyo_away() -> Iterator[Callable[[], None]]:
    """Tokyo's Gnocchi does not answer; the function brings it back."""
    (api,) = (p for p in metering.procs(State(STATE)) if p.name == "gnocchi-api" and p.place.root.name == "tokyo")

    def back() -> None:
        if api.start():
            ready([api])

    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # no command of the lab's meanwhile
        stop([api])
        yield back
        back()


def test_a_site_away_is_said_and_catches_up(clouds: dict[str, Cloud], measured: Measured, tokyo_away: Callable[[], None]) -> None:
    """Lists leave it out and say so, sums do not, and what was written everywhere else is there when it is back."""
    c, admin, name = clouds["cascade"], clouds["cascade-admin"], f"missed-{RUN}"
    listed = metric(c, "GET", "/v1/resource/generic")
    ids = {r["id"] for r in listed.json()}
    assert listed.status == 200 and "tokyo" in listed.headers[MISSING_ZONES].split(",")
    assert set(measured.resources["paris"]) <= ids and not set(measured.resources["tokyo"]) & ids
    search = {"in": {"id": [i for held in measured.resources.values() for i in held]}}
    body = {"operations": "(aggregate sum (metric load mean))", "resource_type": "generic", "search": search}
    assert metric(c, "POST", "/v1/aggregates", body).status == 503
    both = " ".join(f"({i} mean)" for held in measured.metrics.values() for i in held)
    assert metric(c, "POST", "/v1/aggregates", {"operations": f"(aggregate sum (metric {both}))"}).status == 503
    alone = " ".join(f"({i} mean)" for i in measured.metrics["paris"])
    assert metric(c, "POST", "/v1/aggregates", {"operations": f"(aggregate sum (metric {alone}))"}).status == 200
    assert metric(admin, "DELETE", "/v1/resource/generic", {"=": {"user_id": name}}).status == 503
    assert metric(c, "GET", f"/v1/resource/generic/{measured.resources['tokyo'][0]}").status == 503
    policy = {"name": name, "definition": [{"granularity": "0:05:00", "points": 10}]}
    kind = {"name": name, "attributes": {"rack": {"type": "string", "required": False}}}
    assert metric(admin, "POST", "/v1/archive_policy", policy).status == 201
    assert metric(admin, "POST", "/v1/resource_type", kind).status == 201
    tokyo_away()
    site = clouds["tokyo-admin"]
    assert metric(site, "GET", f"/v1/archive_policy/{name}").status == 404  # nobody has asked through Cascade yet
    wait("tokyo is not asked again", lambda: MISSING_ZONES not in metric(c, "GET", "/v1/resource/generic").headers, 90)
    assert wait("tokyo did not catch up", lambda: metric(site, "GET", f"/v1/archive_policy/{name}").status == 200, 60)
    assert metric(site, "GET", f"/v1/resource_type/{name}").json()["attributes"]["rack"]["type"] == "string"
    for path in ("archive_policy", "resource_type"):
        assert metric(admin, "DELETE", f"/v1/{path}/{name}").status == 204
        assert metric(site, "GET", f"/v1/{path}/{name}").status == 404

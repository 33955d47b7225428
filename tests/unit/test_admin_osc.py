"""The openstack commands: where they find the admin API, what they send, what they print."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1 import exceptions as ksa
from osc_lib import exceptions

from osc_cascade import client
from osc_cascade.v1 import site, state


def instance(catalogue: dict[str, str], auth_url: str | None = None) -> Any:
    def find(service_type: str, region_name: str | None, interface: str | None) -> str:
        if service_type not in catalogue:
            raise ksa.EndpointNotFound
        return catalogue[service_type]

    return SimpleNamespace(
        get_endpoint_for_service_type=find,
        region_name="r",
        interface="public",
        auth=SimpleNamespace(auth_url=auth_url),
        session=None,
    )


@pytest.mark.parametrize(
    ("catalogue", "auth_url", "url"),
    [
        ({"cascade": "http://c/cascade"}, None, "http://c/cascade/v1"),
        ({"cascade": "http://c/cascade/v1/"}, None, "http://c/cascade/v1"),
        ({"identity": "http://c:8780/identity/v3"}, None, "http://c:8780/cascade/v1"),
        ({"identity": "http://c:8780/identity"}, None, "http://c:8780/cascade/v1"),
        ({"identity": "http://keystone:5000/v3"}, "http://c:8780/identity/v3/", "http://c:8780/cascade/v1"),
        ({}, "http://c:8780/identity/v3", "http://c:8780/cascade/v1"),
    ],
)
def test_endpoint(catalogue: dict[str, str], auth_url: str | None, url: str) -> None:
    assert client.endpoint(instance(catalogue, auth_url)) == url


def test_no_endpoint() -> None:
    with pytest.raises(exceptions.CommandError, match="not a Cascade"):
        client.endpoint(instance({"identity": "http://keystone:5000/v3"}, "http://keystone:5000/v3"))


REPORT = {
    "site": "paris", "cloud": "paris", "identity": "mapped", "ok": True,
    "services": {"compute": {"ok": True, "window": ["2.1", "2.100"], "release": "2025.1"},
                 "volume": {"ok": False, "error": "refused"}},
    "windows": [{"service": "compute", "now": ["2.1", "2.104"], "then": ["2.1", "2.100"], "shrinks": True}],
    "account": {"grade": "full"}, "network": {"external_networks": ["public"], "physical_networks": []},
    "flavors": {"adopted": [], "conflicts": []}, "volume_types": {"paired": ["ssd"], "made": []},
    "zones": {"north": {"nova": "paris"}},
    "findings": [{"severity": "note", "code": "b", "message": "beta"}, {"severity": "warning", "code": "a", "message": "alpha"}],
}  # fmt: skip
HEALTH = {"state": "up", "since": "2026-11-23T08:53:34Z", "last_error": None, "latency": 0.0123456}
SITE = {"name": "paris", "number": 1, "cloud": "paris", "identity": "mapped", "enabled": True, "draining": False, "zones": {},
        "options": {}, "health": HEALTH}  # fmt: skip


class Session:
    """A keystoneauth session that remembers and answers in turn."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers, self.sent = list(answers), []

    def request(self, url: str, method: str, **given: Any) -> Any:
        self.sent.append((method, url, given["json"], given["params"]))
        status, doc = self.answers.pop(0)
        text = "" if doc is None else json.dumps(doc)
        return SimpleNamespace(status_code=status, content=text, json=lambda: doc, reason="Reason")


def run(command: type[Any], session: Session, *args: str) -> tuple[Any, str]:
    out = io.StringIO()
    app = SimpleNamespace(client_manager=SimpleNamespace(cascade=client.Client(session, "http://c/cascade/v1")), stderr=out)
    ran = command(app, None)
    return ran.take_action(ran.get_parser("x").parse_args(args)), out.getvalue()


def test_create_prints_the_report_first() -> None:
    session = Session((200, {"report": REPORT}), (201, {"report": REPORT, "site": SITE}))
    (columns, values), text = run(site.CreateSite, session, "paris", "--option", "wan_physnet=wan", "--allow-lower-window")
    assert dict(zip(columns, values, strict=True))["latency"] == 0.0123
    assert text.index("WARNING:") < text.index("NOTE:") and "2.1-2.104 -> 2.1-2.100" in text and "FAILS: refused" in text
    first, second = session.sent
    assert first[3] == {"dry_run": "true"} and second[3] == {} and first[2] == second[2]
    assert first[2]["allow_lower_window"] is True and first[2]["site"]["options"] == {"wan_physnet": "wan"}


def test_create_stops_at_a_dry_run_and_at_a_blocker() -> None:
    session = Session((200, {"report": REPORT}))
    assert run(site.CreateSite, session, "paris", "--dry-run")[0] == (("name", "can_join"), ("paris", True))
    session = Session((200, {"report": {**REPORT, "ok": False}}))
    with pytest.raises(exceptions.CommandError, match="Nothing"):
        run(site.CreateSite, session, "paris")
    assert len(session.sent) == 1


def test_set_and_drain_send_only_what_was_said() -> None:
    session = Session((200, {"site": SITE}), (200, {"site": SITE}), (200, {"site": SITE}))
    run(site.SetSite, session, "paris", "--disable", "--option", "wan_physnet=")
    run(site.DrainSite, session, "paris")
    run(site.SetSite, session, "paris", "--undrain", "--enable")
    assert [s[2]["site"] for s in session.sent] == [
        {"enabled": False, "options": {"wan_physnet": ""}}, {"draining": True}, {"enabled": True, "draining": False},
    ]  # fmt: skip
    with pytest.raises(exceptions.CommandError, match="what to change"):
        run(site.SetSite, session, "paris")


def test_a_refusal_is_said() -> None:
    session = Session((409, {"error": {"code": 409, "message": "still holds 1 server"}}))
    with pytest.raises(client.Refused, match=r"still holds 1 server \(HTTP 409\)"):
        run(site.DeleteSite, session, "paris")


def test_tables() -> None:
    columns, rows = run(site.ListSite, Session((200, {"sites": [SITE]})))[0]
    assert len(columns) == 8 and list(rows) == [("paris", 1, "paris", "mapped", True, False, "up", HEALTH["since"])]
    known = {"advice": None, "services_down": ["volume"], "windows": {}, "release": "2026.2", "extensions": []}
    failing = {"queue": "network", "key": "router r1", "since": "then", "error": "no", "advice": "Look."}
    status = {"version": "0.1", "hub": HEALTH | known, "windows": {"compute": ["2.1", "2.100"]}, "open_intents": 0,
              "waiting": {"images": 3, "network": 0}, "failing": [failing],
              "sites": [known | {"name": "paris", "enabled": True, "draining": False, "open_intents": 0,
                                 "health": HEALTH}]}  # fmt: skip
    (columns, rows), text = run(state.ShowStatus, Session((200, {"status": status})))
    table = [dict(zip(columns, r, strict=True)) for r in rows]
    assert (
        [r["Name"] for r in table] == ["hub", "paris"] and table[1]["Services down"] == "volume" and table[1]["Release"] == "2026.2"
    )
    assert "compute 2.1-2.100" in text and "3 waiting in queue images" in text and "network router r1: no Look." in text
    capacity = {"name": "paris", "hypervisors": 2, "servers": 7, "vcpus": 8, "vcpus_used": 7, "memory_mb": 1, "memory_mb_used": 1,
                "local_gb": 1, "local_gb_used": None, "error": None}  # fmt: skip
    (columns, rows), _ = run(state.ShowCapacity, Session((200, {"capacity": [capacity]})))
    row = dict(zip(columns, next(iter(rows)), strict=True))
    assert row["Name"] == "paris" and row["VCPUs used"] == 7 and row["Local GB used"] == ""
    call = {"offset": 0.1, "seconds": 0.2, "target": "paris", "service": "compute", "method": "POST", "path": "/servers",
            "result": "202", "request_id": "req-there"}  # fmt: skip
    request = {"id": "req-1", "global_id": None, "project_id": "p", "service": "compute", "method": "POST", "path": "/x",
               "status": "202", "began": "then", "seconds": 0.5, "calls": [call]}  # fmt: skip
    session = Session((200, {"request": request}))
    (columns, rows), text = run(state.ShowRequest, session, "req-1")
    assert dict(zip(columns, next(iter(rows)), strict=True))["Request id"] == "req-there" and "202 after 0.5 s" in text

"""Skyline, unmodified: its API server asked as its console asks it, and its console in a real browser.

``bin/lab up --with skyline`` brings it up. ``CASCADE_PICTURES``: a folder for screenshots.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from lab.addons import kind
from lab.browser import skyline
from lab.browser.screen import CHROMIUM, PATIENCE, chromium
from lab.data import PASSWORD as ADMINS
from lab.data import USER_REGION
from tests.lab.conftest import _up
from tests.lab.rest import Answer, Cloud, raw
from tests.stories.world import PASSWORD, lab_world
from tests.stories.world import tenant as fresh_tenant

URL = os.environ.get("CASCADE_LAB_SKYLINE", kind.url("skyline"))
SERVER = f"{URL}/api/openstack/skyline/api/v1"
ZONES = ("paris", "tokyo")
FLAVOR = "m1.nano"
PICTURES = os.environ.get("CASCADE_PICTURES")
QUOTAS = {"instances": 10, "cores": 20, "ram": 51200}
"""Nova's ordinary ones: of the lab's own, which are so large, no ring shows anything."""
pytestmark = pytest.mark.skipif(not _up(kind.port("skyline")), reason="Skyline is not up (bin/lab up --with skyline)")


@dataclass
class Person:
    """Somebody signed in at Skyline's API server: what it told about him, and the cookies that are his session."""

    profile: dict[str, Any]
    cookies: str

    @classmethod
    def login(cls, user: str, password: str) -> Person:
        """With the form's own request."""
        got = _login(user, password)
        assert got.status == 200, got.body
        jar = [part.split(";")[0] for part in got.headers["set-cookie"].split(", ")]
        return cls(got.json(), "; ".join(part for part in jar if "=" in part))

    def ask(self, path: str, **params: Any) -> Any:
        """A question to the API server."""
        got = raw(f"{SERVER}{path}?{urlencode(params)}", "GET", headers={"Cookie": self.cookies})
        assert got.status == 200, (path, got.status, got.body[:600])
        return got.json()

    def service(self, name: str, method: str, path: str, body: Any = None) -> Answer:
        """A request of the console's to a service, by the address it was told."""
        head = {"X-Auth-Token": self.profile["keystone_token"], "Content-Type": "application/json"}
        if name == "nova":
            head["OpenStack-API-Version"] = "compute 2.79"  # as the console has it
        data = None if body is None else json.dumps(body).encode()
        return raw(f"{URL}{self.profile['endpoints'][name]}{path}", method, body=data, headers=head)


def _login(user: str, password: str) -> Answer:
    wish = {"region": USER_REGION, "domain": "Default", "username": user, "password": password}
    head = {"Content-Type": "application/json"}
    return raw(f"{SERVER}/login", "POST", body=json.dumps(wish).encode(), headers=head)


@dataclass
class Room:
    """A fresh tenant at Skyline, with a server in each zone that was made through it."""

    person: Person
    api: Cloud
    servers: dict[str, str]
    """Zone: id."""
    image: str

    def name(self, zone: str) -> str:
        """What the server in a zone is called."""
        return f"skyline-{zone}"


@pytest.fixture(scope="module")
def room(clouds: dict[str, Cloud]) -> Iterator[Room]:
    with lab_world() as world, fresh_tenant(world, "skyline") as it:
        assert world.admin("compute", "PUT", f"/os-quota-sets/{it.cloud.project_id}", {"quota_set": QUOTAS}).status == 200
        person = Person.login(it.cloud.auth["username"], PASSWORD)
        wish = {"name": "skyline", "disk_format": "raw", "container_format": "bare"}
        made = person.service("glance", "POST", "/v2/images", wish)
        assert made.status == 201, made.body
        image = made.json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        assert it.cloud("image", "PUT", f"/v2/images/{image}/file", b"\0" * 4096, headers=octets).status == 204
        yield Room(person, it.cloud, {}, image)


def test_who_signs_in_is_told_his_project_and_the_services(room: Room) -> None:
    profile = room.person.profile
    assert profile["project"]["id"] == room.api.project_id and list(profile["projects"]) == [room.api.project_id]
    assert profile["region"] == USER_REGION and profile["regions"] == [USER_REGION]
    assert {"nova", "glance", "cinder", "neutron", "keystone"} <= set(profile["endpoints"])
    assert room.person.ask("/profile")["user"]["id"] == room.api.user_id
    assert _login(room.api.auth["username"], "another's").status == 401


def test_servers_are_made_in_both_zones(room: Room) -> None:
    """As the last step of the console's form does it."""
    person = room.person
    zones = person.service("nova", "GET", "/v2.1/os-availability-zone").json()["availabilityZoneInfo"]
    assert set(ZONES) <= {row["zoneName"] for row in zones if row["zoneState"]["available"]}
    flavors = {f["name"]: f["id"] for f in person.service("nova", "GET", "/v2.1/flavors").json()["flavors"]}
    for zone in ZONES:
        wish = {
            "name": room.name(zone), "imageRef": room.image, "flavorRef": flavors[FLAVOR], "availability_zone": zone,
            "networks": "none", "min_count": 1, "max_count": 1,
        }  # fmt: skip
        got = person.service("nova", "POST", "/v2.1/servers", {"server": wish})
        assert got.status == 202, got.body
        room.servers[zone] = got.json()["server"]["id"]
    for ident in room.servers.values():
        room.api.until("compute", f"/servers/{ident}", lambda got: got.json()["server"]["status"] in ("ACTIVE", "ERROR"))


def test_one_list_has_the_servers_of_both_zones(room: Room) -> None:
    """Skyline's own list, which it puts together of what Nova, Glance and Cinder say; page by page too."""
    rows = {row["id"]: row for row in room.person.ask("/extension/servers", limit=10)["servers"]}
    assert set(rows) == set(room.servers.values())
    for zone, ident in room.servers.items():
        row = rows[ident]
        assert (row["name"], row["status"], row["image_name"], row["flavor"]) == (room.name(zone), "ACTIVE", "skyline", FLAVOR)
        assert row["origin_data"]["OS-EXT-AZ:availability_zone"] == zone
    first = room.person.ask("/extension/servers", limit=1, sort_keys="display_name", sort_dirs="asc")["servers"]
    rest = room.person.ask("/extension/servers", limit=1, sort_keys="display_name", sort_dirs="asc", marker=first[0]["id"])[
        "servers"
    ]
    assert [row["id"] for row in first + rest] == [room.servers[zone] for zone in sorted(ZONES)]
    assert room.person.ask("/extension/servers", name=room.name("tokyo"))["servers"][0]["id"] == room.servers["tokyo"]


def test_an_administrator_sees_them_with_project_and_host(room: Room, clouds: dict[str, Cloud]) -> None:
    """Another tenant sees none of it."""
    admin, other = Person.login("admin", ADMINS), Person.login("other", ADMINS)
    rows = admin.ask("/extension/servers", all_projects="true", project_id=room.api.project_id)["servers"]
    assert {row["id"]: row["project_name"] for row in rows} == dict.fromkeys(room.servers.values(), room.api.auth["project_name"])
    assert {row["host"].split(".")[0].split("-")[0] for row in rows} == set(ZONES), [row["host"] for row in rows]
    services = admin.ask("/extension/compute-services", binary="nova-compute")["services"]
    assert set(ZONES) <= {row["zone"] for row in services}
    assert not {row["id"] for row in other.ask("/extension/servers")["servers"]} & set(room.servers.values())


def test_the_console_shows_both_in_one_table(room: Room) -> None:
    """In Chromium: signing in, the table, one instance of each zone, the form with the zones; no page complains."""
    if not CHROMIUM.exists():
        pytest.skip("no browser (apt-get install chromium)")
    with chromium() as browser:
        user = room.api.auth["username"]
        it = skyline.signed_in(browser, URL, user, password=PASSWORD, pictures=Path(PICTURES) if PICTURES else None)
        it.visit("/compute/instance")
        for zone in ZONES:
            it.sees(room.name(zone), "Active", FLAVOR)
        expect(it.page.locator("tbody tr.ant-table-row")).to_have_count(len(ZONES))
        it.complaints("/compute/instance")
        it.picture("skyline-instances")
        for ident in room.servers.values():
            it.visit(f"/compute/instance/detail/{ident}")
            expect(it.page.get_by_text(ident).first).to_be_visible(timeout=PATIENCE)
        it.visit("/compute/instance/create")
        it.choose("Available Zone", "tokyo")
        it.complaints("/compute/instance/create")
        it.picture("skyline-create")
        assert it.report.problems == []

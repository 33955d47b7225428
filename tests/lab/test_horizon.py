"""Horizon, unmodified, in a real browser: no page complains. ``bin/lab up --with horizon`` brings it up."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab import install
from lab.addons import horizon, kind
from lab.data import PASSWORD
from lab.paths import State
from tests.lab.conftest import STATE
from tests.lab.rest import Cloud

CHROMIUM = "/usr/bin/chromium"
PROGRAM = Path(install.__file__).with_name("horizon_tour.py")
URL = os.environ.get("CASCADE_LAB_HORIZON", kind.url("horizon"))
HORIZONS_OWN = (
    # refused by Horizon's own policy before Keystone is asked
    r"/identity/[0-9a-f]{32}/detail/ answers 403",
    # an empty list of namespaces is more than Horizon's thread pool can take, whoever answers it
    r"500 for GET /api/glance/metadefs/namespaces/",
)
"""What Horizon complains of in front of any cloud."""


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter with Playwright."""
    with socket.socket() as s:
        if s.connect_ex(("127.0.0.1", urlsplit(URL).port or 80)) != 0:
            pytest.skip("Horizon is not up (bin/lab up --with horizon)")
    if not Path(CHROMIUM).exists():
        pytest.skip("no browser (apt-get install chromium)")
    place = State(STATE)
    venv = kind.venv(place, horizon.BROWSER.name)
    install.environment(place, horizon.BROWSER, venv)
    return str(venv / "bin" / "python")


def tour(python: str, user: str, *more: str) -> dict[str, Any]:
    """Everything a user can reach, or what is named."""
    words = [python, str(PROGRAM), CHROMIUM, URL, user, PASSWORD, *more]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(("user", "panel"), [("demo", "/project/instances/"), ("admin", "/admin/hypervisors/")])
def test_no_page_complains(python: str, user: str, panel: str) -> None:
    """As a tenant and as an administrator: every panel, every tab, the first thing of every list."""
    seen = tour(python, user)
    assert panel in seen["pages"] and len(seen["pages"]) > 20
    assert [p for p in seen["problems"] if not any(re.search(own, p) for own in HORIZONS_OWN)] == []


def test_the_wizard_launches_in_each_zone(python: str, demo: Cloud) -> None:
    """As a tenant does it: name, zone, image, flavor, network."""
    name, octets = f"horizon-{uuid.uuid4().hex[:8]}", {"Content-Type": "application/octet-stream"}
    network = demo("network", "POST", "/v2.0/networks", {"network": {"name": name}}).json()["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.93.0.0/24"}
    assert demo("network", "POST", "/v2.0/subnets", {"subnet": subnet}).status == 201
    wish = {"name": name, "disk_format": "raw", "container_format": "bare"}
    image = demo("image", "POST", "/v2/images", wish).json()["id"]
    assert demo("image", "PUT", f"/v2/images/{image}/file", b"\0" * 4096, headers=octets).status == 204
    made: list[dict[str, Any]] = []
    try:
        zones = ("--launch", "paris", "--launch", "tokyo")
        tour(python, "demo", *zones, "--prefix", name, "--image", name, "--flavor", "m1.nano", "--network", name)
        made = demo.until("compute", f"/servers/detail?name={name}", lambda got: len(got.json()["servers"]) == 2).json()["servers"]
        for server in made:
            path = f"/servers/{server['id']}"
            shown = demo.until("compute", path, lambda got: got.json()["server"]["status"] != "BUILD").json()["server"]
            assert (shown["status"], shown["name"]) == ("ACTIVE", f"{name}-{shown['OS-EXT-AZ:availability_zone']}")
        assert {s["name"] for s in made} == {f"{name}-paris", f"{name}-tokyo"}
    finally:
        for server in made:
            demo("compute", "DELETE", f"/servers/{server['id']}")
            demo.until("compute", f"/servers/{server['id']}", lambda got: got.status == 404)
        demo("image", "DELETE", f"/v2/images/{image}")
        demo("network", "DELETE", f"/v2.0/networks/{network}")

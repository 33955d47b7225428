"""Sites come and go by ``openstack cascade ...``, on real clouds of two releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import STATE
from tests.lab.gateway import Gateway
from tests.lab.rest import Cloud, raw

OPENSTACK = Path(sys.executable).parent / "openstack"


class Operator:
    """Somebody at a terminal, at a gateway of his own."""

    def __init__(self, gateway: Gateway, account: Cloud) -> None:
        entry = {
            "auth": {**account.auth, "auth_url": gateway.url + "/identity/v3"}, "region_name": account.region,
            "cascade_endpoint_override": gateway.url + "/cascade",  # the hub's catalogue names the lab's own gateway
        }  # fmt: skip
        file = gateway.home / f"{account.name}.yaml"
        file.write_text(yaml.safe_dump({"clouds": {"it": entry}}))
        self._env = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "it"}

    def run(self, words: str) -> subprocess.CompletedProcess[str]:
        """``openstack cascade <words>``."""
        return subprocess.run([OPENSTACK, "cascade", *words.split()], env=self._env, capture_output=True, text=True, timeout=120)

    def json(self, words: str) -> Any:
        """The output of a command that must succeed."""
        done = self.run(words + " -f json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def quiet(self, words: str) -> None:
        """A command that must succeed and say nothing."""
        done = self.run(words)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr

    def refused(self, words: str) -> str:
        """What a command that must fail says."""
        done = self.run(words)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway without any site."""
    g = Gateway(tmp_path, STATE, 19108).start()
    yield g
    g.stop()


def test_a_site_comes_and_goes(gateway: Gateway, clouds: dict[str, Cloud]) -> None:
    operator = Operator(gateway, clouds["cascade-admin"])
    user = gateway.cloud(clouds["cascade-other"])

    assert operator.json("site create paris --dry-run") == {"name": "paris", "can_join": True}
    assert operator.json("site list") == []
    assert operator.json("site create paris --option external_network=public")["health"] in ("unknown", "up")
    assert "is paris already" in operator.refused("site create lyon --cloud paris")
    assert "Join it as shared" in operator.refused("site create lyon --cloud hub")
    assert "cannot log in" in operator.refused("site create lyon --cloud nowhere")
    assert "may not read" in operator.refused("site create lyon --cloud tokyo-demo")

    said = operator.refused("site create tokyo")
    assert "BLOCKER" in said and "shrink from 2.1-2.104 to 2.1-2.100" in said and "2025.1" in said
    operator.json("site create tokyo --allow-lower-window")
    shown = {s["Name"]: s for s in operator.json("site list")}
    assert set(shown) == {"paris", "tokyo"} and shown["paris"]["Number"] != shown["tokyo"]["Number"]
    assert operator.json("site show tokyo")["health"] == "up"
    versions = raw(gateway.url + "/compute/", "GET").json()["versions"]
    assert {v["version"] for v in versions if v["id"] == "v2.1"} == {"2.100"}

    def zones() -> dict[str, bool]:
        rows = user("compute", "GET", "/os-availability-zone").json()["availabilityZoneInfo"]
        return {r["zoneName"]: r["zoneState"]["available"] for r in rows}

    assert zones() == {"paris": True, "tokyo": True}
    operator.quiet("site drain tokyo")
    assert zones() == {"paris": True, "tokyo": False}
    body = {"volume": {"size": 1, "availability_zone": "tokyo"}}
    assert user("volume", "POST", "/volumes", body).status == 503
    operator.quiet("site set tokyo --undrain")
    assert zones() == {"paris": True, "tokyo": True}
    operator.quiet("site set tokyo --disable")
    assert zones() == {"paris": True}
    assert "shrink" in operator.refused("site set tokyo --enable")
    operator.quiet("site set tokyo --enable --allow-lower-window")

    volume = user("volume", "POST", "/volumes", body).json()["volume"]["id"]
    assert "still holds" in operator.refused("site delete tokyo")
    user.until("volume", f"/volumes/{volume}", lambda a: a.json()["volume"]["status"] == "available")
    assert user("volume", "DELETE", f"/volumes/{volume}").status == 202
    user.until("volume", f"/volumes/{volume}", lambda a: a.status == 404)
    status = {s["Name"]: s for s in operator.json("status")}
    assert set(status) == {"hub", "paris", "tokyo"} and status["hub"]["Health"] == "up"
    for _ in range(20):
        if not operator.json("intent list"):
            break
    operator.quiet("site delete tokyo")
    assert [s["Name"] for s in operator.json("site list")] == ["paris"]


def test_only_for_administrators(gateway: Gateway, clouds: dict[str, Cloud]) -> None:
    assert "HTTP 403" in Operator(gateway, clouds["cascade"]).refused("site list")
    base = gateway.url + "/cascade/v1"
    refused = raw(base + "/sites", "GET", headers={"X-Auth-Token": "nonsense"})
    assert refused.status == 401 and refused.json()["error"]["title"] == "Unauthorized" and "www-authenticate" in refused.headers
    assert raw(base + "/openapi.yaml", "GET").body.startswith(b"openapi:")
    assert raw(base, "GET").json()["version"]["id"] == "v1.0"
    assert raw(gateway.url + "/cascade/v2", "GET").status in (401, 404)


def test_logs_and_metrics(gateway: Gateway, clouds: dict[str, Cloud]) -> None:
    admin = gateway.cloud(clouds["cascade-admin"])
    gateway.join(admin, "paris")
    answer = admin("compute", "GET", "/os-hypervisors")
    lines = [json.loads(line) for line in (gateway.home / "cascade.log").read_text().splitlines()]
    mine = [e for e in lines if e.get("request_id") == answer.headers["x-openstack-request-id"] and e["event"] == "request"]
    assert len(mine) == 1 and "paris" in mine[0]["asked"] and mine[0]["status"] == 200
    assert admin.token not in (gateway.home / "cascade.log").read_text()
    text = raw(gateway.url + "/metrics", "GET").body.decode()
    assert 'cascade_site_up{target="paris"} 1.0' in text and 'target="paris"' in text and "cascade_requests_total{" in text

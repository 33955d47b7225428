"""Site tokyo frozen (sockets open, nobody home) and stopped: it hurts only itself, says so, and comes back by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.rest import Answer, Cloud

LAB = Path(__file__).parents[2] / "bin" / "lab"
DEADLINE = 3.0
"""Seconds a list may take with a site away."""

VERDICT = 8.0
"""Seconds two probes may take to find a site gone; a write waits for them rather than for a minute."""


def lab(*words: str) -> None:
    """``bin/lab ...``"""
    subprocess.run([LAB, *words], check=True, capture_output=True, timeout=300)


def timed(c: Cloud, *a: Any, **kw: Any) -> tuple[Answer, float]:
    """An answer and the seconds it took."""
    began = time.monotonic()
    got = c(*a, **kw)
    return got, time.monotonic() - began


@pytest.fixture(scope="module")
def servers(clouds: dict[str, Cloud]) -> Iterator[dict[str, str]]:
    """One server in each site."""
    c = clouds["cascade"]
    image = c("image", "POST", "/v2/images", {"name": "outage", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    out = {"image": image}
    for zone in ("paris", "tokyo"):
        body = {
            "server": {
                "name": f"outage-{zone}",
                "flavorRef": "42",
                "imageRef": image,
                "networks": "none",
                "availability_zone": zone,
            }
        }
        got = c("compute", "POST", "/servers", body, version="2.60")
        assert got.status == 202, got.body
        out[zone] = got.json()["server"]["id"]
    for zone in ("paris", "tokyo"):
        c.until("compute", f"/servers/{out[zone]}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield out
    for zone in ("paris", "tokyo"):
        c("compute", "DELETE", f"/servers/{out[zone]}")
        c.until("compute", f"/servers/{out[zone]}", lambda a: a.status == 404)
    c("image", "DELETE", f"/v2/images/{image}")


def _zones(c: Cloud) -> dict[str, bool]:
    rows = c("compute", "GET", "/os-availability-zone").json()["availabilityZoneInfo"]
    return {r["zoneName"]: r["zoneState"]["available"] for r in rows}


@pytest.mark.parametrize(("away", "back"), [("freeze", "thaw"), ("stop", "start")])
def test_tokyo_away(clouds: dict[str, Cloud], servers: dict[str, str], away: str, back: str) -> None:
    """Lists in time, paris whole, tokyo said to be missing; creates there refused at once; then normal again."""
    c = clouds["cascade"].login()
    lab(away, "tokyo")
    try:
        for version, partial in (("2.90", True), ("2.60", False)):
            got, seconds = timed(c, "compute", "GET", "/servers/detail", version=version)
            assert got.status == 200 and seconds < DEADLINE, (seconds, got.body[:300])
            rows = {r["id"]: r for r in got.json()["servers"]}
            assert rows[servers["paris"]]["status"] == "ACTIVE"
            assert (servers["tokyo"] in rows) == partial
            if partial:
                assert rows[servers["tokyo"]]["status"] == "UNKNOWN"
        got, seconds = timed(c, "volume", "GET", "/volumes/detail")
        assert got.status == 200 and seconds < DEADLINE
        end = time.monotonic() + 15
        while _zones(c).get("tokyo", True):
            assert time.monotonic() < end, "tokyo still counts as available"
            time.sleep(0.3)
        assert _zones(c)["paris"] is True
        body = {
            "server": {
                "name": "no",
                "flavorRef": "42",
                "imageRef": servers["image"],
                "networks": "none",
                "availability_zone": "tokyo",
            }
        }
        for patience in (VERDICT, 2):
            got, seconds = timed(c, "compute", "POST", "/servers", body, version="2.60")
            assert got.status in (503, 504) and seconds < patience, (got.status, seconds, got.body)
            assert "serviceUnavailable" in got.json() or "computeFault" in got.json()
        body["server"] |= {"availability_zone": "paris", "name": "outage-other"}
        got, seconds = timed(c, "compute", "POST", "/servers", body, version="2.60")
        assert got.status == 202, got.body
        made = got.json()["server"]["id"]
        c.until("compute", f"/servers/{made}", lambda a: a.json()["server"]["status"] == "ACTIVE", seconds=30)
        assert c("compute", "DELETE", f"/servers/{made}").status == 204
        got, seconds = timed(c, "compute", "GET", f"/servers/{servers['tokyo']}", version="2.90")
        assert got.status == 200 and got.json()["server"]["status"] == "UNKNOWN" and seconds < DEADLINE
        got, seconds = timed(c, "compute", "GET", f"/servers/{servers['tokyo']}", version="2.60")
        assert got.status in (503, 504) and seconds < DEADLINE
    finally:
        lab(back, "tokyo")
    end = time.monotonic() + 60
    while not _zones(c)["tokyo"]:
        assert time.monotonic() < end, "tokyo did not come back"
        time.sleep(0.5)
    c.until("compute", f"/servers/{servers['tokyo']}", lambda a: a.status == 200 and a.json()["server"]["status"] == "ACTIVE")

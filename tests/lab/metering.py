"""Gnocchi through the gateway and past it: what a site's own Ceilometer would write is written as its account writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lab.addons import metering
from lab.data import PASSWORD, SITES
from tests.lab.conftest import _up
from tests.lab.rest import Cloud

ZONES = metering.METERED
RUNS = all(_up(urlsplit(metering.url(SITES[z])).port or 0) for z in ZONES)
MISSING = "metering is not up (bin/lab up --with metering)"


def metric(c: Cloud, method: str, path: str, body: Any = None, **kw: Any) -> Any:
    """A call of Gnocchi through the gateway, or of a site's own."""
    if "metric" not in c.endpoints:
        c.login()
    c.endpoints.setdefault("metric", c.auth["auth_url"].removesuffix("/identity/v3") + "/metric")
    return c("metric", method, path, body, **kw)


def ceilometer(site: Cloud) -> Cloud:
    """The account of a site's Ceilometer, given any other of the site."""
    account = {"username": "ceilometer", "password": PASSWORD, "project_name": "service"}
    return Cloud(f"{site.name}-ceilometer", {**site.auth, **account}, site.region)


def own(site: Cloud, name: str) -> dict[str, Any]:
    """A server as its site has it: one that waited for its image has another id there."""
    (found,) = site("compute", "GET", "/servers/detail", all_tenants=1, name=name).json()["servers"]
    return dict(found)


def image(c: Cloud) -> str:
    """A small image."""
    made = c("image", "POST", "/v2/images", {"name": "metering", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{made}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    return str(made)


def boot(c: Cloud, zone: str, name: str, image: str) -> str:
    """A server in a zone; not waited for."""
    server = {"name": name, "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": zone}
    got = c("compute", "POST", "/servers", {"server": server}, version="2.60")
    assert got.status == 202, got.body
    return str(got.json()["server"]["id"])


def wait(what: str, done: Callable[[], Any], seconds: float = 60) -> Any:
    """Until ``done`` gives something back."""
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, what
        time.sleep(1)
    return found

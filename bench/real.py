"""The lab that runs (`bin/lab up`): real OpenStack asked directly and through Cascade, in turn in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.report import Figure, percentile
from lab.paths import CHECKOUT, State
from lab.raw import Answer, Cloud
from lab.report import LabError

READS = 60
BOOTS = 12
PORTS = 60
AT_ONCE = 4
"""Ports being made at one time."""
PATIENCE = 120.0


def lab() -> Iterator[Figure]:
    """The lab that runs: list, show and boot through Cascade against the site itself; calls of a boot; ports of the hub."""
    clouds = Cloud.load(State(Path(_state())).clouds_file)
    ways = {"direct": _Tenant(clouds["paris-demo"].login(), None), "cascade": _Tenant(clouds["cascade"].login(), "paris")}
    requests: list[str] = []
    try:
        for tenant in ways.values():
            tenant.prepare()
        for name, ask in (("list of 10 servers", _Tenant.list), ("show of a server", _Tenant.show)):
            yield from _ratio(name, ways, ask, READS)
        boot: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(BOOTS):
            for way, tenant in ways.items():
                seconds, request = tenant.boot()
                boot[way].append(seconds)
                if way == "cascade":
                    requests.append(request)
        yield from _compared("boot to ACTIVE", boot)
    finally:
        for tenant in ways.values():
            tenant.clear()
    yield from _calls(clouds["cascade-admin"].login(), requests)
    yield from _ports(clouds["hub-demo"].login())


def _state() -> str:
    return os.environ.get("CASCADE_LAB_STATE") or str(CHECKOUT / ".lab")


class _Tenant:
    """One of the two ways to the same site."""

    def __init__(self, cloud: Cloud, zone: str | None) -> None:
        self.cloud, self.zone, self.servers, self.image = cloud, zone, list[str](), ""

    def prepare(self) -> None:
        """An image and ten servers."""
        wish = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        self.image = _good(self.cloud("image", "POST", "/v2/images", wish)).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        _good(self.cloud("image", "PUT", f"/v2/images/{self.image}/file", b"\0" * 4096, headers=octets))
        for _ in range(10):
            self.boot(keep=True)

    def boot(self, *, keep: bool = False) -> tuple[float, str]:
        """Seconds from the request to ACTIVE as the client sees it, and the request's id."""
        server = {"name": "bench", "flavorRef": "42", "imageRef": self.image, "networks": "none"}
        begun = time.perf_counter()
        made = _good(self.cloud("compute", "POST", "/servers", {"server": server | self._where()}, version="2.60"))
        ident: str = made.json()["server"]["id"]
        self.servers.append(ident)
        while (status := _good(self.cloud("compute", "GET", f"/servers/{ident}")).json()["server"]["status"]) != "ACTIVE":
            if status == "ERROR" or time.perf_counter() - begun > PATIENCE:
                raise LabError(f"server {ident} is {status}")
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        if not keep:
            self._delete(ident)
        return seconds, made.headers["x-openstack-request-id"]

    def list(self) -> None:
        """As ``openstack server list`` asks."""
        _good(self.cloud("compute", "GET", "/servers/detail?limit=10"))

    def show(self) -> None:
        """One of them."""
        _good(self.cloud("compute", "GET", f"/servers/{self.servers[0]}"))

    def clear(self) -> None:
        """Nothing is left."""
        for ident in list(self.servers):
            self._delete(ident)
        if self.image:
            self.cloud("image", "DELETE", f"/v2/images/{self.image}")

    def _where(self) -> dict[str, str]:
        return {"availability_zone": self.zone} if self.zone else {}

    def _delete(self, ident: str) -> None:
        self.cloud("compute", "DELETE", f"/servers/{ident}")
        end = time.monotonic() + PATIENCE
        while self.cloud("compute", "GET", f"/servers/{ident}").status != 404 and time.monotonic() < end:
            time.sleep(0.1)
        self.servers.remove(ident)


def _ratio(name: str, ways: dict[str, _Tenant], ask: Callable[[_Tenant], None], rounds: int) -> Iterator[Figure]:
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, tenant in ways.items():
            begun = time.perf_counter()
            ask(tenant)
            seconds[way].append(time.perf_counter() - begun)
    yield from _compared(name, seconds)


def _compared(name: str, seconds: dict[str, list[float]]) -> Iterator[Figure]:
    for percent in (50, 95):
        found = {way: percentile(values, percent) for way, values in seconds.items()}
        for way, value in found.items():
            yield Figure(f"lab: {name}, {way}: p{percent}", value * 1000, "ms")
        yield Figure(f"lab: {name}, through Cascade to direct: p{percent}", found["cascade"] / found["direct"], "x")


def _calls(admin: Cloud, requests: list[str]) -> Iterator[Figure]:
    """What the last boots asked of hub and site before they were answered, as written down by Cascade itself."""
    admin.endpoints["cascade"] = admin.auth["auth_url"].removesuffix("/identity/v3") + "/cascade/v1"
    time.sleep(3)  # they are written beside the requests
    for target in ("hub", "paris"):
        counts = []
        for ident in requests:
            calls: list[dict[str, Any]] = _good(admin("cascade", "GET", f"/requests/{ident}")).json()["request"]["calls"]
            counts.append(sum(c["target"] == target for c in calls))
        yield Figure(f"lab: calls to {'the hub' if target == 'hub' else 'the site'} for a boot, median", percentile(counts, 50), "")


def _ports(hub: Cloud) -> Iterator[Figure]:
    """The next limit: each port of every server is made at the hub."""
    network = _good(hub("network", "POST", "/v2.0/networks", {"network": {"name": "bench"}})).json()["network"]["id"]
    made: list[str] = []

    def one(_: int) -> None:
        port = _good(hub("network", "POST", "/v2.0/ports", {"port": {"network_id": network}})).json()["port"]
        made.append(port["id"])

    try:
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/24"}
        _good(hub("network", "POST", "/v2.0/subnets", {"subnet": subnet}))
        begun = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(one, range(PORTS)))
        yield Figure(f"lab: ports the hub's Neutron makes, {AT_ONCE} at once", PORTS / (time.perf_counter() - begun), "1/s")
    finally:
        for ident in made:
            hub("network", "DELETE", f"/v2.0/ports/{ident}")
        hub("network", "DELETE", f"/v2.0/networks/{network}")


def _good(answer: Answer) -> Answer:
    if answer.status >= 400:
        raise LabError(f"{answer.status} {answer.body[:300]!r}")
    return answer

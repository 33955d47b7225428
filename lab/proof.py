"""A site's upgrade proven: tenants work elsewhere all the while, and find what they have at the site as they left it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab import services, upgrade, wires
from lab.data import SITES, Identity
from lab.data import Cloud as Site
from lab.endpoints import endpoint
from lab.load import MODERN, Load
from lab.paths import State
from lab.raw import Answer, Cloud
from lab.report import LabError, say, step

QUIET = 30.0
"""Seconds of load before and after, to compare with."""
_LAST = 19
LOST = 2
"""Pings of minutes that may be lost: the machine is small and busy."""


def run(state: State, site: Site, to: str) -> None:
    """Upgrade a site under load. Raises LabError for the first thing that is not as it should be, for what tenants saw at last."""
    elsewhere = next(s.name for s in SITES.values() if s.name != site.name and s.identity is Identity.MAPPED)

    def account() -> Cloud:
        return Cloud.load(state.clouds_file)["cascade"].login()

    tenant, undo = account(), ExitStack()
    old, before = state.release(site), _window(tenant)
    stage = _stage(tenant, undo, elsewhere, site.name)  # where anything fails it stays, to be looked at
    load = Load(account, elsewhere, site.name, stage=stage)
    load.start()
    packets = _packets(state, undo, stage, elsewhere, site.name)
    try:
        with step(f"tenants work in {elsewhere}"):
            time.sleep(QUIET)
        load.phase("during")
        with _on_its_own(state, site):
            upgrade.upgrade(state, site, to)
        load.phase("after")
        with step(f"tenants work in {elsewhere}"):
            time.sleep(QUIET)
    finally:
        load.stop()
        load.tell()
    if packets:
        packets()
    _still_used(tenant, undo, stage, site.name)
    row = upgrade.known(site)
    say(f"     release shown: {old} -> {row['release']}; compute offered: {before} -> {_window(tenant)}")
    _expect(to in (row["release"] or "").split(", "), f"Cascade takes {site.name} for {row['release']}")
    with step("everything deleted"):
        undo.close()
    _judge(load, site.name)


@contextmanager
def _on_its_own(state: State, site: Site) -> Iterator[None]:
    """What is done at the site takes no CPU from the others while it lasts: in life it is done on machines of its own.

    Twenty-seven services that start at once take both cores else, and it is the other site's Neutron that is late.
    """
    os.setpriority(os.PRIO_PROCESS, 0, _LAST)  # of this thread and what it starts, not of the load's threads
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        for pid in filter(None, (proc.pid() for proc in services.procs(state, site))):
            os.setpriority(os.PRIO_PGRP, pid, 0)


def _judge(load: Load, away: str) -> None:
    """What tenants saw: nothing failed, and the site that was away was said to be."""
    _expect(not load.failures(), f"{len(load.failures())} requests failed")
    unknown, closed = load.away(lambda status, _: status == "UNKNOWN"), load.away(lambda _, available: not available)
    say(f"     {away}'s server was listed as UNKNOWN for {unknown:.0f} s, its zone was not available for {closed:.0f} s")
    _expect(unknown > 0 and closed > 0, f"nobody noticed that {away} was away: this proves nothing")
    _, status, available = load.states[-1]
    _expect(status == "ACTIVE" and available, f"at the end {away}'s server is {status}, its zone available: {available}")


def _stage(tenant: Cloud, undo: ExitStack, here: str, there: str) -> dict[str, str]:
    """An image, a network, a server at each of both sites, and at ``there`` a volume in it."""
    with step(f"a network, servers in {here} and {there}, a volume in {there}"):
        image = _made(tenant, "image", "/v2/images", {"name": "upgrade", "disk_format": "raw", "container_format": "bare"})
        undo.callback(tenant, "image", "DELETE", f"/v2/images/{image}")
        tenant("image", "PUT", f"/v2/images/{image}/file", b"x" * 4096, headers={"Content-Type": "application/octet-stream"})
        network = _made(tenant, "network", "/v2.0/networks", {"network": {"name": "upgrade"}})
        undo.callback(tenant, "network", "DELETE", f"/v2.0/networks/{network}")
        subnet = {"subnet": {"network_id": network, "name": "upgrade", "ip_version": 4, "cidr": "10.66.0.0/24"}}
        _made(tenant, "network", "/v2.0/subnets", subnet)
        stage = {"image": image, "network": network}
        for zone in (here, there):
            stage[zone] = boot(tenant, undo, stage, zone)
        stage["volume"] = _made(
            tenant, "volume", "/volumes", {"volume": {"name": "upgrade", "size": 1, "availability_zone": there}}
        )
        undo.callback(_gone, tenant, "volume", f"/volumes/{stage['volume']}")
        _state(tenant, "volume", f"/volumes/{stage['volume']}", "available")
        _made(tenant, "compute", f"/servers/{stage[there]}/os-volume_attachments",
              {"volumeAttachment": {"volumeId": stage["volume"]}})  # fmt: skip
        undo.callback(_detached, tenant, stage[there], stage["volume"])
        _state(tenant, "volume", f"/volumes/{stage['volume']}", "in-use")
    return stage


def boot(tenant: Cloud, undo: ExitStack, stage: dict[str, str], zone: str) -> str:
    """A server, ACTIVE; its id."""
    body = {"server": {"name": f"upgrade-{zone}", "flavorRef": "42", "imageRef": stage["image"], "availability_zone": zone,
                       "networks": [{"uuid": stage["network"]}]}}  # fmt: skip
    server = _made(tenant, "compute", "/servers", body, version=MODERN)
    undo.callback(_gone, tenant, "compute", f"/servers/{server}")
    _state(tenant, "compute", f"/servers/{server}", "ACTIVE")
    return server


def _packets(state: State, undo: ExitStack, stage: dict[str, str], here: str, there: str) -> Callable[[], None] | None:
    """A ping a second from the server ``here`` to the one ``there``; what ends it says what came back. None: no wires here."""
    if not wires.real(state):
        return None
    clouds = Cloud.load(state.clouds_file)
    ends = {}
    for site in (here, there):
        (port,) = clouds[f"{site}-admin"]("network", "GET", "/v2.0/ports", device_id=stage[site]).json()["ports"]
        address = port["fixed_ips"][0]["ip_address"]
        end = endpoint(site, port)
        undo.callback(end.unplug)
        end.static(f"{address}/24")
        ends[site] = (end, address)
    (end, _), (_, address) = ends[here], ends[there]
    with step(f"the guest in {here} reaches the one in {there}"):
        _expect(end.ping(address) is not None, f"{address} does not answer")
    words = wires.inside(end.namespace, ("ping", "-n", "-q", "-i", "1", address))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def over() -> None:
        process.send_signal(signal.SIGINT)
        said = process.communicate()[0]
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        _expect(found is not None, said)
        assert found is not None
        sent, received = int(found[1]), int(found[2])
        say(f"     of {sent} pings from the guest in {here} to the one in {there} {sent - received} were lost")
        _expect(sent - received <= LOST, f"{sent - received} pings were lost")

    undo.callback(process.kill)
    return over


def _still_used(tenant: Cloud, undo: ExitStack, stage: dict[str, str], zone: str) -> None:
    """What stood at the site is as it was, does what it is told, and there is room for more."""
    server = f"/servers/{stage[zone]}"
    with step(f"{zone}: the server of before is ACTIVE, its volume in it, its address kept"):
        doc = tenant("compute", "GET", server, version=MODERN).json()["server"]
        attached = [row["id"] for row in doc["os-extended-volumes:volumes_attached"]]
        _expect(doc["status"] == "ACTIVE" and attached == [stage["volume"]], f"{doc['status']}, volumes {attached}")
        _expect(doc["OS-EXT-AZ:availability_zone"] == zone and bool(doc["addresses"].get("upgrade")), f"{doc['addresses']}")
    for word, wanted in (("os-stop", "SHUTOFF"), ("os-start", "ACTIVE")):
        with step(f"{zone}: {word} makes it {wanted}"):
            _expect(tenant("compute", "POST", f"{server}/action", {word: None}).status == 202, word)
            _state(tenant, "compute", server, wanted)
    with step(f"{zone}: a snapshot of it, and a server made of that"):
        got = tenant("compute", "POST", f"{server}/action", {"createImage": {"name": "upgrade-snapshot"}}, version=MODERN)
        _expect(got.status == 202, f"createImage: {got.status} {got.body[:200]!r}")
        image = got.json()["image_id"]
        undo.callback(tenant, "image", "DELETE", f"/v2/images/{image}")
        tenant.until("image", f"/v2/images/{image}", lambda answer: answer.json()["status"] == "active")
        boot(tenant, undo, stage | {"image": image}, zone)
    with step(f"{zone}: a new volume is available"):
        volume = _made(tenant, "volume", "/volumes", {"volume": {"name": "upgrade-new", "size": 1, "availability_zone": zone}})
        undo.callback(_gone, tenant, "volume", f"/volumes/{volume}")
        _state(tenant, "volume", f"/volumes/{volume}", "available")


def _window(tenant: Cloud) -> str:
    doc: Any = tenant("compute", "GET", "/").json()["version"]
    return f"{doc['min_version']}-{doc['version']}"


def _made(tenant: Cloud, service: str, path: str, body: dict[str, Any], **more: Any) -> str:
    """POST something; its id."""
    got = tenant(service, "POST", path, body, **more)
    _expect(got.status in (200, 201, 202), f"{service} POST {path}: {got.status} {got.body[:300]!r}")
    doc = got.json()
    return str(doc["id"] if "id" in doc else next(iter(doc.values()))["id"])


def _state(tenant: Cloud, service: str, path: str, wanted: str) -> None:
    key = "server" if service == "compute" else "volume"
    _wait(tenant, service, path, lambda answer: answer.json()[key]["status"] == wanted)


def _gone(tenant: Cloud, service: str, path: str) -> None:
    tenant(service, "DELETE", path)
    _wait(tenant, service, path, lambda answer: answer.status == 404)


def _detached(tenant: Cloud, server: str, volume: str) -> None:
    tenant("compute", "DELETE", f"/servers/{server}/os-volume_attachments/{volume}")
    _state(tenant, "volume", f"/volumes/{volume}", "available")


def _wait(tenant: Cloud, service: str, path: str, done: Callable[[Answer], bool]) -> None:
    try:
        tenant.until(service, path, done, seconds=120)
    except AssertionError as error:
        raise LabError(f"{path}: {error}") from error


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise LabError(otherwise)

"""Cascade itself: its configuration, its process, and the sites it is told about."""

import os
import sys
from pathlib import Path

from lab import procs
from lab.config.ini import Ini, render
from lab.data import GATEWAY_PORT, GATEWAY_URL, HUB, USER_REGION, Cloud
from lab.paths import State
from lab.procs import Proc
from lab.report import LabError, step
from lab.rest import Rest
from lab.shell import run
from lab.wait import answers, until

PROGRAM = Path(sys.executable).parent / "cascade"


def proc(state: State) -> Proc:
    """The gateway's process."""
    argv = (str(PROGRAM), "serve", "--config-file", str(config_file(state)))
    return Proc("cascade", state.gateway, argv, port=GATEWAY_PORT, grace=10)


def up(state: State, sites: list[Cloud]) -> None:
    """Start the gateway and register sites, as far as that is not done."""
    start(state)
    for site in sites:
        register(state, site)


def start(state: State) -> None:
    """Write the configuration and start the gateway."""
    _write(state)
    gateway = proc(state)
    if gateway.pid():
        return
    run([str(PROGRAM), "upgrade", "--config-file", str(config_file(state))])
    gateway.start()
    try:
        with step("start the gateway"):
            until("the gateway is healthy", lambda: _healthy(gateway), 60)
    except LabError as error:
        procs.stop([gateway])
        raise LabError(f"{error}\n{gateway.failure()}") from None


def register(state: State, site: Cloud) -> None:
    """Tell Cascade about a site, once."""
    sites = f"{GATEWAY_URL}/cascade/v1/sites"
    admin = Rest(HUB.identity_url, "admin", "admin")
    if site.name in {known["name"] for known in admin.get(sites)["sites"]}:
        return
    with step(f"{site.name}: join the cloud"):
        wish = {"name": site.name, "cloud": site.name, "identity": str(site.identity)}
        # Sites of several releases are the point of the lab, so the oldest may set the microversion window.
        admin.post(sites, {"site": wish, "allow_lower_window": True})


def stop(state: State) -> None:
    """Stop the gateway."""
    procs.stop([proc(state)])


def config_file(state: State) -> Path:
    return state.gateway.root / "cascade.conf"


def _healthy(gateway: Proc) -> bool:
    if gateway.pid() is None:
        raise LabError("the gateway died")
    return answers(GATEWAY_PORT, "/healthz", timeout=5)


def _write(state: State) -> None:
    options = {"listen": f"127.0.0.1:{GATEWAY_PORT}", "public_url": GATEWAY_URL, "region": USER_REGION}
    configure(state, HUB.name, options)


def configure(state: State, hub: str, options: dict[str, str], database: str = "") -> None:
    """Write the configuration; ``options`` are those of section DEFAULT, ``database`` is a URL, "" for a file beside it."""
    place = state.gateway
    place.make()
    key = place.root / "master.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(32))
    ini: Ini = {
        "DEFAULT": {**options, "log_file": place.log / "cascade.log"},
        "database": {"connection": database or f"sqlite+aiosqlite:///{place.root / 'cascade.db'}"},
        "hub": {"cloud": hub},
        "sites": {"clouds_file": state.clouds_file},
        "secrets": {"master_key_file": key},
    }
    config_file(state).write_text(render(ini))

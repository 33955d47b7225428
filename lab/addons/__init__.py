"""Programs beside the lab's clouds that people use OpenStack with, each unmodified and in a virtual environment of its own.

An add-on is one row of ``ADDONS``: `bin/lab up --with NAME` installs it and starts it with the rest from then on; `start NAME`
and `stop NAME` touch nothing else.
"""

from collections.abc import Iterable
from pathlib import Path

from lab import gateway, install, procs
from lab.addons import aodh, heat, horizon, metering, skyline
from lab.addons.kind import AddOn
from lab.data import GATEWAY_PORT
from lab.paths import State
from lab.report import LabError, step
from lab.wait import answers, ready

ADDONS = {addon.name: addon for addon in (metering.ADDON, aodh.ADDON, heat.ADDON, horizon.ADDON, skyline.ADDON)}


def chosen(state: State, names: Iterable[str]) -> list[AddOn]:
    """Those named, and those that were started before."""
    wanted = {name for name, addon in ADDONS.items() if _stamp(state, addon).exists()} | set(names)
    return [addon for name, addon in ADDONS.items() if name in wanted]


def prepare(state: State, addons: Iterable[AddOn]) -> None:
    """Install add-ons and tell the hub about them. A gateway that runs learns a new service by starting again."""
    changed = False
    for addon in addons:
        addon.place(state).make()
        install.environment(state, addon.release, addon.venv(state))
        changed |= addon.prepare(state)
    if changed and gateway.proc(state).pid():
        gateway.stop(state)
        gateway.start(state)


def start(state: State, addons: Iterable[AddOn]) -> None:
    """Start add-ons. They use the cloud as everybody does: the gateway must answer."""
    for addon in addons:
        if not answers(GATEWAY_PORT, "/healthz", timeout=5):
            raise LabError(f"{addon.name} is used through the gateway, which does not answer; start cascade first")
        running = addon.procs(state)
        with step(f"{addon.name}: start {len(running)} processes"):
            for proc in running:
                proc.start()
            ready(running)
        _stamp(state, addon).touch()


def stop(state: State, addons: Iterable[AddOn]) -> None:
    """Stop add-ons."""
    procs.stop(proc for addon in addons for proc in addon.procs(state))


def _stamp(state: State, addon: AddOn) -> Path:
    return addon.place(state).var / "started"

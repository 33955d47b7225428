"""Configuration files of every service of a cloud, rendered from the data."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.config import compute, network, services
from lab.config.ini import Context, Ini, render
from lab.data import Cloud
from lab.paths import State

RENDERERS: dict[str, Callable[[Context], dict[str, Ini]]] = {
    "keystone": services.keystone,
    "placement": services.placement,
    "glance": services.glance,
    "nova": compute.nova,
    "neutron": network.neutron,
    "cinder": services.cinder,
}


def write(state: State, cloud: Cloud) -> None:
    """Write all files of a cloud and create the folders they name."""
    context = Context(state, cloud)
    context.place.make()
    for service in cloud.services:
        folder = context.place.etc / service
        folder.mkdir(exist_ok=True)
        for name, ini in RENDERERS[service](context).items():
            (folder / name).write_text(render(ini))
        (context.place.var / service).mkdir(exist_ok=True)
    shutil.copy(context.venv / "etc" / "nova" / "api-paste.ini", context.place.etc / "nova")
    for index in range(1, cloud.computes + 1):
        (context.place.var / f"nova-compute{index}").mkdir(exist_ok=True)


def files(state: State, cloud: Cloud, service: str) -> list[str]:
    """The --config-file arguments of a service's programs."""
    special = {"glance": ["glance-api.conf"], "neutron": ["neutron.conf", "ml2_conf.ini"]}
    return named(state, cloud, service, special.get(service, [f"{service}.conf"]))


def named(state: State, cloud: Cloud, service: str, names: Iterable[str]) -> list[str]:
    """The same for files by name, and behind them what add-ons have to say to the service (``added``)."""
    folder = state.cloud(cloud).etc / service
    files = [*(folder / name for name in names), *sorted(added(state, cloud, service).glob("*.conf"))]
    return [word for file in files for word in ("--config-file", str(file))]


def added(state: State, cloud: Cloud, service: str) -> Path:
    """The folder with what add-ons add to a service's configuration; none is made where there is nothing."""
    return state.cloud(cloud).etc / service / "added"

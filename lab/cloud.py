"""Bring one cloud up and down: the hub or a site."""

import signal
import threading
import time

from lab import bootstrap, config, infra, install, migrate, ovn, procs, services
from lab.data import HUB, Cloud, Identity
from lab.paths import State
from lab.procs import Proc
from lab.report import LabError, step
from lab.rest import Rest
from lab.wait import answers, ready, until

BOOTSTRAP_VERSION = "1"
"""Change it when bootstrap.py or its data change, so that existing labs are set up again."""

_catalogue_lock = threading.Lock()


def all_procs(state: State, cloud: Cloud) -> list[Proc]:
    """Every process of a cloud."""
    return [*([] if cloud.is_hub else ovn.procs(state, cloud)), *services.procs(state, cloud)]


def up(state: State, cloud: Cloud) -> None:
    """Make a cloud run; what runs already is left alone. If it fails, what was started now is stopped again."""
    begun = [proc for proc in all_procs(state, cloud) if proc.pid() is None]
    try:
        _up(state, cloud)
    except BaseException:
        procs.stop(begun)
        raise


def _up(state: State, cloud: Cloud) -> None:
    place = state.cloud(cloud)
    running = services.procs(state, cloud)
    if all(proc.pid() for proc in all_procs(state, cloud)) and bootstrapped(state, cloud):
        with step(f"{cloud.name}: runs already"):
            _signal(state, cloud, signal.SIGCONT)  # it may be frozen
            ready(running)
        return
    if cloud.identity is Identity.SHARED and not answers(HUB.port("keystone")):
        raise LabError(f"{cloud.name} uses the hub's Keystone, which does not answer; start the hub first")
    if to := unfinished(state, cloud):
        raise LabError(f"{cloud.name} is half way to {to}: bin/lab upgrade {cloud.name} --to {to}, or --back")
    install.release(state, state.release(cloud))
    config.write(state, cloud)
    migrate.databases(state, cloud)
    if not cloud.is_hub:
        infra.wait_for_broker(state)
    if not bootstrapped(state, cloud):
        with step(f"{cloud.name}: accounts and catalogue"):
            keystone = [proc for proc in running if proc.name == "keystone-api"]
            for proc in keystone:
                proc.start()
            ready(keystone)
            with _catalogue_lock:  # sites with shared identity write to the hub's Keystone
                bootstrap.identity(cloud)
    with step(f"{cloud.name}: start {len(all_procs(state, cloud))} processes"):
        if not cloud.is_hub:
            ovn.start(state, cloud)
        for proc in running:
            proc.start()
        ready(running)
        _settled(state, cloud)
    if not bootstrapped(state, cloud):
        with step(f"{cloud.name}: flavors and networks"):
            bootstrap.data(cloud)
        (place.var / "bootstrapped").write_text(BOOTSTRAP_VERSION)


def bootstrapped(state: State, cloud: Cloud) -> bool:
    """Whether a cloud was brought up completely before."""
    stamp = state.cloud(cloud).var / "bootstrapped"
    return stamp.exists() and stamp.read_text() == BOOTSTRAP_VERSION


def unfinished(state: State, cloud: Cloud) -> str | None:
    """The release whose migrations were begun at a cloud and not finished: neither old nor new services may start."""
    mark = state.cloud(cloud).upgrading_file
    return mark.read_text() if mark.exists() else None


def _settled(state: State, cloud: Cloud) -> None:
    """Wait until a site can really boot a server: agents report, the compute services are mapped to a cell."""
    if cloud.is_hub:
        return
    begun = time.time() - 30
    admin = Rest(cloud.identity_url, "admin", "admin")
    volume = f"{cloud.url('cinder')}/v3/{admin.project_id}/os-services"

    def mapped() -> bool:
        return int(infra.sql("select count(*) from host_mappings", cloud.database("nova_api"))) >= cloud.computes

    def alive() -> bool:
        for proc in services.procs(state, cloud):
            if proc.pid() is None:
                raise proc.failure()
        computes = admin.get(f"{cloud.url('nova')}/v2.1/os-services?binary=nova-compute")["services"]
        volumes = admin.get(f"{volume}?binary=cinder-volume")["services"]
        found = [*computes, *volumes]
        return len(found) > cloud.computes and all(item["state"] == "up" and _epoch(item["updated_at"]) > begun for item in found)

    until(f"{cloud.name}: Nova's and Cinder's services are up", alive, 120, 1)
    until(f"{cloud.name}: compute services are mapped to a cell", mapped, 60, 1)


def _epoch(stamp: str | None) -> float:
    """Seconds of an ISO time in UTC; 0 for none."""
    return time.mktime(time.strptime(stamp.split(".")[0], "%Y-%m-%dT%H:%M:%S")) - time.timezone if stamp else 0.0


def down(state: State, clouds: list[Cloud]) -> None:
    """Stop clouds: first what is OpenStack, then OVN below it."""
    procs.stop(proc for cloud in clouds for proc in services.procs(state, cloud))
    procs.stop(proc for cloud in clouds if not cloud.is_hub for proc in ovn.procs(state, cloud))


def freeze(state: State, cloud: Cloud) -> int:
    """Stop every OpenStack process of a cloud where it stands: it accepts connections and never answers."""
    return _signal(state, cloud, signal.SIGSTOP)


def thaw(state: State, cloud: Cloud) -> int:
    """Let a frozen cloud go on."""
    return _signal(state, cloud, signal.SIGCONT)


def _signal(state: State, cloud: Cloud, number: int) -> int:
    done = sum(proc.signal(number) for proc in services.procs(state, cloud))
    if not done:
        raise LabError(f"{cloud.name} does not run")
    return done

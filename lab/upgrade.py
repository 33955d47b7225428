"""A site's upgrade to another release, step by step as its operator does it. Safe to run again where it broke off.

The order is the services' own: Keystone, Placement, Glance, Nova, Neutron, Cinder; databases are migrated by the new release's
programs while the old one's services are stopped. OVN is left alone: what guests send goes on all the while.
"""

import shutil
import sys
import time
from pathlib import Path

from lab import cloud, config, gateway, infra, install, procs, services
from lab.data import DATABASES, GATEWAY_URL, HUB, Cloud, supported_step
from lab.paths import Place, State
from lab.report import LabError, say, step
from lab.rest import Json, Rest
from lab.shell import run
from lab.wait import ready, until

Command = tuple[str, ...]

FINISH: dict[str, tuple[Command, ...]] = {
    "placement": (("placement-manage", "db", "online_data_migrations"),),
    "nova": (("nova-manage", "db", "online_data_migrations"),),
    "cinder": (("cinder-manage", "db", "online_data_migrations"),),
}
"""What a release leaves to be done while it runs. The old one's must be finished before, the new one's is begun after."""
MIGRATE: dict[str, tuple[Command, ...]] = {
    "keystone": tuple(("keystone-manage", "db_sync", phase) for phase in ("--expand", "--migrate", "--contract")),
    "placement": (("placement-manage", "db", "sync"),),
    "glance": (
        *(("glance-manage", "db", phase) for phase in ("expand", "migrate", "contract")),
        ("glance-manage", "db_load_metadefs"),
    ),
    "nova": (("nova-manage", "api_db", "sync"), ("nova-manage", "db", "sync")),
    "neutron": (("neutron-db-manage", "upgrade", "heads"),),
    "cinder": (("cinder-manage", "db", "sync"),),
}
CHECK: dict[str, tuple[Command, ...]] = {
    service: ((f"{service}-status", "upgrade", "check"),) for service in ("keystone", "placement", "glance", "nova", "cinder")
}
"""Before the new services start. Nova's asks Placement, which therefore starts first."""
WARNED = 1
"""What a check answers that has something to say and nothing against it."""


def upgrade(state: State, site: Cloud, to: str) -> None:
    """Bring a site to release ``to``. Raises LabError for a step the services do not support, and where one fails."""
    old, place = state.release(site), state.cloud(site)
    if (begun := cloud.unfinished(state, site)) not in (None, to):
        raise LabError(f"{site.name} is half way to {begun}: finish that, or go back with --back")
    if old != to and not supported_step(old, to):
        raise LabError(f"{site.name} runs {old}: the services support no upgrade from there to {to} at once")
    if old != to and not cloud.bootstrapped(state, site):
        raise LabError(f"{site.name} was never brought up")
    install.release(state, to)
    if old != to:
        with step(f"{site.name}: what {old} has to finish before"):
            _commands(state, site, FINISH)
    drain(state, site)
    away = time.monotonic()
    if old != to or begun:
        stop(state, site)
        if old != to:
            back_up(state, site, old)
            place.upgrading_file.write_text(to)
            place.release_file.write_text(to)
            config.write(state, site)
        for service in site.services:
            with step(f"{site.name}: {service}'s migrations to {to}"):
                _commands(state, site, {service: MIGRATE[service]})
        with step(f"{site.name}: upgrade checks of {to}"):
            first = [proc for proc in services.procs(state, site) if proc.name in ("keystone-api", "placement-api")]
            for proc in first:
                proc.start()
            ready(first)
            _commands(state, site, CHECK, codes=(0, WARNED))
        place.upgrading_file.unlink()
    cloud.up(state, site)
    say(f"     {site.name}'s APIs were away for {time.monotonic() - away:.0f} s")
    with step(f"{site.name}: what {to} does while it runs"):
        _commands(state, site, FINISH)
    take_back(state, site)


def back(state: State, site: Cloud) -> None:
    """Return to the release before the last upgrade, with the databases as they were then: what was made since is lost there."""
    place = state.cloud(site)
    stamp = _backup(place) / "release"
    if not stamp.exists():
        raise LabError(f"{site.name} was not upgraded")
    drain(state, site)
    stop(state, site)
    with step(f"{site.name}: restore its databases of {stamp.read_text()}"):
        for name in _databases(site):
            database = site.database(name)
            infra.sql(f"drop database if exists {database}; create database {database} character set utf8mb3;")
            infra.sql((_backup(place) / f"{name}.sql").read_text(), database)
    place.release_file.write_text(stamp.read_text())
    place.upgrading_file.unlink(missing_ok=True)
    cloud.up(state, site)
    take_back(state, site)


def drain(state: State, site: Cloud) -> None:
    """Have Cascade give the site nothing new; what is there works on until it is stopped."""
    openstack(state, "cascade", "site", "drain", site.name)


def stop(state: State, site: Cloud) -> None:
    """Stop the site's services; OVN, which carries the guests' packets, goes on."""
    with step(f"{site.name}: stop {len(services.procs(state, site))} processes"):
        procs.stop(services.procs(state, site))


def back_up(state: State, site: Cloud, release: str) -> None:
    """Dump the site's databases. Its services are stopped: nothing happens between one dump and the next."""
    folder = _backup(state.cloud(site))
    with step(f"{site.name}: back its databases up"):
        shutil.rmtree(folder, ignore_errors=True)
        for name in _databases(site):
            infra.dump(site.database(name), folder / f"{name}.sql")
        (folder / "release").write_text(release)  # last: the backup is whole
    say(f"     {sum(file.stat().st_size for file in folder.iterdir()) / 2**20:.1f} MiB in {folder}")


def take_back(state: State, site: Cloud) -> None:
    """Wait until Cascade has seen what the site can do now, then let it take new things again."""
    admin = Rest(HUB.identity_url, "admin", "admin")
    high = next(row["version"] for row in admin.get(f"{site.url('nova')}/")["versions"] if row["id"] == "v2.1")
    with step(f"{site.name}: Cascade sees it up, compute up to {high}"):
        until(f"{site.name}: seen by Cascade", lambda: _seen(admin, site) == ("up", high), 120, 1)
    openstack(state, "cascade", "site", "set", "--undrain", site.name)


def known(site: Cloud) -> Json:
    """A site as ``openstack cascade status`` has it."""
    found = Rest(HUB.identity_url, "admin", "admin").get(f"{GATEWAY_URL}/cascade/v1/status")["status"]["sites"]
    row: Json = next(row for row in found if row["name"] == site.name)
    return row


def openstack(state: State, *words: str) -> str:
    """The command line as the cloud's administrator; it shows as a step."""
    if gateway.proc(state).pid() is None:
        raise LabError("the gateway does not run: bin/lab start cascade")
    env = {"OS_CLIENT_CONFIG_FILE": str(state.clouds_file), "OS_CLOUD": "cascade-admin", "PYTHONWARNINGS": "ignore"}
    with step(f"$ openstack {' '.join(words)}"):
        return run([Path(sys.executable).parent / "openstack", *words], env=env)


def _seen(admin: Rest, site: Cloud) -> tuple[str, str]:
    admin.get(f"{GATEWAY_URL}/cascade/v1/sites/{site.name}/health")  # a probe, now
    row = next(r for r in admin.get(f"{GATEWAY_URL}/cascade/v1/status")["status"]["sites"] if r["name"] == site.name)
    return row["health"]["state"], (row["windows"]["compute"] or ("", ""))[1]


def _commands(state: State, site: Cloud, what: dict[str, tuple[Command, ...]], codes: tuple[int, ...] = (0,)) -> None:
    """Run services' own programs, those of the release the site is marked with."""
    programs = state.venv(state.release(site)) / "bin"
    for service in site.services:
        for program, *words in what.get(service, ()):
            if words == ["db_load_metadefs"]:
                words.append(str(programs.parent / "etc" / "glance" / "metadefs"))
            argv: list[str | Path] = [programs / program, *config.files(state, site, service), *words]
            run(argv, env={"PYTHONWARNINGS": "ignore"}, codes=codes)


def _databases(site: Cloud) -> list[str]:
    return [name for service in site.services for name in DATABASES[service]]


def _backup(place: Place) -> Path:
    return place.var / "before-upgrade"

"""Metering at the sites: real Gnocchi (API, metricd, an indexer in MariaDB, files) and real Ceilometer (polling, notifications).

Each site has its own, as clouds of different owners do. Nothing of a site that runs is changed: these are more processes beside
it, a service user each and an entry in the site's catalogue.
"""

from collections.abc import Iterable

from lab import bootstrap, infra
from lab.addons import kind
from lab.addons.kind import AddOn
from lab.config.ini import Context, Ini, render
from lab.data import GATEWAY_URL, HUB, PORT_OFFSET, SITES, USER_REGION, Cloud, Release
from lab.install import SYSTEM_PATH
from lab.paths import Place, State
from lab.procs import Proc
from lab.report import LabError, step
from lab.services import uwsgi
from lab.shell import run
from lab.wait import answers, ready

RELEASE = Release(
    "metering",
    ("gnocchi==4.7.1", "oslo.db", "sqlalchemy-utils", "pymysql", "keystonemiddleware", "python-snappy", "uwsgi",
     "setuptools<81", "ceilometer==27.0.0", "gnocchiclient==7.2.0", "gabbi==4.2.3", "pytest"),
    exclude_newer="2026-11-23",
)  # fmt: skip
"""setuptools: Gnocchi still imports pkg_resources. gnocchiclient and gabbi are what the tests use, unchanged."""
METERED = ("paris", "tokyo")
PORT = 20
"""Offset of Gnocchi's API from the site's base port."""
SACKS = "4"
USERS = ("gnocchi", "ceilometer")
POLLED = """sources:
- name: lab
  interval: 30
  meters: [image.size, ip.floating]
sinks: []
"""
"""What services are asked for; Ceilometer ships no file of its own. A fake hypervisor has nothing to be polled, and Ceilometer 27.0
cannot ask Cinder: openstacksdk misses a section of its configuration that it does not know."""


def procs(state: State) -> list[Proc]:
    """Every process of every metered site."""
    return [proc for cloud in _sites() for proc in (*_gnocchi_procs(state, cloud), *_ceilometer_procs(state, cloud))]


def prepare(state: State) -> bool:
    """Configuration, databases, users, catalogue entries, and the resource types and archive policies that Ceilometer expects.

    Raises LabError where a metered site does not answer.
    """
    for cloud in (HUB, *_sites()):
        if not answers(cloud.port("keystone")):
            raise LabError(f"{cloud.name} does not answer: metering stands beside sites that run")
    for cloud in _sites():
        place = _place(state, cloud)
        place.make()
        for name, ini in {"gnocchi": _gnocchi(state, cloud), "ceilometer": _ceilometer(state, cloud)}.items():
            (place.etc / f"{name}.conf").write_text(render(ini))
        (place.etc / "polling.yaml").write_text(POLLED)
        _paste(state, place)
        bootstrap.service(cloud, USERS, ("metric", "gnocchi"), {cloud.name: url(cloud)})
        if not (place.var / "migrated").exists():
            with step(f"{cloud.name}: Gnocchi's database"):
                infra.sql(f"create database if not exists {cloud.database('gnocchi')} character set utf8mb3;")
                conf = place.etc / "gnocchi.conf"
                run([_program(state, "gnocchi-upgrade"), "--config-file", conf, "--sacks-number", SACKS])
            (place.var / "migrated").touch()
        if not (place.var / "types").exists():
            with step(f"{cloud.name}: Ceilometer's resource types"):  # a Gnocchi makes them, so it must run
                gnocchi = list(_gnocchi_procs(state, cloud))
                for proc in gnocchi:
                    proc.start()
                ready(gnocchi)
                run([_program(state, "ceilometer-upgrade"), "--config-file", place.etc / "ceilometer.conf"])
            (place.var / "types").touch()
    return bootstrap.service(HUB, (), ("metric", "gnocchi"), {USER_REGION: f"{GATEWAY_URL}/metric"})


def url(cloud: Cloud) -> str:
    """Where a site's Gnocchi answers."""
    return f"http://127.0.0.1:{cloud.base_port + PORT_OFFSET + PORT}"


def _gnocchi_procs(state: State, cloud: Cloud) -> Iterable[Proc]:
    place, port = _place(state, cloud), cloud.base_port + PORT_OFFSET + PORT
    api = (
        *uwsgi(kind.venv(state, RELEASE.name), "gnocchi.rest.wsgi:application", port, f"{cloud.name} gnocchi", 1, 6),
        *("--pyargv", f"--config-file {place.etc / 'gnocchi.conf'}"),
    )
    yield Proc("gnocchi-api", place, api, _environment(state), port, grace=5)
    yield _daemon(state, place, "gnocchi-metricd", "gnocchi")


def _ceilometer_procs(state: State, cloud: Cloud) -> Iterable[Proc]:
    place = _place(state, cloud)
    yield _daemon(state, place, "ceilometer-agent-notification", "ceilometer")
    yield _daemon(state, place, "ceilometer-polling", "ceilometer", "--polling-namespaces", "central")


def _daemon(state: State, place: Place, name: str, conf: str, *more: str) -> Proc:
    argv = (_program(state, name), "--config-file", str(place.etc / f"{conf}.conf"), *more)
    return Proc(name, place, argv, _environment(state), grace=10)


def _environment(state: State) -> dict[str, str]:
    return {
        "PATH": f"{kind.venv(state, RELEASE.name) / 'bin'}:{SYSTEM_PATH}",
        "PYTHONWARNINGS": "ignore",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",  # numpy would take a core per process
    }


def _paste(state: State, place: Place) -> None:
    """Gnocchi's own pipeline, whose token filter reads the configuration of this site: by itself it would look into /etc."""
    libraries = next((kind.venv(state, RELEASE.name) / "lib").glob("python3*")) / "site-packages"
    named = "use = egg:keystonemiddleware#auth_token\n"
    text = (
        (libraries / "gnocchi" / "rest" / "api-paste.ini")
        .read_text()
        .replace(named, f"{named}oslo_config_file = {place.etc / 'gnocchi.conf'}\n")
    )
    (place.etc / "api-paste.ini").write_text(text)


def _gnocchi(state: State, cloud: Cloud) -> Ini:
    place = _place(state, cloud)
    return {
        "DEFAULT": {"log_file": place.log / "gnocchi.log", "use_stderr": False, "parallel_operations": 2},
        "api": {"auth_mode": "keystone", "paste_config": place.etc / "api-paste.ini"},
        "indexer": {"url": cloud.database_url("gnocchi")},
        "storage": {"driver": "file", "file_basepath": place.var / "storage"},
        "incoming": {"driver": "file", "file_basepath": place.var / "storage"},
        # What is measured shows within seconds, for tests wait for it; with few sacks looking for it costs next to nothing.
        "metricd": {"workers": 1, "metric_processing_delay": 2, "metric_cleanup_delay": 5, "greedy": False},
        "keystone_authtoken": Context(state, cloud).auth(
            "gnocchi", www_authenticate_uri=cloud.identity_url, service_type="metric", interface="internal"
        ),
    }


def _ceilometer(state: State, cloud: Cloud) -> Ini:
    place = _place(state, cloud)
    return {
        "DEFAULT": {
            "transport_url": cloud.transport_url,
            "log_dir": place.log,
            "use_stderr": False,
            "host": f"{cloud.name}-ctl",
        },
        "service_credentials": Context(state, cloud).auth("ceilometer", interface="internalURL"),
        "notification": {"workers": 1},
        "polling": {"cfg_file": place.etc / "polling.yaml", "heartbeat_socket_dir": place.run},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": True, "rabbit_quorum_queue": False},
    }


def _sites() -> list[Cloud]:
    return [SITES[name] for name in METERED]


def _place(state: State, cloud: Cloud) -> Place:
    return Place(kind.place(state, RELEASE.name).root / cloud.name)


def _program(state: State, name: str) -> str:
    return str(kind.venv(state, RELEASE.name) / "bin" / name)


ADDON = AddOn(RELEASE, prepare, procs)

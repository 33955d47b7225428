"""Aodh at the hub: alarms on what sites measure. A client like any other: measures, tokens and trusts come through the gateway."""

from lab import bootstrap, infra
from lab.addons import kind
from lab.addons.kind import AddOn
from lab.config.ini import Ini, render
from lab.data import BROKER_PORT, DATABASE_PORT, GATEWAY_URL, HUB, PASSWORD, USER_REGION, Release
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc
from lab.report import step
from lab.services import uwsgi
from lab.shell import run

RELEASE = Release("aodh", ("aodh==23.0.0", "gnocchiclient==7.2.0", "pymysql", "uwsgi"), exclude_newer="2026-11-23")
DATABASE = "hub_aodh"
BUS = "aodh"
"""Its own virtual host of the broker: the evaluator tells the notifier through it."""
EVERY = 5
"""Seconds between two evaluations of an alarm; Aodh's own default is 60."""
IDENTITY = f"{GATEWAY_URL}/identity"


def procs(state: State) -> list[Proc]:
    """API, evaluator, notifier. The listener is for alarms on events, which nothing here sends to the hub."""
    place, venv = kind.place(state, "aodh"), kind.venv(state, "aodh")
    # Aodh's API takes no arguments: all three find aodh.conf in the home folder.
    env = {"PATH": f"{venv / 'bin'}:{SYSTEM_PATH}", "HOME": str(place.etc), "PYTHONWARNINGS": "ignore", "MALLOC_ARENA_MAX": "2"}
    api = uwsgi(venv, "aodh.wsgi.api:application", kind.port("aodh-api"), "aodh", 1, 4)
    daemons = [
        Proc(name, place, (str(venv / "bin" / name), "--log-file", str(place.log / f"{name}.log")), env, grace=10)
        for name in ("aodh-evaluator", "aodh-notifier")
    ]
    return [Proc("aodh-api", place, api, env, kind.port("aodh-api"), grace=5), *daemons]


def prepare(state: State) -> bool:
    """Configuration, database, message bus, the service user, catalogue."""
    place, venv = kind.place(state, "aodh"), kind.venv(state, "aodh")
    (place.etc / "aodh.conf").write_text(render(configuration(state)))
    infra.virtual_host(state, BUS)
    if not (place.var / "migrated").exists():
        with step("aodh: database"):
            infra.sql(f"drop database if exists {DATABASE}; create database {DATABASE} character set utf8mb3;")
            run([str(venv / "bin" / "aodh-dbsync")], env={"HOME": str(place.etc), "PYTHONWARNINGS": "ignore"})
        (place.var / "migrated").touch()
    urls = {HUB.name: kind.url("aodh-api"), USER_REGION: f"{GATEWAY_URL}/alarming"}
    return bootstrap.service(HUB, ("aodh",), ("alarming", "aodh"), urls)


def configuration(state: State) -> Ini:
    """aodh.conf. Gnocchi, Heat and Keystone are found in the catalogue of the users' region."""
    account = {
        "auth_type": "password",
        "auth_url": IDENTITY,
        "username": "aodh",
        "password": PASSWORD,
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
        "region_name": USER_REGION,
        "interface": "public",
    }
    place = kind.place(state, "aodh")
    return {
        "DEFAULT": {
            "transport_url": f"rabbit://guest:guest@127.0.0.1:{BROKER_PORT}/{BUS}",
            "log_dir": place.log,
            "use_stderr": False,
        },
        "api": {"auth_mode": "keystone"},
        "database": {"connection": f"mysql+pymysql://root@127.0.0.1:{DATABASE_PORT}/{DATABASE}?charset=utf8"},
        "evaluator": {"evaluation_interval": EVERY},
        "service_credentials": account,
        "keystone_authtoken": {**account, "www_authenticate_uri": IDENTITY, "service_type": "alarming"},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": True, "rabbit_quorum_queue": False},
    }


ADDON = AddOn(RELEASE, prepare, procs)

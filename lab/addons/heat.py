"""Heat at the hub. It is a client like any other: every call of its own goes through the gateway, tokens and trusts included."""

from lab import bootstrap, infra
from lab.addons import kind
from lab.addons.kind import AddOn
from lab.config.ini import Ini, Section, render
from lab.data import BROKER_PORT, DATABASE_PORT, GATEWAY_URL, HUB, PASSWORD, USER_REGION, Release
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc
from lab.report import step
from lab.rest import Rest
from lab.services import uwsgi
from lab.shell import run

RELEASE = Release("heat", ("openstack-heat==27.0.1", "pymysql", "python-memcached", "uwsgi"), exclude_newer="2026-11-23")
DATABASE = "hub_heat"
BUS = "heat"
"""Its own virtual host of the broker: the hub itself has no use for one."""
DOMAIN = "heat"
"""The domain of the users Heat makes for stacks: who signals, who polls metadata."""
DOMAIN_ADMIN = "heat_domain_admin"
STACK_ROLE = "heat_stack_user"
APIS = {
    # program: its WSGI module
    "heat-api": "heat.wsgi.api",
    "heat-api-cfn": "heat.wsgi.cfn",
}
IDENTITY = f"{GATEWAY_URL}/identity"
SERVICE = {"project_name": "service", "project_domain_id": "default", "region_name": USER_REGION}


def procs(state: State) -> list[Proc]:
    """Both APIs and the engine."""
    place, venv = kind.place(state, "heat"), kind.venv(state, "heat")
    conf = ("--config-file", str(place.etc / "heat.conf"))
    env = {"PATH": f"{venv / 'bin'}:{SYSTEM_PATH}", "PYTHONWARNINGS": "ignore", "MALLOC_ARENA_MAX": "2"}
    found = [
        Proc(name, place, (*uwsgi(venv, f"{module}:application", kind.port(name), name, 1, 4),
             "--pyargv", f"{' '.join(conf)} --log-file {place.log / name}.log"), env, kind.port(name), grace=5)
        for name, module in APIS.items()
    ]  # fmt: skip
    engine = (str(venv / "bin" / "heat-engine"), *conf, "--log-file", str(place.log / "heat-engine.log"))
    return [*found, Proc("heat-engine", place, engine, env, grace=10)]


def prepare(state: State) -> bool:
    """Configuration, database, message bus, accounts, catalogue."""
    place, venv = kind.place(state, "heat"), kind.venv(state, "heat")
    (place.etc / "heat.conf").write_text(render(configuration(state)))
    infra.virtual_host(state, BUS)
    if not (place.var / "migrated").exists():
        with step("heat: database"):
            infra.sql(f"drop database if exists {DATABASE}; create database {DATABASE} character set utf8mb3;")
            manage = [str(venv / "bin" / "heat-manage"), "--config-file", str(place.etc / "heat.conf"), "db_sync"]
            run(manage, env={"PYTHONWARNINGS": "ignore"})
        (place.var / "migrated").touch()
    admin = Rest(HUB.identity_url, "admin", "admin")
    _accounts(admin)
    catalogue = bootstrap.Catalogue(admin, HUB.identity_url)
    for kind_, name, own, north in (
        ("orchestration", "heat", f"{kind.url('heat-api')}/v1/$(project_id)s", f"{GATEWAY_URL}/orchestration/v1/$(project_id)s"),
        # Signed requests name the host and path they were signed for, so nothing can stand in front of this one.
        ("cloudformation", "heat-cfn", f"{kind.url('heat-api-cfn')}/v1", f"{kind.url('heat-api-cfn')}/v1"),
    ):
        catalogue.register(kind_, name, HUB.name, own)
        catalogue.register(kind_, name, USER_REGION, north)
    return catalogue.changed


def _accounts(admin: Rest) -> None:
    """The service user, and the domain of stack users with who makes them."""
    url = HUB.identity_url
    role = bootstrap.collection(admin, f"{url}/roles", "role")
    role(STACK_ROLE)
    bootstrap.service_user(admin, url, "heat")
    domain = bootstrap.collection(admin, f"{url}/domains", "domain")(DOMAIN)["id"]
    keeper = bootstrap.collection(admin, f"{url}/users", "user", domain_id=domain)(DOMAIN_ADMIN, password=PASSWORD)["id"]
    admin.put(f"{url}/domains/{domain}/users/{keeper}/roles/{role('admin')['id']}")


def _auth(**more: object) -> Section:
    return {
        "auth_type": "password",
        "auth_url": IDENTITY,
        "username": "heat",
        "password": PASSWORD,
        "user_domain_id": "default",
        **more,
    }


def configuration(state: State) -> Ini:
    """heat.conf. No service is named by URL: Heat finds all of them in the catalogue of the users' region."""
    place, etc = kind.place(state, "heat"), kind.venv(state, "heat") / "etc" / "heat"
    return {
        "DEFAULT": {
            "transport_url": f"rabbit://guest:guest@127.0.0.1:{BROKER_PORT}/{BUS}",
            "use_stderr": False,
            "host": "hub-ctl",
            "num_engine_workers": 2,
            "region_name_for_services": USER_REGION,
            "heat_metadata_server_url": kind.url("heat-api-cfn"),
            "heat_waitcondition_server_url": f"{kind.url('heat-api-cfn')}/v1/waitcondition",
            "stack_user_domain_name": DOMAIN,
            "stack_domain_admin": DOMAIN_ADMIN,
            "stack_domain_admin_password": PASSWORD,
            "heat_stack_user_role": STACK_ROLE,
            "deferred_auth_method": "trusts",
            "reauthentication_auth_method": "trusts",  # a stack may take longer than its user's token lives
            "auth_encryption_key": "lab" * 10 + "la",
            "environment_dir": etc / "environment.d",
            "template_dir": etc / "templates",
            "enable_stack_abandon": True,
            "enable_stack_adopt": True,
            "stack_scheduler_hints": True,
            "error_wait_time": 10,
        },
        "paste_deploy": {"api_paste_config": etc / "api-paste.ini"},
        "database": {
            "connection": f"mysql+pymysql://root@127.0.0.1:{DATABASE_PORT}/{DATABASE}?charset=utf8",
            "max_pool_size": 5,
            "max_overflow": 20,
        },
        "keystone_authtoken": _auth(
            **SERVICE,
            www_authenticate_uri=IDENTITY,
            interface="public",
            service_type="orchestration",
            service_token_roles="service",
            service_token_roles_required=True,
        ),
        "trustee": _auth(),
        "clients": {"endpoint_type": "publicURL"},
        "clients_keystone": {"auth_uri": IDENTITY},
        "ec2authtoken": _auth(**SERVICE, endpoint_override=IDENTITY),
        "oslo_policy": {"enforce_scope": True},
        "oslo_concurrency": {"lock_path": place.var / "lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": True, "rabbit_quorum_queue": False},
    }


ADDON = AddOn(RELEASE, prepare, procs)

"""Heat at the hub. It is a client like any other: every call of its own goes through the gateway, tokens and trusts included.

The same Heat can stand at a site and know nothing but that site: what is measured through Cascade is compared with that one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lab import bootstrap, infra
from lab import procs as processes
from lab.addons import kind
from lab.addons.kind import AddOn
from lab.config.ini import Ini, Section, render
from lab.data import BROKER_PORT, DATABASE_PORT, GATEWAY_URL, HUB, PASSWORD, PORT_OFFSET, USER_REGION, Cloud, Release
from lab.install import SYSTEM_PATH
from lab.paths import Place, State
from lab.procs import Proc
from lab.report import step
from lab.rest import Rest
from lab.services import uwsgi
from lab.shell import run
from lab.wait import ready

RELEASE = Release("heat", ("openstack-heat==27.0.1", "pymysql", "python-memcached", "uwsgi"), exclude_newer="2026-11-23")
DOMAIN = "heat"
"""The domain of the users Heat makes for stacks: who signals, who polls metadata."""
DOMAIN_ADMIN = "heat_domain_admin"
STACK_ROLE = "heat_stack_user"
APIS = {
    # program: its WSGI module
    "heat-api": "heat.wsgi.api",
    "heat-api-cfn": "heat.wsgi.cfn",
}


@dataclass(frozen=True)
class Stand:
    """Where a Heat stands: the cloud in whose Keystone it has its accounts, and the cloud its stacks are made in."""

    name: str
    """Its folder, its host, and what its database and its virtual host of the broker are called after."""
    cloud: Cloud
    identity: str
    """The Keystone it signs in to, without a version."""
    region: str
    ports: Mapping[str, int]

    @property
    def database(self) -> str:
        """Its database on the lab's one server."""
        return f"{self.cloud.name}_heat"

    @property
    def bus(self) -> str:
        """Its own virtual host of the broker."""
        return self.name.replace("-", "_")

    def url(self, program: str) -> str:
        """Where an API of it listens."""
        return f"http://127.0.0.1:{self.ports[program]}"

    def place(self, state: State) -> Place:
        """Its folders."""
        return kind.place(state, self.name)


AT_HUB = Stand("heat", HUB, f"{GATEWAY_URL}/identity", USER_REGION, {name: kind.port(name) for name in APIS})


def at_site(site: Cloud) -> Stand:
    """A Heat that knows nothing but one site."""
    ports = {name: site.base_port + PORT_OFFSET + number for number, name in enumerate(APIS, start=6)}
    return Stand(f"heat-{site.name}", site, site.url("keystone"), site.name, ports)


def procs(state: State, stand: Stand = AT_HUB) -> list[Proc]:
    """Both APIs and the engine."""
    place, venv = stand.place(state), kind.venv(state, RELEASE.name)
    conf = ("--config-file", str(place.etc / "heat.conf"))
    env = {"PATH": f"{venv / 'bin'}:{SYSTEM_PATH}", "PYTHONWARNINGS": "ignore", "MALLOC_ARENA_MAX": "2"}
    found = [
        Proc(name, place, (*uwsgi(venv, f"{module}:application", stand.ports[name], name, 1, 4),
             "--pyargv", f"{' '.join(conf)} --log-file {place.log / name}.log"), env, stand.ports[name], grace=5)
        for name, module in APIS.items()
    ]  # fmt: skip
    engine = (str(venv / "bin" / "heat-engine"), *conf, "--log-file", str(place.log / "heat-engine.log"))
    return [*found, Proc("heat-engine", place, engine, env, grace=10)]


@contextmanager
def adopting(state: State, stand: Stand = AT_HUB) -> Iterator[None]:
    """A Heat that runs, with an engine that can adopt stacks.

    With ``reauthentication_auth_method`` an engine reads every new stack again from its database. What is to be adopted is not
    written there: it is forgotten, and all is made anew.
    """
    engine = procs(state, stand)[-1]
    override = stand.place(state).etc / "adopting.conf"
    override.write_text(render({"DEFAULT": {"reauthentication_auth_method": ""}}))
    try:
        _again(replace(engine, argv=(*engine.argv, "--config-file", str(override))))
        yield
    finally:
        _again(engine)


def _again(proc: Proc) -> None:
    processes.stop([proc])
    proc.start()
    ready([proc])


def prepare(state: State, stand: Stand = AT_HUB) -> bool:
    """Configuration, database, message bus, accounts, catalogue."""
    place, venv = stand.place(state), kind.venv(state, RELEASE.name)
    (place.etc / "heat.conf").write_text(render(configuration(state, stand)))
    infra.virtual_host(state, stand.bus)
    if not (place.var / "migrated").exists():
        with step(f"{stand.name}: database"):
            infra.sql(f"drop database if exists {stand.database}; create database {stand.database} character set utf8mb3;")
            manage = [str(venv / "bin" / "heat-manage"), "--config-file", str(place.etc / "heat.conf"), "db_sync"]
            run(manage, env={"PYTHONWARNINGS": "ignore"})
        (place.var / "migrated").touch()
    admin = Rest(stand.cloud.identity_url, "admin", "admin")
    _accounts(admin, stand.cloud.identity_url)
    catalogue = bootstrap.Catalogue(admin, stand.cloud.identity_url)
    cfn = f"{stand.url('heat-api-cfn')}/v1"
    catalogue.register("orchestration", "heat", stand.cloud.name, f"{stand.url('heat-api')}/v1/$(project_id)s")
    catalogue.register("cloudformation", "heat-cfn", stand.cloud.name, cfn)
    if stand.cloud.is_hub:
        catalogue.register("orchestration", "heat", USER_REGION, f"{GATEWAY_URL}/orchestration/v1/$(project_id)s")
        # Signed requests name the host and path they were signed for, so nothing can stand in front of this one.
        catalogue.register("cloudformation", "heat-cfn", USER_REGION, cfn)
    return catalogue.changed


def _accounts(admin: Rest, url: str) -> None:
    """The service user, and the domain of stack users with who makes them."""
    role = bootstrap.collection(admin, f"{url}/roles", "role")
    role(STACK_ROLE)
    bootstrap.service_user(admin, url, "heat")
    domain = bootstrap.collection(admin, f"{url}/domains", "domain")(DOMAIN)["id"]
    keeper = bootstrap.collection(admin, f"{url}/users", "user", domain_id=domain)(DOMAIN_ADMIN, password=PASSWORD)["id"]
    admin.put(f"{url}/domains/{domain}/users/{keeper}/roles/{role('admin')['id']}")


def _auth(stand: Stand, **more: object) -> Section:
    return {
        "auth_type": "password",
        "auth_url": stand.identity,
        "username": "heat",
        "password": PASSWORD,
        "user_domain_id": "default",
        **more,
    }


def configuration(state: State, stand: Stand = AT_HUB) -> Ini:
    """heat.conf. No service is named by URL: Heat finds all of them in the catalogue of its region."""
    place, etc = stand.place(state), kind.venv(state, RELEASE.name) / "etc" / "heat"
    service = {"project_name": "service", "project_domain_id": "default", "region_name": stand.region}
    return {
        "DEFAULT": {
            "transport_url": f"rabbit://guest:guest@127.0.0.1:{BROKER_PORT}/{stand.bus}",
            "use_stderr": False,
            "host": f"{stand.cloud.name}-ctl",
            "num_engine_workers": 2,
            "region_name_for_services": stand.region,
            "heat_metadata_server_url": stand.url("heat-api-cfn"),
            "heat_waitcondition_server_url": f"{stand.url('heat-api-cfn')}/v1/waitcondition",
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
            "connection": f"mysql+pymysql://root@127.0.0.1:{DATABASE_PORT}/{stand.database}?charset=utf8",
            "max_pool_size": 5,
            "max_overflow": 20,
        },
        "keystone_authtoken": _auth(
            stand,
            **service,
            www_authenticate_uri=stand.identity,
            interface="public",
            service_type="orchestration",
            service_token_roles="service",
            service_token_roles_required=True,
        ),
        "trustee": _auth(stand),
        "clients": {"endpoint_type": "publicURL"},
        "clients_keystone": {"auth_uri": stand.identity},
        "ec2authtoken": _auth(stand, **service, endpoint_override=stand.identity),
        "oslo_policy": {"enforce_scope": True},
        "oslo_concurrency": {"lock_path": place.var / "lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": True, "rabbit_quorum_queue": False},
    }


ADDON = AddOn(RELEASE, prepare, procs)

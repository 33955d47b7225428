"""Metering at the sites: real Gnocchi (API, metricd, an indexer in MariaDB, files) and real Ceilometer (polling, notifications).

Each site has its own, as clouds of different owners do. They are more processes beside a site that runs, a service user each and an
entry in the site's catalogue; of the site itself what has servers and volumes begins to send notifications.
"""

from lab import bootstrap, config, services
from lab import procs as processes
from lab.addons import kind
from lab.addons.gnocchi import RELEASE, Gnocchi, daemon, program
from lab.addons.kind import AddOn
from lab.config.ini import Context, Ini, render
from lab.data import GATEWAY_URL, HUB, PORT_OFFSET, SITES, USER_REGION, Cloud
from lab.paths import Place, State
from lab.procs import Proc
from lab.report import LabError, step
from lab.shell import run
from lab.wait import answers, ready

METERED = ("paris", "tokyo")
PORT = 20
"""Offset of Gnocchi's API from the site's base port."""
USERS = ("gnocchi", "ceilometer")
POLLED = """sources:
- name: lab
  interval: 30
  meters: [image.size, ip.floating]
sinks: []
"""
"""What services are asked for, beside what they tell by themselves; Ceilometer ships no file of its own. A fake hypervisor has
nothing to be polled, and Ceilometer 27.0 cannot ask Cinder: openstacksdk misses a section of its configuration that it does not
know."""
NOTIFYING: dict[str, tuple[str, ...]] = {"nova": ("nova-compute",), "cinder": ("cinder-volume",)}
"""Service -> how the names of its programs begin that tell what becomes of servers and volumes."""
NOTIFY: Ini = {"oslo_messaging_notifications": {"driver": "messagingv2"}}
EVENTS = """sources:
- name: all
  events: ["*"]
  sinks: [gnocchi]
sinks:
- name: gnocchi
  publishers: ["gnocchi://"]
"""
"""Events go to Gnocchi as well, which so learns when a server has ended: the file that Ceilometer ships sends them on alone."""


def procs(state: State) -> list[Proc]:
    """Every process of every metered site."""
    return [proc for cloud in _sites() for proc in (*_gnocchi(state, cloud).procs(), *_ceilometer_procs(state, cloud))]


def prepare(state: State) -> bool:
    """Configuration, databases, users, catalogue entries, and the resource types and archive policies that Ceilometer expects.

    Raises LabError where a metered site does not answer.
    """
    for cloud in (HUB, *_sites()):
        if not answers(cloud.port("keystone")):
            raise LabError(f"{cloud.name} does not answer: metering stands beside sites that run")
    for cloud in _sites():
        place, gnocchi = _place(state, cloud), _gnocchi(state, cloud)
        gnocchi.configure()
        (place.etc / "ceilometer.conf").write_text(render(_ceilometer(state, cloud)))
        (place.etc / "polling.yaml").write_text(POLLED)
        (place.etc / "event_pipeline.yaml").write_text(EVENTS)
        _notify(state, cloud)
        bootstrap.service(cloud, USERS, ("metric", "gnocchi"), {cloud.name: url(cloud)})
        gnocchi.migrate()
        if not (place.var / "types").exists():
            with step(f"{cloud.name}: Ceilometer's resource types"):  # a Gnocchi makes them, so it must run
                for proc in gnocchi.procs():
                    proc.start()
                ready(gnocchi.procs())
                run([program(state, "ceilometer-upgrade"), "--config-file", place.etc / "ceilometer.conf"])
            (place.var / "types").touch()
    return bootstrap.service(HUB, (), ("metric", "gnocchi"), {USER_REGION: f"{GATEWAY_URL}/metric"})


def _notify(state: State, cloud: Cloud) -> None:
    """Have a site's services send notifications, and start those again that run without."""
    silent: list[Proc] = []
    for service, programs in NOTIFYING.items():
        added = config.added(state, cloud, service) / f"{RELEASE.name}.conf"
        text = render(NOTIFY)
        if added.exists() and added.read_text() == text:
            continue
        added.parent.mkdir(exist_ok=True)
        added.write_text(text)
        silent += [proc for proc in services.procs(state, cloud) if proc.name.startswith(programs) and proc.pid()]
    if silent:
        with step(f"{cloud.name}: start again, with notifications: {', '.join(proc.name for proc in silent)}"):
            processes.stop(silent)
            for proc in silent:
                proc.start()
            ready(silent)


def url(cloud: Cloud) -> str:
    """Where a site's Gnocchi answers."""
    return f"http://127.0.0.1:{cloud.base_port + PORT_OFFSET + PORT}"


def _gnocchi(state: State, cloud: Cloud) -> Gnocchi:
    return Gnocchi(state, cloud, _place(state, cloud), cloud.base_port + PORT_OFFSET + PORT, cloud.database("gnocchi"))


def _ceilometer_procs(state: State, cloud: Cloud) -> list[Proc]:
    place = _place(state, cloud)
    return [
        daemon(state, place, "ceilometer-agent-notification", "ceilometer"),
        daemon(state, place, "ceilometer-polling", "ceilometer", "--polling-namespaces", "central"),
    ]


def _ceilometer(state: State, cloud: Cloud) -> Ini:
    place = _place(state, cloud)
    return {
        "DEFAULT": {
            "transport_url": cloud.transport_url,
            "log_dir": place.log,
            "use_stderr": False,
            "host": f"{cloud.name}-ctl",
            "event_pipeline_cfg_file": place.etc / "event_pipeline.yaml",
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


ADDON = AddOn(RELEASE, prepare, procs)

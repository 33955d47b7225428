"""The OpenStack processes of a cloud."""

import time
from pathlib import Path

from lab import config, ovn, wires
from lab.config.ini import Context
from lab.config.services import threads
from lab.data import CONSOLES, Cloud
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc

WSGI = {
    "keystone": "keystone.wsgi.api:application",
    "placement": "placement.wsgi.api:application",
    "glance": "glance.wsgi.api:application",
    "nova": "nova.wsgi.osapi_compute:application",
    "neutron": "neutron.wsgi.api:application",
    "cinder": "cinder.wsgi.api:application",
}
DAEMONS = {
    "nova": ("nova-conductor", "nova-scheduler"),
    "neutron": ("neutron-periodic-workers", "neutron-ovn-maintenance-worker"),
    "cinder": ("cinder-scheduler", "cinder-volume", "cinder-backup"),
}


def procs(state: State, cloud: Cloud) -> list[Proc]:
    """Every OpenStack process of a cloud, the APIs first."""
    found = [api(state, cloud, service) for service in cloud.services]
    if cloud.is_hub:
        return found
    for service, names in DAEMONS.items():
        found += [_daemon(state, cloud, name, config.files(state, cloud, service)) for name in names]
    for name in CONSOLES:
        found.append(_daemon(state, cloud, name, config.files(state, cloud, "nova")))
    place = state.cloud(cloud)
    for index in range(1, cloud.computes + 1):
        files = config.named(state, cloud, "nova", [f"compute{index}.conf"])
        local = {"LAB_OVSDB": ovn.vswitch(place, index), "LAB_VIF": "internal" if wires.real(state) else "dummy"}
        found.append(_daemon(state, cloud, "nova-compute", files, f"nova-compute{index}", local))
    return found


def api(state: State, cloud: Cloud, service: str) -> Proc:
    """A service's API under uWSGI."""
    processes, per_process = threads(Context(state, cloud), service)
    procname = f"{cloud.name} {service}"
    argv = [*uwsgi(state.venv(state.release(cloud)), WSGI[service], cloud.port(service), procname, processes, per_process)]
    if service == "cinder":
        argv += ["--pyargv", "--config-file etc/cinder/cinder.conf"]
    place = state.cloud(cloud)
    env = _environment(state, cloud) | {f"OS_{name.upper()}_CONFIG_DIR": str(place.etc / name) for name in WSGI}
    env["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf;ml2_conf.ini"
    return Proc(f"{service}-api", place, tuple(argv), env, cloud.port(service), grace=5, log_name=service)


def uwsgi(venv: Path, module: str, port: int, name: str, processes: int, threads: int) -> tuple[str, ...]:
    """The command of a WSGI application under uWSGI."""
    return (
        str(venv / "bin" / "uwsgi"),
        *("--http-socket", f"127.0.0.1:{port}", "--module", module, "--need-app", "--lazy-apps"),
        *("--master", "--processes", str(processes), "--threads", str(threads), "--enable-threads"),
        *("--thunder-lock", "--die-on-term", "--exit-on-reload", "--worker-reload-mercy", "2"),
        *("--buffer-size", "65535", "--wsgi-disable-file-wrapper", "--http-chunked-input", "--so-keepalive"),
        # glanceclient sends chunks of 1 MiB, which with their frame are above uWSGI's limit of 1 MiB; and 4 s between two is little
        *("--chunked-input-limit", "4194304", "--chunked-input-timeout", "60"),
        *("--disable-logging", "--add-header", "Connection: close", "--procname", f"uwsgi {name}"),
        *("--set", f"start-time={int(time.time())}"),  # Neutron's OVN hash ring reads it
    )


def _daemon(state: State, cloud: Cloud, program: str, files: list[str], name: str = "", env: dict[str, str] | None = None) -> Proc:
    name, place = name or program, state.cloud(cloud)
    argv = (str(state.venv(state.release(cloud)) / "bin" / program), *files, "--log-file", str(place.log / f"{name}.log"))
    return Proc(name, place, argv, _environment(state, cloud) | (env or {}), grace=8)


def _environment(state: State, cloud: Cloud) -> dict[str, str]:
    return {
        "PATH": f"{state.venv(state.release(cloud)) / 'bin'}:{SYSTEM_PATH}",
        "PYTHONWARNINGS": "ignore",
        "MALLOC_ARENA_MAX": "2",  # glibc's arenas cost more memory than they save time here
    }

"""Databases of a cloud: made by the services' own migrations once per release, loaded from a dump afterwards."""

import base64
import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import config, infra
from lab.data import DATABASES, PASSWORD, Cloud
from lab.paths import State
from lab.report import step
from lab.shell import run

JOBS = threading.Semaphore(2)
"""Migrations are pure CPU; more at once than two is slower on a small machine."""

CELL0 = "00000000-0000-0000-0000-000000000000"


def databases(state: State, cloud: Cloud) -> None:
    """Create and fill the databases of a cloud that does not have them yet."""
    stamp = state.cloud(cloud).var / "migrated"
    if stamp.exists():
        return
    with step(f"{cloud.name}: databases"), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_service, state, cloud, service) for service in cloud.services]:
            done.result()
    stamp.touch()


def _service(state: State, cloud: Cloud, service: str) -> None:
    names = DATABASES[service]
    with JOBS:
        for name in names:
            database = cloud.database(name)
            infra.sql(f"drop database if exists {database}; create database {database} character set utf8mb3;")
        dumps = {name: _dump_file(state, cloud, name) for name in names}
        if all(path.exists() for path in dumps.values()):
            for name, path in dumps.items():
                infra.sql(path.read_text(), cloud.database(name))
            if service == "nova":
                _cells(cloud)
        else:
            _migrate(state, cloud, service, dumps)
        if service == "cinder":
            _volume_quotas(cloud)
        elif service == "keystone":
            _bootstrap_keystone(state, cloud)


def _dump_file(state: State, cloud: Cloud, name: str) -> Path:
    release = state.release(cloud)
    mark = (state.venv(release) / "lab-installed").read_text()[:12]
    return state.schemas / f"{release}-{mark}" / f"{name}.sql"


def _migrate(state: State, cloud: Cloud, service: str, dumps: dict[str, Path]) -> None:
    programs = state.venv(state.release(cloud)) / "bin"

    def manage(program: str, *words: str) -> None:
        run([programs / program, *config.files(state, cloud, service), *words], env={"PYTHONWARNINGS": "ignore"})

    if service == "nova":
        manage("nova-manage", "api_db", "sync")
        infra.dump(cloud.database("nova_api"), dumps["nova_api"])
        _cells(cloud)
        manage("nova-manage", "db", "sync")
        infra.dump(cloud.database("nova_cell0"), dumps["nova_cell0"])
        infra.dump(cloud.database("nova"), dumps["nova"])
        return
    if service == "neutron":
        manage("neutron-db-manage", "upgrade", "heads")
    elif service in ("placement", "cinder"):
        manage(f"{service}-manage", "db", "sync")
    else:
        manage(f"{service}-manage", "db_sync")
    if service == "glance":
        manage("glance-manage", "db_load_metadefs", str(programs.parent / "etc" / "glance" / "metadefs"))
    infra.dump(cloud.database(service), dumps[service])


def _cells(cloud: Cloud) -> None:
    """What `nova-manage cell_v2 map_cell0` and `create_cell` write, without two more slow processes."""
    cell1 = uuid.uuid5(uuid.NAMESPACE_DNS, f"{cloud.name}.cell1.lab")
    rows = [
        (CELL0, "cell0", "none:///", cloud.database_url("nova_cell0")),
        (str(cell1), "cell1", cloud.transport_url, cloud.database_url("nova")),
    ]
    values = ", ".join(f"(now(), {', '.join(repr(field) for field in row)}, 0)" for row in rows)
    infra.sql(
        f"insert into cell_mappings (created_at, uuid, name, transport_url, database_connection, disabled) values {values};",
        cloud.database("nova_api"),
    )


def _volume_quotas(cloud: Cloud) -> None:
    """Cinder's first migration copies the default quotas into the database; a loaded dump has another cloud's."""
    for resource, limit in cloud.volume_quotas.items():
        infra.sql(
            f"update quota_classes set hard_limit = {limit} where class_name = 'default' and resource = '{resource}';",
            cloud.database("cinder"),
        )


def _bootstrap_keystone(state: State, cloud: Cloud) -> None:
    """Keys (written here: two slow processes less), the admin account, the identity endpoint."""
    for name in ("fernet-keys", "credential-keys"):
        folder = state.cloud(cloud).var / "keystone" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for key in ("0", "1"):
            (folder / key).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
            (folder / key).chmod(0o600)
    kinds = ("public", "internal", "admin")
    urls = [word for kind in kinds for word in (f"--bootstrap-{kind}-url", cloud.identity_url)]
    run(
        [
            state.venv(state.release(cloud)) / "bin" / "keystone-manage",
            *config.files(state, cloud, "keystone"),
            "bootstrap",
            *("--bootstrap-password", PASSWORD, "--bootstrap-region-id", cloud.name),
            *urls,
        ],
        env={"PYTHONWARNINGS": "ignore"},
    )

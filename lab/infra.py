"""MariaDB and RabbitMQ: one server each for the whole lab, on loopback."""

import base64
import hashlib
import json
from pathlib import Path

from lab.data import BROKER_DIST_PORT, BROKER_PORT, DATABASE_PORT, EPMD_PORT, SITES
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc, listens
from lab.report import LabError, step
from lab.shell import run
from lab.wait import until

CLIENT = ("--no-defaults", "-uroot", "-h127.0.0.1", f"-P{DATABASE_PORT}")


def procs(state: State) -> list[Proc]:
    """The processes of the infrastructure."""
    return [database(state), *broker(state)]


def database(state: State) -> Proc:
    """MariaDB, tuned for speed, not for surviving a power cut."""
    place = state.infra
    argv = (
        "/usr/sbin/mariadbd",
        "--no-defaults",
        "--user=root",
        f"--datadir={place.var / 'mariadb'}",
        "--socket=mariadb.sock",  # below datadir; everybody uses TCP, because socket paths have a short limit
        f"--pid-file={place.run / 'mariadbd.own.pid'}",
        f"--port={DATABASE_PORT}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--innodb-buffer-pool-size=256M",
        "--performance-schema=0",
        "--max-connections=2000",
        "--character-set-server=utf8mb3",
    )
    return Proc("mariadbd", place, argv, {"PATH": SYSTEM_PATH}, port=DATABASE_PORT, grace=60)


def broker(state: State) -> list[Proc]:
    """RabbitMQ, and the Erlang port mapper that it would otherwise leave behind as a daemon."""
    place = state.infra
    home = place.var / "rabbitmq"
    server = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    env = {
        "PATH": SYSTEM_PATH,
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(EPMD_PORT),
        "RABBITMQ_NODENAME": "lab@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(BROKER_PORT),
        "RABBITMQ_DIST_PORT": str(BROKER_DIST_PORT),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(place.log / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        # +sbwt none: no busy waiting, an idle broker costs nothing
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
        ),
    }
    script = server[-1] / "sbin" / "rabbitmq-server" if server else Path("rabbitmq-server")
    return [
        Proc("epmd", place, ("/usr/bin/epmd", "-address", "127.0.0.1", "-port", str(EPMD_PORT)), {"PATH": SYSTEM_PATH}),
        Proc("rabbitmq", place, (str(script),), env, port=BROKER_PORT, grace=30),
    ]


def start(state: State) -> None:
    """Start both. MariaDB is ready on return; RabbitMQ is waited for by who needs it (``wait_for_broker``)."""
    place = state.infra
    place.make()
    _broker_files(state)
    if not (place.var / "mariadb" / "mysql").exists():
        with step("create the MariaDB data folder"):
            run(
                ["/usr/bin/mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={place.var / 'mariadb'}",
                 "--auth-root-authentication-method=normal", "--skip-test-db"]
            )  # fmt: skip
    fresh = [proc for proc in procs(state) if proc.start()]
    if database(state) in fresh:
        with step("start MariaDB"):
            _listening(database(state), 60)


def wait_for_broker(state: State) -> None:
    """Wait until RabbitMQ takes connections."""
    _listening(broker(state)[-1], 120)


def virtual_host(state: State, name: str) -> None:
    """A virtual host of the running broker beside those of the sites, if there is none of this name yet."""
    server = broker(state)[-1]
    control = [str(Path(server.argv[0]).with_name("rabbitmqctl")), "-q"]
    if name not in run([*control, "list_vhosts", "--no-table-headers"], env=server.env).split():
        run([*control, "add_vhost", name], env=server.env)
        run([*control, "set_permissions", "-p", name, "guest", ".*", ".*", ".*"], env=server.env)


def sql(statements: str, database: str = "") -> str:
    """Run SQL, give back what it printed: tab-separated, no headers."""
    return run(["mariadb", *CLIENT, "-N", "-B", *([database] if database else [])], stdin=statements)


def dump(database: str, path: Path) -> None:
    """Write a whole database into a file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(run(["mariadb-dump", *CLIENT, "--single-transaction", database]))
    draft.rename(path)


def _broker_files(state: State) -> None:
    """Configuration of RabbitMQ. Users and virtual hosts are definitions: rabbitmqctl takes seconds per call."""
    home = state.infra.var / "rabbitmq"
    home.mkdir(parents=True, exist_ok=True)
    salt = b"\0lab"
    hashed = base64.b64encode(salt + hashlib.sha256(salt + b"guest").digest()).decode()
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    definitions = {
        "users": [{"name": "guest", "password_hash": hashed, "tags": "administrator"}],
        "vhosts": [{"name": name} for name in SITES],
        "permissions": [{"vhost": name, **everything} for name in SITES],
    }
    (home / "definitions.json").write_text(json.dumps(definitions, indent=1))
    (home / "plugins").write_text("[].\n")
    (home / "rabbitmq.conf").write_text(
        f"load_definitions = {home / 'definitions.json'}\n"
        "vm_memory_high_watermark.absolute = 1GB\n"
        "disk_free_limit.absolute = 50MB\n"
        "log.file.level = warning\n"
    )


def _listening(proc: Proc, timeout: float) -> None:
    def check() -> bool:
        if proc.pid() is None:
            raise proc.failure()
        return listens(proc.port or 0)

    try:
        until(f"{proc.name} listens", check, timeout, 0.1)
    except LabError as error:
        raise LabError(f"{error}\n{proc.failure()}") from None

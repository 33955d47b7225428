"""A Gnocchi: API and metricd, an indexer in MariaDB, measures in files. A metered site has one; Gnocchi's own tests get more."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab import infra
from lab.addons import kind
from lab.config.ini import Context, Ini, Section, render
from lab.data import DATABASE_PORT, Cloud, Release
from lab.install import SYSTEM_PATH
from lab.paths import Place, State
from lab.procs import Proc
from lab.report import step
from lab.services import uwsgi
from lab.shell import run

RELEASE = Release(
    "metering",
    ("gnocchi==4.7.1", "oslo.db", "sqlalchemy-utils", "pymysql", "keystonemiddleware", "python-snappy", "protobuf", "uwsgi",
     "setuptools<81", "ceilometer==27.0.0", "gnocchiclient==7.2.0", "gabbi==4.2.3", "pytest"),
    exclude_newer="2026-11-23",
)  # fmt: skip
"""setuptools: Gnocchi still imports pkg_resources. gnocchiclient and gabbi are what the tests use, unchanged."""
SACKS = "4"


@dataclass(frozen=True)
class Gnocchi:
    """One, in the Keystone of a cloud."""

    state: State
    cloud: Cloud
    place: Place
    port: int
    database: str
    policies: bool = True
    """Whether it begins with the archive policies it ships with."""
    options: Mapping[str, Section] = field(default_factory=dict)
    """What differs, by section."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def configure(self) -> None:
        """Write its configuration."""
        self.place.make()
        (self.place.etc / "gnocchi.conf").write_text(render(self._configuration()))
        self._paste()

    def migrate(self) -> None:
        """Make its database, once."""
        if (done := self.place.var / "migrated").exists():
            return
        with step(f"{self.cloud.name}: Gnocchi's database"):
            infra.sql(f"create database if not exists {self.database} character set utf8mb3;")
            conf = str(self.place.etc / "gnocchi.conf")
            without = [] if self.policies else ["--skip-archive-policies-creation"]
            run([program(self.state, "gnocchi-upgrade"), "--config-file", conf, "--sacks-number", SACKS, *without])
        done.touch()

    def procs(self) -> list[Proc]:
        """API and metricd."""
        venv, name = kind.venv(self.state, RELEASE.name), f"{self.cloud.name} gnocchi"
        api = (
            *uwsgi(venv, "gnocchi.rest.wsgi:application", self.port, name, 1, 6),
            *("--pyargv", f"--config-file {self.place.etc / 'gnocchi.conf'}"),
        )
        return [
            Proc("gnocchi-api", self.place, api, environment(self.state), self.port, grace=5),
            daemon(self.state, self.place, "gnocchi-metricd", "gnocchi"),
        ]

    def _configuration(self) -> Ini:
        storage = {"driver": "file", "file_basepath": self.place.var / "storage"}
        ini: Ini = {
            "DEFAULT": {"log_file": self.place.log / "gnocchi.log", "use_stderr": False, "parallel_operations": 2},
            "api": {"auth_mode": "keystone", "paste_config": self.place.etc / "api-paste.ini"},
            "indexer": {"url": f"mysql+pymysql://root@127.0.0.1:{DATABASE_PORT}/{self.database}?charset=utf8"},
            "storage": storage,
            "incoming": storage,
            # What is measured shows within seconds, for tests wait for it; with few sacks looking for it costs next to nothing.
            "metricd": {"workers": 1, "metric_processing_delay": 2, "metric_cleanup_delay": 5, "greedy": False},
            "keystone_authtoken": Context(self.state, self.cloud).auth(
                "gnocchi", www_authenticate_uri=self.cloud.identity_url, service_type="metric", interface="internal"
            ),
        }
        return ini | {name: {**ini.get(name, {}), **section} for name, section in self.options.items()}

    def _paste(self) -> None:
        """Its own pipeline, whose token filter reads the configuration of this cloud: by itself it would look into /etc."""
        libraries = next((kind.venv(self.state, RELEASE.name) / "lib").glob("python3*")) / "site-packages"
        named = "use = egg:keystonemiddleware#auth_token\n"
        text = (libraries / "gnocchi" / "rest" / "api-paste.ini").read_text()
        text = text.replace(named, f"{named}oslo_config_file = {self.place.etc / 'gnocchi.conf'}\n")
        (self.place.etc / "api-paste.ini").write_text(text)


def program(state: State, name: str) -> str:
    """A program of the virtual environment."""
    return str(kind.venv(state, RELEASE.name) / "bin" / name)


def daemon(state: State, place: Place, name: str, conf: str, *more: str) -> Proc:
    """A program that listens on no port, with a configuration of ``place``."""
    argv = (program(state, name), "--config-file", str(place.etc / f"{conf}.conf"), *more)
    return Proc(name, place, argv, environment(state), grace=10)


def environment(state: State) -> dict[str, str]:
    """What its programs run in."""
    return {
        "PATH": f"{kind.venv(state, RELEASE.name) / 'bin'}:{SYSTEM_PATH}",
        "PYTHONWARNINGS": "ignore",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",  # numpy would take a core per process
    }

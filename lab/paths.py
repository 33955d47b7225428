"""Where things are: everything the lab writes is below one state folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from lab.data import RELEASES, Cloud, Release

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Place:
    """The folders of one cloud."""

    root: Path

    @property
    def etc(self) -> Path:
        """Rendered configuration, a folder per service."""
        return self.root / "etc"

    @property
    def log(self) -> Path:
        """Logs, one file per process (and what it printed, in ``.out``)."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Pid files and sockets."""
        return self.root / "run"

    @property
    def var(self) -> Path:
        """What the services keep: images, volumes, keys, OVN databases."""
        return self.root / "var"

    @property
    def release_file(self) -> Path:
        """Names the release a cloud was upgraded to."""
        return self.root / "release"

    @property
    def upgrading_file(self) -> Path:
        """Names the release to which the databases are being migrated."""
        return self.root / "upgrading"

    def make(self) -> None:
        """Create the folders."""
        for folder in (self.etc, self.log, self.run, self.var):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class State:
    """The state folder."""

    root: Path

    @property
    def infra(self) -> Place:
        """MariaDB and RabbitMQ."""
        return Place(self.root / "infra")

    @property
    def gateway(self) -> Place:
        """Cascade itself."""
        return Place(self.root / "cascade")

    @property
    def clouds_file(self) -> Path:
        """clouds.yaml with every account of the lab."""
        return self.root / "clouds.yaml"

    @property
    def schemas(self) -> Path:
        """Dumps of freshly migrated databases, per release: a second cloud loads them in seconds."""
        return self.root / "schemas"

    @property
    def cache(self) -> Path:
        """uv's cache."""
        return self.root / "cache" / "uv"

    def cloud(self, cloud: Cloud) -> Place:
        """The folders of a cloud."""
        return Place(self.root / "clouds" / cloud.name)

    def release(self, cloud: Cloud) -> str:
        """The release a cloud runs: the one it was upgraded to, or else the one it begins with."""
        mark = self.cloud(cloud).release_file
        return mark.read_text().strip() if mark.exists() else cloud.release

    def venv(self, release: str | Release) -> Path:
        """The virtual environment of a release."""
        name = release if isinstance(release, str) else release.name
        return self.root / "venvs" / RELEASES[name].name

    def site_packages(self, release: str) -> Path:
        """The libraries of a release."""
        return next((self.venv(release) / "lib").glob("python3*")) / "site-packages"


def state() -> State:
    """The state folder of this checkout, or the one the environment names."""
    return State(Path(os.environ.get("CASCADE_LAB_STATE") or CHECKOUT / ".lab").absolute())

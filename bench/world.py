"""The simulator with its sites and servers, and gateways before it, each in processes of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.client import Client, User
from bench.database import database
from bench.process import Process, free_ports
from lab.data import HUB
from lab.gateway import PROGRAM, config_file, configure
from lab.paths import State
from lab.report import LabError, step

QUIET = 0.05
"""Share of a core that a gateway may take for itself when what is measured begins."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is asked of the figures. ``servers``: per site."""

    sites: int = 100
    servers: int = 10_000
    idle: float = 600.0
    """Seconds nothing is asked."""
    rounds: int = 2000
    """Requests of a figure that is a distribution over many."""
    load: tuple[int, ...] = (1000, 5000)
    """Requests at once."""
    boots: int = 500
    """First boots at once."""
    missed: int = 10_000
    """Changes that a site misses while it is away."""
    database: str = "sqlite"
    """Of the gateways: "sqlite" or "postgresql"."""
    processes: int = 0
    """Gateways on one port; 0: one, and ``load`` with one and with two."""


@dataclass
class World:
    """Sites behind gateways."""

    sizes: Sizes
    folder: Path
    gateways: list[Process] = field(default_factory=list)
    indexed: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = State(self.folder)
        self.sites = [f"site{n:03d}" for n in range(1, self.sizes.sites + 1)]
        self.base = free_ports(len(self.sites) + 2)
        self.port = self.base + len(self.sites) + 1
        self.url, self.root = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.base}"
        sim = ("--many", len(self.sites), "--servers", self.sizes.servers, "--base-port", self.base, "--gateway-url", self.url,
               "--clouds-file", self.state.clouds_file)  # fmt: skip
        self.sim = Process([sys.executable, "-m", "sim", *map(str, sim)], self.folder / "sim.log")
        self._control = Client(self.root)
        self.database = database(self.sizes.database, self.state.gateway.root)

    @property
    def servers(self) -> int:
        """In all."""
        return self.sizes.sites * self.sizes.servers

    @property
    def volumes(self) -> int:
        """In all: one for each second server of a site."""
        return self.sizes.sites * (self.sizes.servers // 2)

    @property
    def ports(self) -> int:
        """In all sites: one for each server."""
        return self.servers

    def up(self) -> None:
        """Everything started and joined; nothing indexed."""
        with step(f"start {len(self.sites)} sites with {self.sizes.servers} servers each"):
            self.sim.start()
            self.sim.listens(self.base + len(self.sites))  # the last of them
        self.database.start()
        options = {"listen": f"127.0.0.1:{self.port}", "public_url": self.url, "region": "cascade"}
        configure(self.state, HUB.name, options, self.database.url)
        self.command("upgrade")
        with step("start the gateway"):
            self.serve()
        with step("join the sites"):
            admin = User(self.url, "admin", "admin")
            for name in self.sites:
                admin.ask("POST", "/cascade/v1/sites", {"site": {"name": name, "cloud": name, "identity": "shared"}})

    def serve(self, processes: int = 0) -> None:
        """Start so many gateways on one port and one database, in place of those that run; 0: as many as was asked for."""
        self.stop()
        processes = processes or self.sizes.processes or 1
        argv = [str(PROGRAM), "serve", "--config-file", str(config_file(self.state))]
        self.gateways = [Process(argv, self.folder / f"gateway{n}.log") for n in range(processes)]
        for many, gateway in enumerate(self.gateways, 1):
            gateway.start()
            gateway.listens(self.port, many)

    def settle(self, seconds: float = 60) -> None:
        """Wait until the gateways do nothing of their own (after a start they look at every site), so long at most."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self.cpu()
            time.sleep(2)
            if self.cpu() - before < 2 * QUIET:
                return

    def stop(self) -> None:
        """End the gateways."""
        for gateway in self.gateways:
            gateway.stop()
        self.gateways = []

    def index(self) -> float:
        """Let the gateway know of all servers, unless it does; the seconds that took."""
        if self.indexed:
            return 0.0
        with step("index the servers"):
            self.stop()
            began = time.monotonic()
            self.command("rebuild")
            took = time.monotonic() - began
            self.serve()
        self.indexed = True
        return took

    def command(self, *words: str) -> None:
        """``cascade ...``. Raises LabError with the end of what it said."""
        argv = [str(PROGRAM), *words, "--config-file", str(config_file(self.state))]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=3600, check=False)
        if done.returncode:
            raise LabError(f"{words[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")

    def down(self) -> None:
        """Nothing is left running."""
        self.stop()
        self.sim.stop()
        self.database.stop()

    def admin(self) -> User:
        """The administrator, at the gateway."""
        return User(self.url, "admin", "admin")

    def tenant(self, number: int) -> User:
        """A tenant with servers in two sites, at the gateway."""
        return User(self.url, f"tenant-{number}", f"tenant-{number}")

    def at(self, site: str) -> str:
        """A site's own address."""
        return f"http://127.0.0.1:{self.base + 1 + self.sites.index(site)}"

    def cpu(self) -> float:
        """Seconds of CPU of all gateways."""
        return sum(g.cpu() for g in self.gateways)

    def memory(self) -> int:
        """Resident bytes of the gateway that has most."""
        return max(g.memory() for g in self.gateways)

    def clouds(self) -> dict[str, Any]:
        """Hub and sites, as the simulator sees them: calls answered by service, rows per table."""
        found: dict[str, Any] = json.loads(self._control.ask("GET", "/_sim", {}).body)
        return found

    def calls(self) -> dict[str, int]:
        """Site or ``hub`` -> requests answered so far."""
        return {name: sum(cloud["calls"].values()) for name, cloud in self.clouds().items()}

    def fault(self, site: str, mode: str, **more: object) -> None:
        """Let a site misbehave; ``ok`` ends it. The modes are the simulator's (``sim/faults.py``)."""
        self.control("faults", {"cloud": site, "mode": mode, **more})

    def control(self, what: str, doc: dict[str, object]) -> None:
        """``POST /_sim/WHAT``. Raises LabError."""
        said = self._control.ask("POST", f"/_sim/{what}", {"Content-Type": "application/json"}, json.dumps(doc).encode())
        if said.status != 200:
            raise LabError(f"the simulator refuses {what} {doc}: {said.body!r}")


@contextlib.contextmanager
def world(sizes: Sizes, folder: Path) -> Iterator[World]:
    """Up for the block."""
    it = World(sizes, folder)
    try:
        it.up()
        yield it
    finally:
        it.down()

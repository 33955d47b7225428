"""Long-running processes: each is the leader of its own session and known by a pid file.

The pid file also holds the start time of the process, so a recycled pid is never taken for ours. A signal always goes
to the whole process group: a uWSGI master with its workers, MariaDB, an Erlang node.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.paths import Place
from lab.report import LabError, tail


@dataclass(frozen=True)
class Proc:
    """One process of the lab and how to start it."""

    name: str
    place: Place
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    """It is ready when this port answers; None: when it is running."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    log_name: str | None = None

    @property
    def pid_file(self) -> Path:
        """Where pid and start time are kept."""
        return self.place.run / f"{self.name}.pid"

    @property
    def output(self) -> Path:
        """What the process printed."""
        return self.place.log / f"{self.name}.out"

    @property
    def log(self) -> Path:
        """The log it writes by itself, if it does."""
        return self.place.log / f"{self.log_name or self.name}.log"

    def pid(self) -> int | None:
        """The pid if the process runs, else None."""
        try:
            pid, started = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def start(self) -> bool:
        """Start it unless it runs. True if it was started."""
        if self.pid():
            return False
        if self.port and listens(self.port):
            raise LabError(f"{self.name}: port {self.port} is taken by a program that is not of this lab")
        self.place.make()
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.place.root,
                env=_environment() | dict(self.env),
                start_new_session=True,
            )
        self.pid_file.write_text(f"{process.pid} {_started(process.pid)}\n")
        _children[process.pid] = process
        return True

    def signal(self, number: int) -> bool:
        """Signal the whole process group. False if it does not run."""
        pid = self.pid()
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        return True

    def failure(self) -> LabError:
        """An error that shows the end of what the process logged."""
        seen = [
            f"--- {path}\n{tail(path.read_text(errors='replace'))}"
            for path in (self.output, self.log)
            if path.exists() and path.stat().st_size
        ]
        return LabError("\n".join([f"{self.place.root.name}: {self.name} did not start", *seen]))


def listens(port: int) -> bool:
    """Whether anything takes connections on a loopback port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


_children: dict[int, subprocess.Popen[bytes]] = {}


def _environment() -> dict[str, str]:
    """Our environment without what would steer OpenStack or Python in the child."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "PYTHON", "VIRTUAL_ENV"))}


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; None for no process, or a zombie."""
    if child := _children.get(pid):
        child.poll()  # reap it
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def stop(procs: Iterable[Proc]) -> None:
    """Stop processes, all at once, each with its own patience. Frozen ones are woken first."""
    groups = [(proc, pid) for proc in procs if (pid := proc.pid())]
    for proc, _ in groups:
        proc.signal(signal.SIGTERM)
        proc.signal(signal.SIGCONT)
    begun = time.monotonic()
    while groups:
        time.sleep(0.1)
        left = []
        for proc, pid in groups:
            if proc.pid() is None:
                _sweep(pid)
                proc.pid_file.unlink(missing_ok=True)
                continue
            if time.monotonic() - begun > proc.grace:
                proc.signal(signal.SIGKILL)
            left.append((proc, pid))
        groups = left


def _sweep(pid: int) -> None:
    """Kill what a dead leader left in its group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Usage:
    """What a process group uses."""

    processes: int
    memory: int
    """Proportional set size in bytes."""
    cpu: float
    """Seconds since start."""
    frozen: bool


def usage() -> dict[int, Usage]:
    """Usage of every process group on the machine, by group id."""
    found: dict[int, Usage] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not (fields := _stat(int(entry.name))):
            continue
        group, ticks = int(fields[2]), int(fields[11]) + int(fields[12])
        before = found.get(group, Usage(0, 0, 0.0, False))
        found[group] = Usage(
            before.processes + 1,
            before.memory + _proportional(entry),
            before.cpu + ticks / os.sysconf("SC_CLK_TCK"),
            before.frozen or fields[0] == "T",
        )
    return found


def _proportional(entry: Path) -> int:
    """The proportional set size of a process."""
    with suppress(OSError):
        for line in (entry / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0

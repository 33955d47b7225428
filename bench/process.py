"""Processes that are measured, and ports for them."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.paths import CHECKOUT
from lab.report import LabError

TICKS = os.sysconf("SC_CLK_TCK")
FIRST_PORT = 11000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def more_files() -> None:
    """Let this process and those it starts have as many connections as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, below those the kernel gives to connections. Raises LabError."""
    end = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    first = FIRST_PORT
    while first + count <= end:
        taken = _taken(first, count)
        if taken is None:
            return first
        first = taken + 1
    raise LabError(f"there are no {count} free ports in a row from {FIRST_PORT} to {end}")


def listeners(port: int) -> int:
    """How many sockets wait for connections to a port."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A" for fields in lines)


def _taken(first: int, count: int) -> int | None:
    with ExitStack() as held:
        for port in range(first, first + count):
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what only lingers after a close is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return port
    return None


@dataclass
class Process:
    """One that is measured."""

    argv: Sequence[str]
    log: Path
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it. What it imports may be kept compiled, as it is where it is installed, whatever this shell is told about that."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(self.argv, stdout=out, stderr=out, cwd=CHECKOUT, env=env)

    def stop(self) -> None:
        """End it politely, by pid."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def listens(self, port: int, many: int = 1, seconds: float = 180) -> None:
        """Wait until so many, this one among them, share the port. Raises LabError, also at once where it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child is None or self.child.poll() is not None:
                raise LabError(f"{self.argv[0]} ended; see {self.log}")
            if listeners(port) >= many:
                return
            time.sleep(0.01)
        raise LabError(f"{self.argv[0]} does not listen on port {port}; see {self.log}")

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system, of all its threads."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Resident bytes."""
        line = next(x for x in self._proc("status").splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) << 10

    def _proc(self, name: str) -> str:
        if self.child is None or self.child.poll() is not None:
            raise LabError(f"{self.argv[0]} is not running; see {self.log}")
        return Path(f"/proc/{self.child.pid}/{name}").read_text()

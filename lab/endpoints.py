"""Endpoints: what plays the guest of a fake hypervisor, so that what arrives can be looked at.

Nova's driver in the lab plugs a server's port as a tap into its chassis' br-int. An endpoint is a network namespace that takes
this tap, found by the *site's* port id at the chassis that the port is bound to; from then on it speaks for the guest.
"""

import ipaddress
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import wires
from lab.report import LabError
from lab.shell import run
from lab.wait import until

SECONDS = 10
"""Patience with what is expected to come."""
DHCP = """#!/bin/sh
[ "$1" = bound ] && echo "$ip $mask $mtu $router"
exit 0
"""
SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as listener:
    print("listening", flush=True)
    while True:
        connection, peer = listener.accept()
        with connection:
            connection.settimeout(10)
            size = 0
            while piece := connection.recv(65536):
                size += len(piece)
            connection.sendall(f"{peer[0]} {size}".encode())
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as connection:
    connection.settimeout(10)
    connection.sendall(b"x" * int(sys.argv[4]))
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(100).decode())
"""


@dataclass(frozen=True)
class Lease:
    """What a site's DHCP server said."""

    address: str
    prefix: int
    mtu: int
    router: str | None


@dataclass(frozen=True)
class Heard:
    """What came back from the other end."""

    peer: str
    """Whom the other end took us for."""
    size: int
    """The bytes that arrived there."""


@dataclass(kw_only=True)
class Station:
    """A namespace that can talk."""

    namespace: str

    def ping(self, address: str, *, seconds: float = SECONDS, size: int = 56, source: str = "") -> int | None:
        """The hop limit that is left of an answer's, or None for no answer. ``size``: bytes of data, never in fragments."""
        end = time.monotonic() + seconds
        words = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(size), *(["-I", source] if source else []), address]
        while True:
            if found := re.search(r"ttl=(\d+)", self._try(*words, seconds=SECONDS).stdout):
                return int(found[1])
            if time.monotonic() > end:
                return None

    @contextmanager
    def serving(self, address: str, port: int) -> Iterator[None]:
        """A TCP server that tells each client who it seems to be and how much it sent."""
        words = wires.inside(self.namespace, (sys.executable, "-c", SERVER, address, str(port)))
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            if (line := process.stdout.readline().strip()) != "listening":
                raise LabError(f"no server on {address} port {port}: {line}")
            yield
        finally:
            process.kill()
            process.communicate()

    def connect(self, address: str, port: int, *, size: int = 1_000_000, seconds: float = 4) -> Heard | None:
        """Send so many bytes to a server there; None where it cannot be reached within the seconds."""
        words = (sys.executable, "-c", CLIENT, address, str(port), str(seconds), str(size))
        done = self._try(*words, seconds=seconds + 2 * SECONDS)
        peer, _, count = done.stdout.strip().partition(" ")
        return Heard(str(ipaddress.ip_address(peer)), int(count)) if count else None

    def execute(self, *argv: str) -> str:
        """Run a command here to its end."""
        return run(wires.inside(self.namespace, argv))

    def _try(self, *argv: str, seconds: float) -> "subprocess.CompletedProcess[str]":
        words = wires.inside(self.namespace, argv)
        try:
            return subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"no end after {seconds:.0f} s: {' '.join(words)}") from None

    def _ip(self, *words: str) -> str:
        return run(["ip", "-n", self.namespace, *words])


@dataclass(kw_only=True)
class Endpoint(Station):
    """A namespace with one interface: the guest's."""

    device: str
    """The tap, named as Nova names it."""
    chassis: str
    """The namespace of the chassis it is plugged into."""
    mac: str

    def plug(self) -> None:
        """Take the tap over, with the port's MAC."""
        until(f"{self.device} is in {self.chassis}", lambda: wires.has(self.chassis, self.device), SECONDS)
        run(["ip", "netns", "add", self.namespace])
        self._ip("link", "set", "lo", "up")
        run(["ip", "-n", self.chassis, "link", "set", self.device, "netns", self.namespace])
        self._sysctl("accept_dad=0")  # an address is usable at once; the hub sees to it that there is only one
        self.become(self.mac)
        # Open vSwitch in user space fills in no checksum that a sender left to its hardware.
        self.execute("ethtool", "-K", self.device, "tx", "off")

    def unplug(self) -> None:
        """Give the tap back, if its server still has it."""
        with suppress(LabError):
            run(["ip", "-n", self.namespace, "link", "set", self.device, "netns", self.chassis])
        with suppress(LabError):
            run(["ip", "netns", "delete", self.namespace])

    def become(self, mac: str) -> None:
        """Speak with another MAC from now on."""
        self._ip("link", "set", self.device, "address", mac, "up")

    # -- addresses ---------------------------------------------------------------------------------------------------

    def lease(self, tries: int = 5) -> Lease | None:
        """Ask for an IPv4 address and take it, with what else comes along; None where nobody answers."""
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "dhcp"
            script.write_text(DHCP)
            script.chmod(0o700)
            words = ("busybox", "udhcpc", "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-i", self.device, "-s", str(script))
            done = self._try(*words, seconds=tries + SECONDS)
        found = re.search(r"^(\S+) (\d+) (\d*) ?(\S*)$", done.stdout, re.MULTILINE)
        if found is None:
            return None
        lease = Lease(found[1], int(found[2]), int(found[3] or 1500), found[4] or None)
        self.static(f"{lease.address}/{lease.prefix}", lease.router)
        self._ip("link", "set", self.device, "mtu", str(lease.mtu))
        return lease

    def static(self, address: str, router: str | None = None) -> None:
        """Take an address without asking."""
        self._ip("address", "replace", address, "dev", self.device)
        if router:
            self._ip("route", "replace", "default", "via", router)

    def announced(self, seconds: float = SECONDS) -> str | None:
        """The IPv6 address that follows from a router's announcement; None where none is heard."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = self._ip("-6", "-o", "address", "show", "dev", self.device, "scope", "global")
            if found := re.search(r"inet6 (\S+)/\d+", rows):
                return found[1]
            time.sleep(0.2)
        return None

    def _sysctl(self, setting: str) -> None:
        self.execute("sysctl", "-qw", f"net.ipv6.conf.{self.device}.{setting}")


def endpoint(site: str, port: dict[str, Any]) -> Endpoint:
    """A port as the site's own administrator sees it, plugged. ``binding:host_id`` is ``<site>-cmp<n>``."""
    short, number = port["id"][:11], int(port["binding:host_id"].rpartition("cmp")[2])
    name, chassis = f"{wires.PREFIX}-ep-{short}", wires.chassis(site, number)
    found = Endpoint(namespace=name, device=f"tap{short}", chassis=chassis, mac=port["mac_address"])
    found.plug()
    return found


def outside(site: str) -> Station:
    """The world behind a site's external network: it has the gateway's address there."""
    return Station(namespace=wires.core(site))


@contextmanager
def capture(namespace: str, device: str, words: Sequence[str] = ()) -> Iterator[list[str]]:
    """The frames seen on a wire meanwhile, one line each with its MACs and VLAN tag; filled when the block ends."""
    argv = wires.inside(namespace, ("tcpdump", "-n", "-e", "-l", "--immediate-mode", "-i", device, *words))
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                break
        else:
            raise LabError(f"tcpdump sees nothing on {device} in {namespace}")
        yield seen
        time.sleep(0.3)  # for what is on its way
    finally:
        process.send_signal(signal.SIGINT)
        seen += process.communicate()[0].splitlines()

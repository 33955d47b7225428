"""A real guest: a Debian kernel under QEMU, with a busybox, on the wire of a server of the lab.

Nova's driver in the lab plugs ports and starts nothing, so the guest is booted beside it: QEMU takes the place of an endpoint's
namespace (``lab.endpoints``), with the port's MAC. There is no KVM to rely on here: TCG boots it within seconds.
What it is told and what it says goes over its serial line, a line each.
"""

import gzip
import io
import lzma
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import install, wires
from lab.endpoints import Endpoint, Lease
from lab.paths import State
from lab.report import LabError, step
from lab.shell import run

KERNEL = "linux-image-cloud-amd64"
"""Debian's package that depends on the newest kernel for clouds."""
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
)
"""In the order they need each other; a kernel that has one built in has no file for it."""
BOOTED = 120.0
"""Seconds until a guest asks for its address, on a busy machine."""
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
for module in {modules}; do [ -e /lib/$module.ko ] && insmod /lib/$module.ko; done
ip link set lo up
ip link set eth0 up
nc -ll -p 80 -e /answer >/dev/null 2>&1 &
echo
echo "KERNEL $(uname -r)"
while read word address; do
    case $word in
        lease) udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /dhcp 2>/dev/null | grep ^LEASE || echo "LEASE" ;;
        ping) ping -c 1 -W 2 $address >/dev/null && echo "PING yes" || echo "PING no" ;;
        get) echo "GET $(nc -w 3 $address 80 </dev/null)" ;;
    esac
done
"""
DHCP = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev eth0
ip link set eth0 mtu ${mtu:-1500}
[ -n "$router" ] && ip route add default via $router
echo "LEASE $ip $mask ${mtu:-1500} $router"
"""
ANSWER = """#!/bin/sh
echo "I am $(ip -4 -o address show dev eth0 | awk '{print $4}')"
"""


@dataclass(frozen=True)
class Media:
    """What a guest is booted from."""

    kernel: Path
    initrd: Path


@dataclass
class Machine:
    """A guest that runs."""

    process: "subprocess.Popen[bytes]"
    kernel: str = ""
    _rest: bytes = b""

    def lease(self) -> Lease | None:
        """Its address, from whoever answers; taken."""
        words = self._ask("lease", "LEASE", 30).split()
        return Lease(words[0], int(words[1]), int(words[2]), words[3] if words[3:] else None) if words else None

    def ping(self, address: str, seconds: float = 10) -> bool:
        """Whether anything answers from there within the seconds."""
        end = time.monotonic() + seconds
        while not (answered := self._ask(f"ping {address}", "PING", 10) == "yes") and time.monotonic() < end:
            time.sleep(0.2)
        return answered

    def get(self, address: str) -> str:
        """What the other machine says of itself over TCP."""
        return self._ask(f"get {address}", "GET", 15)

    def _ask(self, command: str, word: str, seconds: float) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        return self.hear(word, seconds)

    def hear(self, word: str, seconds: float) -> str:
        """The rest of the next line that begins with a word. Raises LabError where none comes."""
        end, wanted, out = time.monotonic() + seconds, re.compile(rf"^{word} ?(.*?)\r?$".encode()), self.process.stdout
        assert out is not None
        with selectors.DefaultSelector() as ready:
            ready.register(out, selectors.EVENT_READ)
            while True:
                while b"\n" in self._rest:
                    line, _, self._rest = self._rest.partition(b"\n")
                    if found := wanted.match(line):
                        return found[1].decode()
                if not ready.select(max(0.0, end - time.monotonic())):
                    raise LabError(f"the guest does not say {word} within {seconds:.0f} s: {self._rest!r}")
                if not (more := out.read1(65536)):  # type: ignore[attr-defined]
                    raise LabError(f"the guest died: {self._rest!r}")
                self._rest += more


@contextmanager
def machine(media: Media, end: Endpoint) -> Iterator[Machine]:
    """Boot a guest in the place of an endpoint; it is off again at the end."""
    inside = ("ip", "-n", end.namespace)
    end.become(f"02{end.mac[2:]}" if not end.mac.startswith("02") else f"06{end.mac[2:]}")  # the port's MAC is the guest's alone
    run([*inside, "link", "add", "wire", "type", "bridge"])
    run([*inside, "tuntap", "add", "guest", "mode", "tap"])
    for device in (end.device, "guest"):
        run([*inside, "link", "set", device, "master", "wire", "up"])
    run([*inside, "link", "set", "wire", "up"])
    argv = ("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-M", "pc", "-m", "96", "-smp", "1", "-nographic",
            "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel", str(media.kernel), "-initrd", str(media.initrd),
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off", "-netdev", "tap,id=n0,ifname=guest,script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac={end.mac},romfile=")  # fmt: skip
    process = subprocess.Popen(wires.inside(end.namespace, argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        found = Machine(process)
        found.kernel = found.hear("KERNEL", BOOTED)
        yield found
    finally:
        process.kill()
        process.communicate()
        for device in ("guest", "wire"):
            run([*inside, "link", "delete", device])
        end.become(end.mac)


def media(state: State) -> Media:
    """Debian's kernel for clouds and a small root file system, made once. Raises LabError."""
    folder = state.root / "guest"
    found = Media(folder / "vmlinuz", folder / "initrd.gz")
    if found.kernel.exists() and found.initrd.exists():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    install.packages({"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"})
    with step("fetch a kernel for guests"):
        named = re.search(r"Depends: (linux-image-\S+)", run(["apt-cache", "depends", KERNEL]))
        if named is None:
            raise LabError(f"no Debian package {KERNEL}")
        run(["apt-get", "-q", "download", named[1]], cwd=folder)
        (package,) = folder.glob("linux-image-*.deb")
        run(["dpkg-deb", "-x", str(package), str(folder / "root")])
        package.unlink()
    (kernel,) = (folder / "root" / "boot").glob("vmlinuz-*")
    found.initrd.write_bytes(gzip.compress(_archive(folder / "root"), 6))
    kernel.rename(found.kernel)
    run(["rm", "-r", str(folder / "root")])
    return found


def _archive(root: Path) -> bytes:
    """The root file system, in the format the kernel unpacks (cpio "newc")."""
    out = io.BytesIO()
    files = {"bin": b"", "lib": b"", "dev": b"", "bin/busybox": Path("/bin/busybox").read_bytes()}
    for module in MODULES:
        for path in root.rglob(f"{module}.ko*"):
            content = path.read_bytes()
            files[f"lib/{module}.ko"] = lzma.decompress(content) if path.suffix == ".xz" else content
    texts = {"init": INIT.replace("{modules}", " ".join(MODULES)), "dhcp": DHCP, "answer": ANSWER}
    files |= {name: text.encode() for name, text in texts.items()}
    for number, (name, content) in enumerate(files.items(), 1):
        _entry(out, number, name, 0o100755 if content else 0o040755, content)
    _entry(out, 0, "TRAILER!!!", 0, b"")
    return out.getvalue()


def _entry(out: io.BytesIO, number: int, name: str, mode: int, content: bytes) -> None:
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
    out.write(b"\0" * (-out.tell() % 4) + content)
    out.write(b"\0" * (-out.tell() % 4))

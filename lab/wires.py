"""The wires below OVN: network namespaces joined by veths, so that the sites' chassis carry real packets.

Every chassis has a namespace of its own, every site a *core* with three switches (Linux bridges), and all sites one trunk::

    outside 203.0.113.1 -- ext --+-- br-ex  \\
                           und --+-- br-und  > chassis 1, chassis 2 ...
    trunk ---- uplink ---- wan --+-- br-wan /

Geneve between the chassis of a site goes over ``und``. Networks that span sites are VLANs on ``wan``, which ``cut`` takes from
one site. Switches are plain bridges: a frame's VLAN tag passes through them as it is, which needs no VLAN support in the kernel.

Where the machine lacks the rights, OVN runs on Open vSwitch's dummy datapath: ports become ACTIVE and no packet moves.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lab.data import EXTERNAL_CIDR, EXTERNAL_GATEWAY, PORT_OFFSET, Cloud
from lab.paths import State
from lab.report import LabError, say
from lab.shell import run
from lab.wait import until

PREFIX = f"lab{PORT_OFFSET or ''}"
WAN = f"{PREFIX}-wan"
"""The namespace of the trunk."""
SWITCHES = {
    # a site's switch: the chassis' bridge at its other end
    "ext": "br-ex",
    "und": "br-und",
    "wan": "br-wan",
}
UPLINK = "uplink"
MTU = 1700
"""Room for what encapsulates a frame of 1,500 bytes."""
_DECISION = "datapath"
REAL, DUMMY = "netdev", "dummy"


def core(site: str) -> str:
    """The namespace of a site's switches."""
    return f"{PREFIX}-{site}"


def chassis(site: str, index: int) -> str:
    """The namespace of a chassis."""
    return f"{core(site)}-{index}"


def underlay(index: int) -> str:
    """The address of a chassis on its site's own wire; the sites' wires are apart."""
    return f"172.31.0.{index}"


def real(state: State) -> bool:
    """Whether packets are carried, as was found out when the lab was brought up."""
    file = state.root / _DECISION
    return file.exists() and file.read_text() == REAL


def decide(state: State, *, running: bool) -> None:
    """Find out whether this machine can carry packets, and say so if it cannot; the answer holds until the lab is taken down.

    ``running``: OVN of some site runs already, so it was decided, if without saying so.
    """
    file = state.root / _DECISION
    if not file.exists():
        why = "the lab was started without wires (bin/lab down, then up, gives it some)" if running else _hindrance()
        if why:
            say(f"no packets: {why}; ports become ACTIVE, but nothing is carried between them")
        file.write_text(DUMMY if why else REAL)
    if real(state) and WAN not in _namespaces():
        _namespace(WAN)
        _switch(WAN, "trunk")


def forget(state: State) -> None:
    """Take away every namespace of the lab, and with it every wire; the next start decides anew."""
    for name in _namespaces():
        if name == WAN or name.startswith(f"{PREFIX}-"):
            run(["ip", "netns", "delete", name])
    (state.root / _DECISION).unlink(missing_ok=True)


def lay(cloud: Cloud) -> None:
    """The wires of a site, where they are not there yet."""
    have = _namespaces()
    home = core(cloud.name)
    if home not in have:
        _namespace(home)
        for switch in SWITCHES:
            _switch(home, switch)
        _ip(home, "address", "add", f"{EXTERNAL_GATEWAY}/{EXTERNAL_CIDR.split('/')[1]}", "dev", "ext")
        # Open vSwitch in user space fills in no checksum that a sender left to its hardware.
        run(inside(home, ("ethtool", "-K", "ext", "tx", "off")))
        _veth((home, UPLINK), (WAN, cloud.name))
        _ip(home, "link", "set", UPLINK, "master", "wan")
        _ip(WAN, "link", "set", cloud.name, "master", "trunk")
    for index in range(1, cloud.computes + 1):
        end = chassis(cloud.name, index)
        if end in have:
            continue
        _namespace(end)
        for switch in SWITCHES:
            _veth((home, f"{switch}{index}"), (end, switch))
            _ip(home, "link", "set", f"{switch}{index}", "master", switch)


def address(site: str, index: int) -> None:
    """Give a chassis its underlay address; its bridge is there soon after Open vSwitch is started."""
    end, bridge = chassis(site, index), SWITCHES["und"]
    # Not what Open vSwitch's database says: that may be of the last run.
    until(f"{bridge} is in {end}", lambda: has(end, bridge), 30, 0.1)
    _ip(end, "address", "replace", f"{underlay(index)}/24", "dev", bridge)
    _ip(end, "link", "set", bridge, "up", "mtu", str(MTU))


def has(namespace: str, device: str) -> bool:
    """Whether a device is in a namespace."""
    with suppress(LabError):
        return bool(_ip(namespace, "link", "show", "dev", device))
    return False


def cut(site: str) -> None:
    """Take the WAN from a site."""
    _ip(core(site), "link", "set", UPLINK, "down")


def mend(site: str) -> None:
    """Give it back."""
    _ip(core(site), "link", "set", UPLINK, "up")


def _hindrance() -> str:
    """What keeps this machine from carrying packets; nothing if nothing does."""
    if os.geteuid():
        return "not root"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    probe = f"{PREFIX}-probe"
    try:
        run(["ip", "netns", "add", probe])
        try:
            _ip(probe, "link", "add", "near", "type", "veth", "peer", "name", "far")
            _ip(probe, "link", "add", "switch", "type", "bridge")
            _ip(probe, "tuntap", "add", "tap0", "mode", "tap")
        finally:
            run(["ip", "netns", "delete", probe])
    except LabError as error:
        return str(error).splitlines()[-1]
    return ""


def _namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {entry.name for entry in folder.iterdir()} if folder.exists() else set()


def _namespace(name: str) -> None:
    run(["ip", "netns", "add", name])
    _ip(name, "link", "set", "lo", "up")
    # Nobody but the endpoints may speak on these wires.
    run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])


def _switch(namespace: str, name: str) -> None:
    _ip(namespace, "link", "add", "name", name, "type", "bridge", "mcast_snooping", "0")
    _ip(namespace, "link", "set", name, "up")


def _veth(*ends: tuple[str, str]) -> None:
    (one, here), (two, there) = ends
    _ip(one, "link", "add", "name", here, "type", "veth", "peer", "name", there, "netns", two)
    for namespace, name in ends:
        _ip(namespace, "link", "set", name, "up", "mtu", str(MTU))


def _ip(namespace: str, *words: str) -> str:
    return run(["ip", "-n", namespace, *words])


def inside(namespace: str, argv: Iterable[str]) -> tuple[str, ...]:
    """The command that runs another one inside a namespace; it becomes that one, so its pid is the one's."""
    return ("ip", "netns", "exec", namespace, *argv)

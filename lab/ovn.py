"""A site's OVN: real northd, ovn-controller and Open vSwitch, on the userspace datapath, which needs no kernel module.

Ports are bound to a real chassis and become ACTIVE when ovn-controller claims them. One chassis per compute service, because a
chassis is what a host is to OVN; each has a network namespace (``lab.wires``).
"""

from pathlib import Path

from lab import wires
from lab.data import Cloud
from lab.install import SYSTEM_PATH
from lab.paths import Place, State
from lab.procs import Proc
from lab.shell import run
from lab.wait import until

SCHEMAS = {
    "nb": Path("/usr/share/ovn/ovn-nb.ovsschema"),
    "sb": Path("/usr/share/ovn/ovn-sb.ovsschema"),
    "chassis": Path("/usr/share/openvswitch/vswitch.ovsschema"),
}
BRIDGES = {"public": "br-ex", "wan": "br-wan"}
"""Physical networks and the bridge of each; two networks must never share a bridge."""


def vswitch(place: Place, index: int) -> str:
    """The address of the local database of a chassis."""
    return f"unix:{place.run / f'chassis{index}' / 'db.sock'}"


def procs(state: State, cloud: Cloud) -> list[Proc]:
    """All OVN processes of a site."""
    return [*_databases(state, cloud), *_daemons(state, cloud)]


def start(state: State, cloud: Cloud) -> None:
    """Start OVN and describe its chassis; does nothing to what already runs."""
    place = state.cloud(cloud)
    if wires.real(state):
        wires.lay(cloud)
    for index in range(1, cloud.computes + 1):
        (place.run / f"chassis{index}").mkdir(parents=True, exist_ok=True)
    (place.var / "ovn").mkdir(parents=True, exist_ok=True)
    for proc in _databases(state, cloud):
        file = Path(proc.argv[-1])
        if not file.exists():
            run(["ovsdb-tool", "create", file, SCHEMAS[proc.name.removeprefix("ovsdb-").rstrip("0123456789")]])
        socket = Path(next(arg for arg in proc.argv if arg.startswith("--remote=")).removeprefix("--remote=punix:"))
        if not proc.pid():
            socket.unlink(missing_ok=True)  # a machine that was cut off leaves it, and its being there says "ready" below
        if proc.start():
            until(f"{cloud.name}: {proc.name} listens", socket.exists, 15, 0.02)
    run(["ovn-nbctl", f"--db=unix:{place.run / 'nb.sock'}", "init"])
    run(["ovn-sbctl", f"--db=unix:{place.run / 'sb.sock'}", "init"])
    for index in range(1, cloud.computes + 1):
        _describe(place, cloud, index, packets=wires.real(state))
    for proc in _daemons(state, cloud):
        proc.start()
    if wires.real(state):
        for index in range(1, cloud.computes + 1):
            wires.address(cloud.name, index)


def _proc(place: Place, name: str, *argv: str, chassis: int | None = None, namespace: str = "") -> Proc:
    run_dir = place.run / f"chassis{chassis}" if chassis else place.run
    env = {"PATH": SYSTEM_PATH, "OVS_RUNDIR": str(run_dir), "OVN_RUNDIR": str(run_dir)}
    quiet = ("-vconsole:off", "-vsyslog:off", f"--log-file={place.log / f'{name}.log'}")
    words = (argv[0], *quiet, *argv[1:])
    return Proc(name, place, wires.inside(namespace, words) if namespace else words, env, grace=5)


def _databases(state: State, cloud: Cloud) -> list[Proc]:
    place = state.cloud(cloud)
    wanted = [("ovsdb-nb", place.run / "nb.sock"), ("ovsdb-sb", place.run / "sb.sock")]
    wanted += [(f"ovsdb-chassis{i}", place.run / f"chassis{i}" / "db.sock") for i in range(1, cloud.computes + 1)]
    return [
        _proc(
            place,
            name,
            "ovsdb-server",
            f"--unixctl={place.run / f'{name}.ctl'}",
            f"--remote=punix:{socket}",
            str(place.var / "ovn" / f"{name}.db"),
        )
        for name, socket in wanted
    ]


def _daemons(state: State, cloud: Cloud) -> list[Proc]:
    place = state.cloud(cloud)
    found = [
        _proc(
            place,
            "ovn-northd",
            "ovn-northd",
            f"--unixctl={place.run / 'northd.ctl'}",
            f"--ovnnb-db=unix:{place.run / 'nb.sock'}",
            f"--ovnsb-db=unix:{place.run / 'sb.sock'}",
        )
    ]
    for index in range(1, cloud.computes + 1):
        local = vswitch(place, index)
        if wires.real(state):
            home = wires.chassis(cloud.name, index)
            found.append(_proc(place, f"vswitchd{index}", "ovs-vswitchd", local, chassis=index, namespace=home))
        else:
            found.append(_proc(place, f"vswitchd{index}", "ovs-vswitchd", "--enable-dummy=override", local, chassis=index))
        found.append(_proc(place, f"ovn-controller{index}", "ovn-controller", local, chassis=index))
    return found


def _describe(place: Place, cloud: Cloud, index: int, *, packets: bool) -> None:
    """What a chassis says about itself, and its bridges."""
    facts = {
        "system-id": f"{cloud.name}-chassis{index}",
        "hostname": f"{cloud.name}-cmp{index}",
        "ovn-remote": f"unix:{place.run / 'sb.sock'}",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": wires.underlay(index) if packets else f"127.0.0.{index}",
        "ovn-bridge-mappings": ",".join(f"{network}:{bridge}" for network, bridge in BRIDGES.items()),
        "ovn-cms-options": "enable-chassis-as-gw",
    }
    if packets:
        facts["ovn-bridge-datapath-type"] = wires.REAL
    command = ["ovs-vsctl", f"--db={vswitch(place, index)}", "--no-wait", "--", "init"]
    command += ["--", "set", "open_vswitch", ".", *(f'external_ids:{key}="{value}"' for key, value in facts.items())]
    for bridge in (*BRIDGES.values(), "br-int"):
        command += ["--", "--may-exist", "add-br", bridge]
        if packets:
            command += ["--", "set", "bridge", bridge, f"datapath_type={wires.REAL}"]
    if packets:
        command += ["--", "set", "bridge", "br-int", "fail-mode=secure"]
        command += ["--", "--may-exist", "add-br", "br-und", "--", "set", "bridge", "br-und", f"datapath_type={wires.REAL}"]
        for wire, bridge in wires.SWITCHES.items():
            command += ["--", "--may-exist", "add-port", bridge, wire]
    run(command)

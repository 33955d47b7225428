"""What must be on the machine: Debian packages, and one virtual environment per release."""

import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from lab.data import RELEASES, Release
from lab.paths import State
from lab.report import step
from lab.shell import run

PROGRAMS = {
    # a program we need: the Debian package that has it
    "mariadbd": "mariadb-server",
    "epmd": "erlang-base",
    "rabbitmqctl": "rabbitmq-server",
    "ovn-northd": "ovn-central",
    "ovn-controller": "ovn-host",
    "ovs-vswitchd": "openvswitch-switch",
    "qemu-img": "qemu-utils",
    "gcc": "gcc",
    "ip": "iproute2",
    "busybox": "busybox-static",  # endpoints of the network: a DHCP client and a server to connect to
    "ethtool": "ethtool",
    "ping": "iputils-ping",
    "tcpdump": "tcpdump",
}
FILES = {
    # a file we need: the Debian package that has it
    "/usr/share/novnc/vnc_lite.html": "novnc",
    "/usr/share/spice-html5/spice_auto.html": "spice-html5",
}
DRIVER_FILES = {
    "nova_lab.py": "nova/virt/lab.py",
    "nova_screen.py": "nova/virt/lab_screen.py",
    "cinder_lab.py": "cinder/volume/drivers/lab.py",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DRIVERS = Path(__file__).resolve().parent / "drivers"


def packages(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install the Debian packages that are missing; their services are not started."""
    wanted = {package for program, package in programs.items() if not shutil.which(program, path=SYSTEM_PATH)}
    missing = sorted(wanted | {package for file, package in FILES.items() if not Path(file).exists()})
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing.append("python3-dev")  # uWSGI is built from source
    if not missing:
        return
    with step(f"Debian packages: {', '.join(missing)}"):
        policy = Path("/usr/sbin/policy-rc.d")
        ours = not policy.exists()
        if ours:  # keeps apt from starting the services it installs
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        try:
            run(["apt-get", "-q", "update"], env=env)
            run(["apt-get", "-q", "-y", "--no-install-recommends", "install", *missing], env=env)
        finally:
            if ours:
                policy.unlink()


def release(state: State, name: str) -> None:
    """Install a release unless it is there already, and (always) the lab's drivers."""
    environment(state, RELEASES[name], state.venv(name))
    _drivers(state, name)


def environment(state: State, wanted: Release, venv: Path) -> None:
    """Make a virtual environment unless it is there already."""
    stamp = venv / "lab-installed"
    mark = hashlib.sha256(repr(wanted).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == mark:
        return
    with step(f"install OpenStack {wanted.name}"):
        _install(state, wanted, venv)
    with step(f"byte-compile OpenStack {wanted.name}"):
        # Without it the first start of everything takes two to three times as long.
        # 1 only means that some package ships a file that is no Python.
        compile_all = [str(venv / "bin" / "python"), "-m", "compileall", "-q", "-j", "2", str(venv / "lib")]
        run(compile_all, env={"PYTHONWARNINGS": "ignore"}, codes=(0, 1))
    stamp.write_text(mark)


def _install(state: State, wanted: Release, venv: Path) -> None:
    env = {"UV_CACHE_DIR": str(state.cache), "UV_LINK_MODE": "hardlink"}
    uv = [sys.executable, "-m", "uv"]
    venv.parent.mkdir(parents=True, exist_ok=True)
    run([*uv, "venv", "-q", "--clear", "--python", sys.executable, venv], env=env, cwd=state.root)
    command = [*uv, "pip", "install", "-q", "--python", str(venv / "bin" / "python")]
    run([*command, "--exclude-newer", wanted.exclude_newer, *wanted.requirements], env=env, cwd=state.root)
    if wanted.slow_rpc_poll:
        module = state.site_packages(wanted.name) / "oslo_messaging" / "_drivers" / "amqpdriver.py"
        text = module.read_text()
        module.unlink()  # it may be a hard link into the cache
        module.write_text(text.replace("time.sleep(0.5)", "time.sleep(0.01)"))


def _drivers(state: State, name: str) -> None:
    """Put the lab's drivers where Nova and Cinder look for drivers: below their own packages."""
    libraries = state.site_packages(name)
    for source, target in DRIVER_FILES.items():
        text = (DRIVERS / source).read_text()
        if not (libraries / target).exists() or (libraries / target).read_text() != text:
            (libraries / target).write_text(text)
    sudo = state.venv(name) / "bin" / "sudo"
    if not sudo.exists():  # rootwrap and privsep call it; we are root already
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)

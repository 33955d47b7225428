"""The command line of the lab."""

import argparse
import fcntl
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

from lab import accounts, addons, cloud, gateway, infra, install, ovn, procs, proof, status, wires
from lab import demo as story
from lab import upgrade as upgrades
from lab.data import CLOUDS, HUB, RELEASES, SITES, Cloud
from lab.parity import command as parity
from lab.paths import State, state
from lab.report import LabError, console, say, step


def _chosen(place: State, args: argparse.Namespace) -> list[Cloud]:
    """The sites `up` is about: those that start by themselves, those named, those named earlier."""
    wanted = {site.name for site in SITES.values() if site.autostart or cloud.bootstrapped(place, site)}
    return [site for site in SITES.values() if site.name in wanted | set(args.site or ())]


def up(place: State, args: argparse.Namespace) -> None:
    """Bring everything up."""
    begun = time.monotonic()
    accounts.write(place)
    install.packages()
    _decide(place)
    infra.start(place)
    sites = _chosen(place, args)
    cloud.up(place, HUB)
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(cloud.up, place, site) for site in sites]
    if errors := [error for attempt in tries if (error := attempt.exception())]:
        if unforeseen := [error for error in errors if not isinstance(error, LabError)]:
            raise unforeseen[0]
        raise LabError("\n\n".join(map(str, errors)))
    if not args.no_gateway:
        wanted = addons.chosen(place, args.addons)
        addons.prepare(place, wanted)
        gateway.up(place, sites)
        addons.start(place, wanted)
    say(f"The lab is up after {time.monotonic() - begun:.0f} s. Next: eval $(bin/lab env); openstack server list")


def down(place: State, args: argparse.Namespace) -> None:
    """Stop everything."""
    with step("stop everything"):
        addons.stop(place, addons.ADDONS.values())
        gateway.stop(place)
        cloud.down(place, list(CLOUDS.values()))
        procs.stop(infra.procs(place))
        wires.forget(place)


def reset(place: State, args: argparse.Namespace) -> None:
    """Throw away all data (not what is installed) and start afresh."""
    down(place, args)
    for folder in ("clouds", "infra", "cascade", "addons"):
        shutil.rmtree(place.root / folder, ignore_errors=True)
    up(place, args)


def start(place: State, args: argparse.Namespace) -> None:
    """Start one cloud, the gateway, or an add-on."""
    if args.name == GATEWAY:
        gateway.start(place)
        return
    if addon := addons.ADDONS.get(args.name):
        addons.prepare(place, [addon])
        addons.start(place, [addon])
        return
    _decide(place)
    infra.start(place)
    cloud.up(place, CLOUDS[args.name])


def stop(place: State, args: argparse.Namespace) -> None:
    """Stop one cloud, the gateway, or an add-on."""
    with step(f"stop {args.name}"):
        if args.name == GATEWAY:
            gateway.stop(place)
        elif addon := addons.ADDONS.get(args.name):
            addons.stop(place, [addon])
        else:
            cloud.down(place, [CLOUDS[args.name]])


def freeze(place: State, args: argparse.Namespace) -> None:
    """SIGSTOP a cloud."""
    say(f"{args.name}: {cloud.freeze(place, CLOUDS[args.name])} processes frozen")


def thaw(place: State, args: argparse.Namespace) -> None:
    """SIGCONT a cloud."""
    say(f"{args.name}: {cloud.thaw(place, CLOUDS[args.name])} processes go on")


def cut(place: State, args: argparse.Namespace) -> None:
    """Take the WAN from a site: its servers no longer reach those of other sites, its API is not touched."""
    _wired(place)
    wires.cut(args.name)


def mend(place: State, args: argparse.Namespace) -> None:
    """Give a site its WAN back."""
    _wired(place)
    wires.mend(args.name)


def _decide(place: State) -> None:
    running = any(proc.pid() for site in SITES.values() for proc in ovn.procs(place, site))
    wires.decide(place, running=running)


def _wired(place: State) -> None:
    if not wires.real(place):
        raise LabError("the lab carries no packets here: there is no wire to cut")


def env(place: State, args: argparse.Namespace) -> None:
    """Print what a shell needs to use the lab."""
    print(f"export OS_CLIENT_CONFIG_FILE={shlex.quote(str(place.clouds_file))} OS_CLOUD=cascade")


def demo(place: State, args: argparse.Namespace) -> None:
    """Bring up what is not, and show what Cascade does."""
    with _locked(place):
        up(place, argparse.Namespace(site=None, no_gateway=False, addons=[]))
    story.run(place)


def upgrade(place: State, args: argparse.Namespace) -> None:
    """Upgrade a site to another release, as its operator does, under load or not."""
    site = SITES[args.name]
    if args.back:
        upgrades.back(place, site)
    elif args.prove:
        proof.run(place, site, args.to)
    else:
        upgrades.upgrade(place, site, args.to)


COMMANDS: dict[str, Callable[[State, argparse.Namespace], None]] = {
    "up": up,
    "down": down,
    "reset": reset,
    "status": status.show,
    "logs": status.logs,
    "start": start,
    "stop": stop,
    "freeze": freeze,
    "thaw": thaw,
    "cut": cut,
    "mend": mend,
    "demo": demo,
    "env": env,
    "upgrade": upgrade,
    "parity": parity.command,
}
GATEWAY = "cascade"
NAMES = {
    # a command: what it can be about
    "start": [*CLOUDS, GATEWAY, *addons.ADDONS],
    "stop": [*CLOUDS, GATEWAY, *addons.ADDONS],
    "freeze": [*CLOUDS],
    "thaw": [*CLOUDS],
    "cut": [*SITES],
    "mend": [*SITES],
    "upgrade": [*SITES],
}
UNLOCKED = {"status", "logs", "env", "demo", "parity"}


@contextmanager
def _locked(place: State) -> Iterator[None]:
    """One command at a time works on a state folder."""
    with (place.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another lab command is at work on this state folder") from None
        yield


def _addons(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(addons.ADDONS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: one of {', '.join(addons.ADDONS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/lab", description="A hub and sites of real OpenStack on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=(function.__doc__ or "").splitlines()[0])
        if name in ("up", "reset"):
            command.add_argument("--site", action="append", choices=sorted(SITES), help="also this site")
            known = f"also these add-ons: {', '.join(addons.ADDONS)}"
            command.add_argument("--with", dest="addons", type=_addons, default=[], metavar="NAME[,NAME]", help=known)
            command.add_argument("--no-gateway", action="store_true", help="hub and sites only")
        elif name in NAMES:
            names = NAMES[name]
            command.add_argument("name", choices=names, metavar="SITE", help=", ".join(names))
            if name == "upgrade":
                way = command.add_mutually_exclusive_group(required=True)
                way.add_argument("--to", choices=sorted(RELEASES), metavar="RELEASE", help=", ".join(sorted(RELEASES)))
                way.add_argument("--back", action="store_true", help="restore the databases and release from before")
                command.add_argument("--prove", action="store_true", help="with tenants at work, and everything looked at")
        elif name == "logs":
            command.add_argument("name", nargs="?", metavar="SITE", help="a site, hub, infra or cascade")
            command.add_argument("process", nargs="?", metavar="PROCESS", help="as in status")
            command.add_argument("-n", "--lines", type=int, default=20)
        elif name == "parity":
            parity.arguments(command)
    return parser


def main() -> int:
    """Run one command."""
    args = _parser().parse_args()
    place = state()
    place.root.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(place.cache.parent)  # for every child: nothing goes to the home folder
    try:
        with nullcontext() if args.command in UNLOCKED else _locked(place):
            COMMANDS[args.command](place, args)
    except LabError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted", style="red")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())

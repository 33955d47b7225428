"""``bin/sim``: fake clouds and a real gateway in front of them, on any machine, as any user, in seconds."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lab import demo, gateway, procs, wait
from lab.paths import CHECKOUT, Place, State
from lab.procs import Proc
from lab.report import LabError, console, say, step
from lab.rest import Rest
from lab.shell import run
from sim import misbehave
from sim.faults import Refused

HOST = "127.0.0.1"
REGION = "cascade"


def state() -> State:
    """The state folder of this checkout, or the one the environment names."""
    return State(Path(os.environ.get("CASCADE_SIM_STATE") or CHECKOUT / ".sim").absolute())


def processes(place: State, args: argparse.Namespace) -> tuple[Proc, Proc]:
    """The fake clouds, and the gateway."""
    clouds = ("--sites", args.sites, "--base-port", str(args.base_port), "--clouds-file", str(place.clouds_file))
    argv = (sys.executable, "-m", "sim", *clouds, "--gateway-url", _url(args))
    serve = (str(gateway.PROGRAM), "serve", "--config-file", str(gateway.config_file(place)))
    return (
        Proc("sim", Place(place.root / "clouds"), argv, {"PYTHONPATH": str(CHECKOUT)}, args.base_port),
        Proc("cascade", place.gateway, serve, port=args.gateway_port),
    )


def _url(args: argparse.Namespace) -> str:
    return f"http://{HOST}:{args.gateway_port}"


def up(place: State, args: argparse.Namespace) -> None:
    """Start both and join the sites. The clouds begin empty, so the gateway does too."""
    sim, front = processes(place, args)
    for old in place.gateway.root.glob("cascade.db*"):
        old.unlink()
    with step("start the fake clouds"):
        sim.start()
        wait.ready([sim], 30)
    options = {"listen": f"{HOST}:{args.gateway_port}", "public_url": _url(args), "region": REGION}
    gateway.configure(place, "hub", options)
    with step("start the gateway"):
        run([str(gateway.PROGRAM), "upgrade", "--config-file", str(gateway.config_file(place))])
        front.start()
        wait.until("the gateway is healthy", lambda: wait.answers(args.gateway_port, "/healthz", 5), 60)
    admin = Rest(f"http://{HOST}:{args.base_port}/identity/v3", "admin", "admin")
    for site in filter(None, args.sites.split(",")):
        name = site.removesuffix("*")
        with step(f"{name}: join the cloud"):
            wish = {"name": name, "cloud": name, "identity": "shared" if site.endswith("*") else "mapped"}
            admin.post(f"{_url(args)}/cascade/v1/sites", {"site": wish, "allow_lower_window": True})
    for wish in documents(args):
        admin.post(f"http://{HOST}:{args.base_port}/_sim/faults", wish)


def documents(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the clouds are told once all have joined, so that they misbehave from then on. Raises Refused for a fault of none."""
    names = ["hub", *(s.removesuffix("*") for s in args.sites.split(",") if s)]
    return misbehave.documents(args.fault, names, args.seed)


def advice(place: State) -> tuple[str, ...]:
    """What to type next."""
    clouds = shlex.quote(str(place.clouds_file))
    return (f"export OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD=cascade", ".venv/bin/openstack server list --long")


def serve(place: State) -> None:
    """Stay until Ctrl-C, or until one of the processes is gone."""
    for line in advice(place):
        say(line)
    say("Ctrl-C ends it.")
    threading.Event().wait()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="bin/sim", description=__doc__, epilog=misbehave.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("command", nargs="?", choices=("up", "demo"), default="up", help="demo: show what Cascade does, and end")
    p.add_argument("--sites", default="paris,tokyo", help="names, comma separated; NAME* = one that shares the hub's Keystone")
    p.add_argument("--base-port", type=int, default=30000, help="the hub's port; sites follow")
    p.add_argument("--gateway-port", type=int, default=31000)
    p.add_argument("--fault", action="append", default=[], metavar="CLOUD=FAULT", help="once all have joined; see below")
    p.add_argument("--seed", type=int, default=0, help="of what a fault draws")
    args = p.parse_args(argv)
    try:
        documents(args)
    except Refused as e:
        p.error(e.message)
    return args


def main() -> int:
    """The command; its exit status."""
    args, place = parse(), state()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place.root.mkdir(parents=True, exist_ok=True)
    both = processes(place, args)
    running = any(p.pid() for p in both)
    try:
        if running and args.command != "demo":
            raise LabError(f"it runs already, in {place.root}")
        if not running:
            up(place, args)
        if args.command == "demo":
            demo.run(place, ("Go on by hand: bin/sim",))
        else:
            serve(place)
    except LabError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    except KeyboardInterrupt:
        say("")
    finally:
        if not running:
            procs.stop(reversed(both))
    return 0


if __name__ == "__main__":
    sys.exit(main())

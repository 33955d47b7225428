"""``python -m sim --sites paris,tokyo --base-port 30000 --clouds-file clouds.yaml``"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import Any

import yaml

from sim import app, misbehave
from sim.faults import Refused
from sim.seed import ACCOUNTS, PASSWORD
from sim.world import Cloud, Options, World


def entry(auth_url: str, user: str, project: str, region: str) -> dict[str, Any]:
    """One cloud of clouds.yaml."""
    auth = {
        "auth_url": auth_url,
        "username": user,
        "password": PASSWORD,
        "project_name": project,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    return {"auth": auth, "region_name": region, "identity_api_version": "3"}


def clouds_yaml(world: World) -> dict[str, Any]:
    """The lab's names: PLACE for the service account, PLACE-USER for others; ``cascade`` and kin through the gateway."""
    found: dict[str, Any] = {}
    gateway = f"{world.options.gateway_url}/identity/v3"
    for user, project, _ in ACCOUNTS:
        if user != "cascade":
            name = "cascade" if user == "demo" else f"cascade-{user.removeprefix('demo-')}"
            found[name] = entry(gateway, user, project, world.options.region)
        for cloud in world.clouds.values():
            found[cloud.name if user == "cascade" else f"{cloud.name}-{user}"] = _direct(cloud, user, project)
    return {"clouds": found}


def _direct(cloud: Cloud, user: str, project: str) -> dict[str, Any]:
    return entry(f"{cloud.identity.url('identity')}/v3", user, project, cloud.name)


def parse(argv: list[str] | None = None) -> tuple[World, Path | None]:
    """The world a command line asks for."""
    p = argparse.ArgumentParser(
        prog="python -m sim", description=__doc__, epilog=misbehave.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--sites", default="paris,tokyo", help="names, comma separated; NAME* = one that shares the hub's Keystone")
    p.add_argument("--base-port", type=int, default=30000, help="the hub's port; sites follow")
    p.add_argument("--clouds-file", type=Path, help="where to write clouds.yaml")
    p.add_argument("--gateway-url", default=Options.gateway_url)
    p.add_argument("--host", default=Options.host)
    p.add_argument("--many", type=int, default=0, metavar="N", help="instead of --sites, so many that share the hub's Keystone")
    p.add_argument(
        "--servers", type=int, default=0, metavar="M", help="servers each of them has from the start, with ports and volumes"
    )
    for name in ("build", "delete", "volume", "token_life"):
        p.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Options, name), metavar="SECONDS")
    p.add_argument("--fault", action="append", default=[], metavar="CLOUD=FAULT", help="from the start; see below")
    p.add_argument("--seed", type=int, default=0, help="of what a fault draws")
    a = p.parse_args(argv)
    options = Options(
        host=a.host,
        gateway_url=a.gateway_url,
        build=a.build,
        delete=a.delete,
        volume=a.volume,
        token_life=a.token_life,
        servers=a.servers,
    )
    names = [f"site{n:03d}*" for n in range(1, a.many + 1)] or [s for s in a.sites.split(",") if s]
    shared = frozenset(s[:-1] for s in names if s.endswith("*"))
    world = World([s.removesuffix("*") for s in names], a.base_port, options, shared)
    try:
        for name, faults in misbehave.assigned(a.fault, list(world.clouds)).items():
            world.clouds[name].modes = misbehave.of_document({"faults": faults, "seed": a.seed}, name)
    except Refused as e:
        p.error(e.message)
    return world, a.clouds_file


async def run(world: World) -> None:
    """Serve until told to end."""
    runners = await app.start(world)
    print("READY", flush=True)
    end = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, end.set)
    await end.wait()
    await app.stop(runners)


def main() -> None:
    """The command."""
    world, clouds_file = parse()
    if clouds_file is not None:
        clouds_file.touch(mode=0o600)
        clouds_file.write_text(yaml.safe_dump(clouds_yaml(world), sort_keys=False))
    asyncio.run(run(world))


if __name__ == "__main__":
    main()

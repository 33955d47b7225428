"""The index of all servers: making it, starting with it, keeping it; and a gateway nobody asks anything."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.report import Figure
from bench.world import World


def rebuild(world: World) -> Iterator[Figure]:
    """`cascade rebuild` of all servers, volumes and ports, from nothing but the sites; the index on disk."""
    world.indexed = False
    servers, volumes, ports = world.servers, world.volumes, world.ports
    took = world.index()
    yield Figure(f"rebuild of {servers} servers, {volumes} volumes and {ports} ports", took, "s")
    yield Figure("rebuild: the servers' share, as all rows cost the same", took * servers / (servers + volumes + ports), "s", 300)
    yield Figure("index on disk", world.database.size() / 2**20, "MiB")


def restart(world: World) -> Iterator[Figure]:
    """From the start of the process to its first answer about a server, nothing cached but the token."""
    tenant = world.tenant(0)
    ident = tenant.get("/compute/v2.1/servers?limit=1")["servers"][0]["id"]
    world.stop()
    began = time.monotonic()
    world.serve()
    tenant.get(f"/compute/v2.1/servers/{ident}")
    yield Figure("restart to first answer", time.monotonic() - began, "s", 3)


def memory(world: World) -> Iterator[Figure]:
    """Resident memory, after all that was measured before."""
    yield Figure("memory of a gateway", world.memory() / 2**20, "MiB", 300)
    yield Figure("memory of the simulator", world.sim.memory() / 2**20, "MiB", 4096)


def idle(world: World) -> Iterator[Figure]:
    """Calls and CPU while nobody asks for anything, by default for ten minutes."""
    before, cpu, began = sum(world.calls().values()), world.cpu(), time.monotonic()
    time.sleep(world.sizes.idle)
    took = time.monotonic() - began
    yield Figure("idle: calls per second and site", (sum(world.calls().values()) - before) / took / len(world.sites), "1/s", 0.2)
    yield Figure("idle: CPU of the gateway", (world.cpu() - cpu) / took * 100, "%")

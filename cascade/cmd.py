"""The ``cascade`` command: serve, db upgrade, rebuild."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog
import uvloop
from aiohttp import web
from oslo_config import cfg

from cascade import otlp, telemetry, tracing, workers
from cascade.api import page
from cascade.api.app import Gateway
from cascade.api.consoles import PREFIX
from cascade.api.core import Core
from cascade.api.handlers import HANDLERS, TABLES
from cascade.api.observe import observe
from cascade.api.relay import Relay
from cascade.api.tokens import Tokens
from cascade.conf import Conf, load
from cascade.model.errors import StoreError
from cascade.quota.allowance import Allowances
from cascade.quota.limits import Limits as QuotaLimits
from cascade.reconcile.audit import Audit
from cascade.reconcile.compute import Compute
from cascade.reconcile.images import Images
from cascade.reconcile.network import Networks
from cascade.reconcile.ports import Ports
from cascade.reconcile.rebuild import Rebuild
from cascade.reconcile.replicate import Replicas
from cascade.reconcile.shadows import Shadows
from cascade.reconcile.volume import Volumes
from cascade.reconcile.watch import Watch
from cascade.routing.cursor import Cursors
from cascade.sites.clouds import Clouds
from cascade.sites.discovery import Discovery
from cascade.sites.hosts import Hosts
from cascade.sites.limits import Limits
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="cascade", description="One OpenStack cloud out of many.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "run the gateway"),
        ("rebuild", "restore index, pairs and ledger from hub and sites"),
        ("upgrade", "bring the database schema up to date"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--config-file", action="append", default=None, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        conf = load([], args.config_file)
    except (cfg.Error, OSError, ValueError) as e:  # the operator reads it; nothing has begun
        print(f"cascade: {e}", file=sys.stderr)
        return 2
    telemetry.setup(log_file=conf.log_file, level=conf.log_level)
    return int(uvloop.run({"serve": serve, "rebuild": rebuild, "upgrade": upgrade}[args.command](conf)))


async def build(conf: Conf) -> Core:
    """The machine, connected and not yet serving."""
    store = await Store.open(conf.database.connection)
    limits = Limits(
        call=conf.call_deadline, concurrency=conf.sites.concurrency, probe_interval=conf.sites.probe_interval,
        probe_deadline=conf.sites.probe_deadline, fail_threshold=conf.sites.fail_threshold, patience=conf.sites.patience,
    )  # fmt: skip
    sites = Sites(store, limits=limits)
    await sites.reload()
    clouds = Clouds(conf.sites.clouds_file, limits=limits)
    key = await asyncio.to_thread(Path(conf.secrets.master_key_file).read_bytes)
    south = South(sites, clouds, store, master_key=key, limits=limits, hub=conf.hub.cloud)
    networks = Networks(store, south, sites)
    ports = Ports(south, networks)
    quota = QuotaLimits(south)
    compute, volumes, images = Compute(store, south, sites), Volumes(store, south, sites), Images(store, south, sites)
    return Core(
        conf=conf, store=store, sites=sites, south=south, discovery=Discovery(sites, south, store), networks=networks,
        images=images, compute=compute, volumes=volumes, replicas=Replicas(sites, compute, volumes),
        cursors=Cursors(), hosts=Hosts(south),
        watch=Watch(store, south, sites, ports, images), ports=ports, limits=quota,
        allowances=Allowances(store, south, quota),
    )  # fmt: skip


async def close(core: Core) -> None:
    """End everything in the order of its dependence."""
    await core.tasks.close()
    await core.watch.close()
    await core.south.close()
    await core.store.close()


async def serve(conf: Conf) -> int:
    """Run until SIGTERM or SIGINT."""
    sock = workers.listening(conf.listen)
    if conf.workers > 1 and not workers.is_worker():
        files = [word for file in conf.config_file or () for word in ("--config-file", file)]
        return await workers.supervise(conf.workers, ["serve", *files], sock)
    core = await build(conf)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    # A reload of the service must not end it; there is nobody to take over meanwhile.
    loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP does nothing: with workers = 1 a change needs a restart")
    recorder = tracing.Recorder(core.store.traces.add, StoreError, on=conf.trace_days > 0)
    recorder.on_dropped = telemetry.TRACES_DROPPED.inc
    core.watch.recorder = recorder
    exporter = otlp.Exporter(conf.otlp_endpoint) if conf.otlp_endpoint else None
    tokens = Tokens(core.south, ttl=conf.token_cache_time, waiting=conf.requests.waiting, each=conf.requests.waiting_per_project)
    gateway = Gateway(core, tokens, TABLES, HANDLERS, recorder=recorder, exporter=exporter)
    gateway.extra = _extra(core, gateway)
    runner = web.ServerRunner(gateway.server(), handle_signals=False, shutdown_timeout=10.0)
    await runner.setup()
    core.south.start()
    await core.discovery.load()
    site = web.SockSite(runner, sock, backlog=1024)
    await site.start()
    core.tasks.start("discovery", core.discovery.run())
    core.tasks.start("networks", core.networks.run())
    core.tasks.start("images", core.images.run())
    core.tasks.start("replicas", core.replicas.run())
    audit = Audit(core.store, core.south, core.sites, core.watch.missing, interval=conf.sites.audit_interval)
    core.tasks.start("audit", audit.run())
    core.tasks.start("traces", recorder.run())
    core.tasks.start("old traces", _forget_traces(core))
    core.tasks.start("shadows", Shadows(core.store, core.south, core.sites).run())
    await core.watch.recover()
    log.info("serving", listen=conf.listen, sites=core.sites.names())
    _settle_memory()
    workers.ready()
    try:
        await stop.wait()
        await _drain(gateway, runner, site, conf.drain_time)
    finally:
        await runner.cleanup()
        await close(core)
        if exporter is not None:
            await asyncio.to_thread(exporter.close)
    return 0


def _settle_memory() -> None:
    """Modules and tables live as long as the process: they are not searched for garbage, which takes longer than a small request.

    A page of a list makes tens of thousands of objects and has no cycles: one search for each 700 would find nothing.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


async def _drain(gateway: Gateway, runner: web.ServerRunner, site: web.SockSite, seconds: float) -> None:
    """Take no new connections, and tell who uses an old one that it ends with the answer: nobody meets a closed door."""
    gateway.draining = True
    await site.stop()
    end = time.monotonic() + seconds
    while runner.server is not None and runner.server.connections and time.monotonic() < end:  # noqa: ASYNC110 - aiohttp tells nobody
        await asyncio.sleep(0.05)


async def rebuild(conf: Conf) -> int:
    """Everything the database held, from hub and sites."""
    core = await build(conf)
    try:
        found = await Rebuild(core.store, core.south, core.sites).run()
    finally:
        await close(core)
    for site, what in found.items():
        print(f"{site}: {what.things} servers, volumes and the like; {what.pairs} pairs; {what.foreign} of others left alone")
        if what.spare:
            print(f"{site}: second copies left alone: {', '.join(what.spare)}")
    missing = [s for s in core.sites.names() if s not in found]
    if missing:
        print(f"not reached: {', '.join(missing)}; run again when they answer", file=sys.stderr)
    return 1 if missing else 0


async def upgrade(conf: Conf) -> int:
    """alembic upgrade head."""
    await asyncio.to_thread(Store.migrate, conf.database.connection)
    return 0


async def _forget_traces(core: Core) -> None:
    """Every ten minutes, whoever else does it too."""
    while True:
        with contextlib.suppress(StoreError):
            await core.store.traces.forget(core.conf.trace_days)
        await asyncio.sleep(600.0)


def _extra(core: Core, gateway: Gateway) -> dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]]:
    """Paths that are nobody's API."""

    async def health(_: web.BaseRequest) -> web.StreamResponse:
        up = [s for s in core.sites.names() if core.sites.usable(s)]
        doc = {"status": "draining" if gateway.draining else "ok", "sites_up": len(up), "sites": len(core.sites.names())}
        return web.json_response(doc, status=503 if gateway.draining else 200)

    async def metrics(_: web.BaseRequest) -> web.StreamResponse:
        await observe(core)
        gateway.admission.observe()
        body, kind = telemetry.render()
        return web.Response(body=body, headers={"Content-Type": kind})

    relay = Relay(core, core.conf.console_sessions)
    return {"/healthz": health, "/metrics": metrics, PREFIX: relay.serve, page.PREFIX: page.serve}

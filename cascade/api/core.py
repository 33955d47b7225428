"""What every handler needs, in one value: built once by ``cascade.cmd``, handed down, never global."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from cascade.routing.fields import Sheets

if TYPE_CHECKING:
    from cascade.conf import Conf
    from cascade.quota.allowance import Allowances
    from cascade.quota.limits import Limits
    from cascade.reconcile.compute import Compute
    from cascade.reconcile.images import Images
    from cascade.reconcile.network import Networks
    from cascade.reconcile.ports import Ports
    from cascade.reconcile.replicate import Replicas
    from cascade.reconcile.volume import Volumes
    from cascade.reconcile.watch import Watch
    from cascade.routing.cursor import Cursors
    from cascade.sites.discovery import Discovery
    from cascade.sites.hosts import Hosts
    from cascade.sites.registry import Sites
    from cascade.sites.south import South
    from cascade.store import Store

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Core:
    """The running machine."""

    conf: Conf
    store: Store
    sites: Sites
    south: South
    discovery: Discovery
    networks: Networks
    images: Images
    compute: Compute
    volumes: Volumes
    replicas: Replicas
    watch: Watch
    ports: Ports
    limits: Limits
    allowances: Allowances
    cursors: Cursors
    hosts: Hosts
    sheets: Sheets = field(default_factory=Sheets)
    tasks: Background = field(default_factory=lambda: Background())


class Background:
    """Tasks that outlive their request; a failure is logged with its name, and ``close`` waits for none of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work`` beside the requests."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def __len__(self) -> int:
        return len(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background task failed", task=task.get_name(), exc_info=task.exception())

    async def close(self) -> None:
        """Cancel what runs; what matters is an intent in the store and is taken up again at the next start."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

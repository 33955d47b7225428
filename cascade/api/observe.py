"""Gauges are read when Prometheus asks: a quiet gateway computes none."""

from __future__ import annotations

from collections import Counter

from cascade import telemetry
from cascade.api.core import Core
from cascade.model.errors import CascadeError
from cascade.model.site import HUB


async def observe(core: Core) -> None:
    """Set every gauge to what is so now. A store that does not answer leaves its gauges out, not the others."""
    telemetry.SITE_UP.clear()
    telemetry.SERVICES_DOWN.clear()
    for name in (HUB, *core.sites.names()):
        health = core.sites.health.get(name)
        if health is not None and health.state != "unknown":
            telemetry.SITE_UP.labels(name).set(health.state == "up")
        telemetry.SERVICES_DOWN.labels(name).set(len(core.sites.health.down(name)))
    telemetry.TASKS.set(len(core.tasks))
    telemetry.SITE_WAITING.clear()
    for name, many in core.south.waiting().items():
        telemetry.SITE_WAITING.labels(name).set(many)
    telemetry.INTENTS.clear()
    try:
        pending = await core.store.intents.pending()
    except CascadeError:
        return
    for (site, verb), n in Counter((i.site, i.verb) for i in pending).items():
        telemetry.INTENTS.labels(site, verb).set(n)

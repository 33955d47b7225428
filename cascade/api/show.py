"""How sites, health and intents look in the admin API. Times are ISO 8601, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cascade.api.core import Core
from cascade.model.site import Site
from cascade.sites.health import Health

if TYPE_CHECKING:
    from cascade.store.intents import Intent


def moment(unix: float) -> str:
    """``2026-11-23T08:53:34Z``."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def health_view(health: Health | None) -> dict[str, Any]:
    """``state`` is up, down, unknown (not probed yet) or off (a disabled site is not probed)."""
    if health is None:
        return {"state": "off", "since": None, "last_error": None, "latency": None}
    error = health.last_error if health.state != "up" else None
    return {"state": health.state, "since": moment(health.since), "last_error": error, "latency": health.latency}


def site_view(core: Core, site: Site) -> dict[str, Any]:
    """A site with its health as last seen by this process."""
    return {
        "name": site.name, "number": site.number, "cloud": site.cloud, "identity": site.identity, "enabled": site.enabled,
        "draining": site.draining, "zones": dict(site.zones), "options": dict(site.options),
        "health": health_view(core.sites.health.get(site.name)),
    }  # fmt: skip


def intent_view(intent: Intent) -> dict[str, Any]:
    """Facts only; what the client asked for (``body``) is the tenant's."""
    return {
        "id": intent.id, "verb": intent.verb, "state": intent.state, "site": intent.site, "project_id": intent.project_id,
        "user_id": intent.user_id, "resource_id": intent.resource_id, "request_id": intent.request_id,
        "created": moment(intent.created), "updated": moment(intent.updated), "error": intent.error,
    }  # fmt: skip

"""Simple tenant usage: what a tenant used is the sum of what each site says he used there."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lab.data import SITES, Identity
from tests.lab.metering import boot, image
from tests.lab.rest import Cloud

ZONES = [name for name, site in SITES.items() if site.identity is Identity.MAPPED]
SUMS = ("total_hours", "total_vcpus_usage", "total_memory_mb_usage", "total_local_gb_usage")


def test_usage_is_the_sum_of_the_sites_own(clouds: dict[str, Cloud], demo: Cloud) -> None:
    used, run = image(demo), uuid.uuid4().hex[:8]
    servers = [boot(demo, zone, f"usage-{run}-{zone}", used) for zone in ZONES]
    try:
        for ident in servers:
            demo.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        now = datetime.now(UTC).replace(tzinfo=None)
        when = {"start": (now - timedelta(minutes=30)).isoformat(), "end": now.isoformat(), "detailed": 1}
        whole = demo("compute", "GET", f"/os-simple-tenant-usage/{demo.project_id}", **when).json()["tenant_usage"]
        parts: list[dict[str, Any]] = []
        for zone in ZONES:
            rows = clouds[f"{zone}-admin"]("compute", "GET", "/os-simple-tenant-usage", **when).json()["tenant_usages"]
            parts += [r for r in rows if any(s["name"] == f"usage-{run}-{zone}" for s in r["server_usages"])]
        assert len(parts) == len(ZONES)
        mine = {s["name"] for s in whole["server_usages"]}
        assert {s["name"] for part in parts for s in part["server_usages"]} <= mine
        others = [s for s in whole["server_usages"] if s["name"] not in {s["name"] for p in parts for s in p["server_usages"]}]
        assert whole["total_hours"] - sum(s["hours"] for s in others) == pytest.approx(
            sum(p["total_hours"] for p in parts), abs=1e-3
        )
        if not others:
            assert {key: whole[key] for key in SUMS} == pytest.approx({key: sum(p[key] for p in parts) for key in SUMS}, abs=1e-2)
    finally:
        for ident in servers:
            demo("compute", "DELETE", f"/servers/{ident}")
        demo("image", "DELETE", f"/v2/images/{used}")

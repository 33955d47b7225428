"""Simple tenant usage: what a tenant used is the sum of what each site says he used there."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lab.data import SITES, Identity
from tests.lab.metering import boot, image
from tests.lab.rest import Cloud

ZONES = [name for name, site in SITES.items() if site.identity is Identity.MAPPED]
SUMS = {"total_hours": "", "total_vcpus_usage": "vcpus", "total_memory_mb_usage": "memory_mb", "total_local_gb_usage": "local_gb"}
"""Sum -> what of a server it adds up, per hour."""


def _record(server: dict[str, Any]) -> tuple[str, str, float]:
    return server["name"], server["started_at"], round(server["hours"], 6)


def test_usage_is_the_sum_of_the_sites_own(clouds: dict[str, Cloud], demo: Cloud) -> None:
    used, run = image(demo), uuid.uuid4().hex[:8]
    servers = [boot(demo, zone, f"usage-{run}-{zone}", used) for zone in ZONES]
    try:
        for ident in servers:
            demo.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        time.sleep(2)  # Nova's database knows whole seconds, rounded: what was launched just now may have been in the next one
        now = datetime.now(UTC).replace(tzinfo=None)
        when = {"start": (now - timedelta(minutes=30)).isoformat(), "end": now.isoformat(), "detailed": 1}
        whole = demo("compute", "GET", f"/os-simple-tenant-usage/{demo.project_id}", **when).json()["tenant_usage"]
        parts: list[dict[str, Any]] = []
        for zone in ZONES:
            rows = clouds[f"{zone}-admin"]("compute", "GET", "/os-simple-tenant-usage", **when).json()["tenant_usages"]
            parts += [r for r in rows if any(s["name"] == f"usage-{run}-{zone}" for s in r["server_usages"])]
        assert len(parts) == len(ZONES)
        shown = Counter(_record(s) for s in whole["server_usages"])
        assert Counter(_record(s) for part in parts for s in part["server_usages"]) <= shown  # names are not unique
        assert {f"usage-{run}-{zone}" for zone in ZONES} <= {s["name"] for s in whole["server_usages"]}
        sums = {key: sum(s["hours"] * s.get(of, 1) for s in whole["server_usages"]) for key, of in SUMS.items()}
        assert {key: whole[key] for key in SUMS} == pytest.approx(sums, abs=1e-2)
    finally:
        for ident in servers:
            demo("compute", "DELETE", f"/servers/{ident}")
        demo("image", "DELETE", f"/v2/images/{used}")

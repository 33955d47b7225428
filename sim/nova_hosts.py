"""Nova: hosts by their old name, and the log of the usage audit."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sim.faults import Refused
from sim.hosts import hosts, services, usage
from sim.web import Call, route
from sim.world import Row

_HOSTS = "os_compute_api:os-hosts"
_AUDIT = "os_compute_api:os-instance-usage-audit-log"


@route("compute", "GET", "/os-hosts", "admin", f"{_HOSTS}:list", high=42)
def index(call: Call) -> Row:
    rows = [s for s in services(call.cloud) if call.get("zone") in ("", s["zone"])]
    return {"hosts": [{"host_name": s["host"], "service": s["binary"].removeprefix("nova-"), "zone": s["zone"]} for s in rows]}


@route("compute", "GET", "/os-hosts/{name}", "admin", f"{_HOSTS}:show", high=42)
def show(call: Call, name: str) -> Row:
    h = next((h for h in hosts(call.cloud) if h["host"] == name), None)
    if h is None:
        raise Refused(404, f"Compute host {name} could not be found.")
    used = usage(call.cloud, name)
    shown = (
        ("(total)", h["vcpus"], h["memory_mb"], h["local_gb"]),
        ("(used_now)", used["vcpus"], used["ram"], used["disk"]),
        ("(used_max)", used["vcpus"], used["ram"], used["disk"]),
    )
    return {"host": [{"resource": {"host": name, "project": p, "cpu": c, "memory_mb": m, "disk_gb": d}} for p, c, m, d in shown]}


@route("compute", "GET", "/os-instance_usage_audit_log", "admin", f"{_AUDIT}:list")
@route("compute", "GET", "/os-instance_usage_audit_log/{before}", "admin", f"{_AUDIT}:show")
def audit(call: Call, before: str = "") -> Row:
    """Nobody runs the audit here, so no host has done it. The period is the last whole month."""
    end = datetime.fromtimestamp(time.time() + call.cloud.skew, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = (end - timedelta(days=1)).replace(day=1)
    names = [h["host"] for h in hosts(call.cloud)]
    doc = {
        "period_beginning": f"{begin:%Y-%m-%d %H:%M:%S}", "period_ending": f"{end:%Y-%m-%d %H:%M:%S}", "num_hosts": len(names),
        "num_hosts_done": 0, "num_hosts_running": 0, "num_hosts_not_run": len(names), "hosts_not_run": names,
        "total_instances": 0, "total_errors": 0, "overall_status": f"0 of {len(names)} hosts done. 0 errors.", "log": {},
    }  # fmt: skip
    return {f"instance_usage_audit_log{'' if before else 's'}": doc}

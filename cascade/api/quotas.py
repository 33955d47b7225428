"""Limits and quota sets north: the hub's document, with what is used taken from the ledger."""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.api.forward import from_hub, hub_reply, to_hub
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from cascade.quota.limits import counted

_COMPUTE_USED = {"totalInstancesUsed": "instances", "totalCoresUsed": "cores", "totalRAMUsed": "ram"}
_VOLUME_USED = {
    "totalVolumesUsed": "volumes", "totalGigabytesUsed": "gigabytes", "totalSnapshotsUsed": "snapshots",
    "totalBackupsUsed": "backups",
    "totalBackupGigabytesUsed": "backup_gigabytes",
}  # fmt: skip


async def compute_limits(core: Core, req: Request) -> Response:
    """GET /limits of Nova."""
    return await _limits(core, req, _COMPUTE_USED, "tenant_id")


async def volume_limits(core: Core, req: Request) -> Response:
    """GET /limits of Cinder."""
    return await _limits(core, req, _VOLUME_USED, "project_id")


async def _limits(core: Core, req: Request, used: dict[str, str], other: str) -> Response:
    reply = await hub_reply(core, req)
    if reply.status != 200:
        return from_hub(core, reply)
    doc = reply.json()
    project = (req.param(other) if req.caller.is_admin else None) or req.caller.project_id
    usage = await core.store.ledger.usage(project)
    absolute = doc["limits"]["absolute"]
    absolute.update({k: usage.get(resource, 0) for k, resource in used.items() if k in absolute})
    return _answer(core, reply, doc)


async def compute_quota(core: Core, req: Request) -> Response:
    """Nova's /os-quota-sets/{project}."""
    return await _quota(core, req)


async def volume_quota(core: Core, req: Request) -> Response:
    """Cinder's /os-quota-sets/{project}."""
    return await _quota(core, req)


async def quota_class(core: Core, req: Request) -> Response:
    """PUT of a class: the defaults of every project."""
    answer = await to_hub(core, req)
    core.limits.forget()
    return answer


async def _quota(core: Core, req: Request) -> Response:
    project = req.match["project"]
    if req.method in ("PUT", "DELETE"):
        if req.method == "PUT" and (bad := await _below_usage(core, req, project)) is not None:
            raise bad
        answer = await to_hub(core, req)
        core.limits.forget(project)
        if answer.status < 300:
            core.tasks.start("quota", core.allowances.follow(req.service, project))
        return answer
    reply = await hub_reply(core, req)
    detailed = req.match.get("rest") == "/detail" or (req.param("usage") or "").lower() == "true"
    if reply.status != 200 or not detailed:
        return from_hub(core, reply)
    doc = reply.json()
    usage = await core.store.ledger.usage(project, req.param("user_id"))
    for resource, row in doc["quota_set"].items():
        if isinstance(row, dict) and counted(resource):
            row["in_use"] = usage.get(resource, 0)
    return _answer(core, reply, doc)


async def _below_usage(core: Core, req: Request, project: str) -> Fault | None:
    """A limit below what is used needs ``force``: the hub sees usage 0 and would say yes (design review 3.3)."""
    doc = req.json()
    wanted = doc.get("quota_set") if isinstance(doc, dict) else None
    if not isinstance(wanted, dict) or not req.caller.is_admin or str(wanted.get("force")).lower() == "true":
        return None
    usage = await core.store.ledger.usage(project, req.param("user_id"))
    for resource, limit in wanted.items():
        number = _integer(limit)
        if number is not None and counted(resource) and 0 <= number < usage.get(resource, 0):
            if req.service == "compute":
                return Fault(400, f"Quota limit {number} for {resource} must be greater than or equal to already used and reserved "
                                  f"{usage[resource]}.")  # fmt: skip
            return None  # Cinder allows it unless skip_validation=False; the hub decides
    return None


def _integer(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None


def _answer(core: Core, reply: Any, doc: Any) -> Response:
    import msgspec

    return from_hub(core, reply, msgspec.json.encode(doc))

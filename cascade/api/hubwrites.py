"""Writes to what the hub owns and sites copy: the hub judges and does it, the sites follow in the background.

Where the row says ``veto``, a site that still uses the thing is heard first, in the words of the real service: the hub has
no volumes and would say yes (design review 7.1).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from cascade.api.core import Core
from cascade.api.forward import from_hub, hub_reply
from cascade.api.request import Request, Response
from cascade.model.errors import Fault, SiteError
from cascade.model.reply import Reply
from cascade.reconcile.replicate import EVERYTHING

_COLLECTIONS = {
    "flavor": "flavors", "keypair": "os-keypairs", "volume_type": "types", "qos_spec": "qos-specs", "group_type": "group_types",
}  # fmt: skip
_QOS_WRITES = frozenset({"associate", "disassociate", "disassociate_all"})
"""Cinder takes these as GET."""


async def hub_write(core: Core, req: Request) -> Response:
    """Any method on a REPLICATED row; reads pass through."""
    assert req.row is not None
    kind = req.row.resource
    parts = req.path.strip("/").split("/")
    writes = req.method not in ("GET", "HEAD") or (kind == "qos_spec" and parts[-1] in _QOS_WRITES)
    if writes and req.row.veto and len(parts) > 1 and (words := _asks(kind, req.method, parts)):
        await _hear(core, req, kind, parts[1], words)
    reply = await hub_reply(core, req)
    if writes and reply.ok:
        for changed, ident in _changed(req, kind, parts, reply):
            core.replicas.changed(changed, ident)
    return from_hub(core, reply)


def _asks(kind: str, method: str, parts: list[str]) -> str | None:
    """What Cinder says when this write is refused because something is of the type; None for a write it never refuses."""
    below = parts[2] if len(parts) > 2 else ""
    if kind == "group_type":
        return "Target group type is still in use." if method == "DELETE" and not below else None
    if method == "DELETE" and not below:
        return "Target volume type is still in use."
    if below == "extra_specs":
        return "Volume Type is currently in use."
    if below == "encryption":
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(method)
        return f"Cannot {verb} encryption specs. Volume type in use." if verb else None
    return None


async def _hear(core: Core, req: Request, kind: str, hub_id: str, words: str) -> None:
    """Raises Cinder's own 400 where a site uses the type, 503 where a site that may use it cannot be asked.

    Only for administrators: whoever else asks is refused by the hub, and learns nothing.
    """
    if not req.caller.is_admin:
        return
    try:
        site = await core.volumes.in_use(kind, hub_id)
    except SiteError as e:
        message = f"Availability zone {e.target} cannot be asked whether it uses this type. Try again later."
        raise Fault(503, message, headers={"Retry-After": "30"}) from e
    if site is not None:
        raise Fault(400, words, kind="badRequest")


def _changed(req: Request, kind: str, parts: list[str], reply: Reply) -> list[tuple[str, str]]:
    """(kind, hub id) of everything this write touched."""
    if kind == "keypair":
        # A copy at a site is replaced at its next use where it differs; only a deleted one has to be taken away.
        user = req.param("user_id") or req.caller.user_id
        return [(kind, f"{user}/{unquote(parts[1])}")] if req.method == "DELETE" and len(parts) == 2 else []
    if kind == "qos_spec":
        touched = [(kind, parts[1])] if len(parts) > 1 else [(kind, i) for i in _made(reply)]
        if req.method == "DELETE" or parts[-1] in _QOS_WRITES:
            one = req.param("vol_type_id")
            touched.append(("volume_type", one or EVERYTHING))
        return touched
    if len(parts) > 1 and parts[0] == _COLLECTIONS.get(kind) and parts[1] != "action":
        return [(kind, unquote(parts[1]))]
    return [(kind, i) for i in _made(reply)]


def _made(reply: Reply) -> list[str]:
    doc: Any = reply.json()
    inner = next(iter(doc.values()), None) if isinstance(doc, dict) else None
    ident = inner.get("id") if isinstance(inner, dict) else None
    return [str(ident)] if ident else []

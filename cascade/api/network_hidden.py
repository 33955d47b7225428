"""What Cascade keeps at the hub for itself is not shown: bridge networks, their subnets and addresses."""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.model.errors import Fault
from cascade.model.site import HUB
from cascade.reconcile.net.bridges import BRIDGE

FIELDS = {"network": {"description", "project_id"}, "subnet": {"description", "project_id"}, "port": {"description", "project_id"}}
"""Kind -> what tells such a row."""


async def leave_out(core: Core, kind: str, doc: dict[str, Any], collection: str) -> None:
    """Take them out of a list, in place. Raises Neutron's own 404 where one was asked for by its id.

    The mark alone does not hide a thing: a tenant may write it into a description of his.
    """
    if kind not in FIELDS:
        return
    one = doc.get(collection.removesuffix("s")) or {}
    rows = doc.get(collection, [one])
    marked = [r for r in rows if str(r.get("description") or "").startswith(BRIDGE)]
    if not marked:
        return
    ours = await core.south.project_id(HUB, None)
    hidden = {r["id"] for r in marked if r.get("project_id") == ours}
    if collection in doc:
        doc[collection] = [r for r in doc[collection] if r["id"] not in hidden]
    elif hidden:
        name = kind.capitalize()
        raise Fault(404, f"{name} {one['id']} could not be found.", kind=f"{name}NotFound")

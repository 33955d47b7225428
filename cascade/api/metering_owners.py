"""Whose is what a site has measured: an administrator of this cloud deals with what belongs to its projects, and with nothing of
the tenants whom a site's owner has besides.

At a mapped site he has the role ``admin``, and Gnocchi leaves out nothing for an administrator. So whatever acts on all resources
that match, and whatever adds up over them, is narrowed to this cloud's projects before it goes there; lists are cut when they come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from cascade.api.core import Core
from cascade.api.request import Params, Request
from cascade.model.caller import Caller
from cascade.model.errors import Fault

Row = dict[str, Any]

_WHOLE = re.compile(r"DELETE /v1/resource/[^/]+|POST /v1/aggregation/resource/.+")
"""The body, or the parameter ``filter``, is the search."""
_INNER = "POST /v1/aggregates"
_NOBODY = "0" * 32
"""In place of no project at all: Gnocchi takes no empty list."""
_SEARCHED = 200
"""Resources looked up in one search."""
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def others(core: Core, caller: Caller, site: str) -> bool:
    """Whether the site would show the caller what is not this cloud's."""
    return caller.is_admin and core.sites.get(site).identity == "mapped"


async def narrowed(core: Core, req: Request, site: str, doc: Any, params: Params) -> tuple[Any, Params]:
    """Body and parameters with the search narrowed, where the site has other tenants whom the caller could reach.

    Raises Fault 400 for a search in words that cannot be put into another one.
    """
    if not others(core, req.caller, site):
        return doc, params
    what = f"{req.method} {req.path}"
    if what == _INNER and isinstance(doc, dict) and "resource_type" in doc:
        return doc | {"search": await _and_ours(core, req, site, doc.get("search"))}, params
    if not _WHOLE.fullmatch(what):
        return doc, params
    said = next((v for k, v in params if k == "filter"), None)
    if doc or not said:  # as Gnocchi reads them: the body goes before the parameter; nothing at all is refused by it for a DELETE
        return (await _and_ours(core, req, site, doc) if doc or req.method == "POST" else doc), params
    return doc, [(k, await _and_ours(core, req, site, v) if k == "filter" else v) for k, v in params]


async def _and_ours(core: Core, req: Request, site: str, search: Any) -> Any:
    """``search`` and: of a project of this cloud, or made by the caller's. In the north's words, as all of a request."""
    projects = sorted(pair.hub_id for pair in await core.store.pairs.all("project", site)) or [_NOBODY]
    own = str(req.caller.project_id)
    if isinstance(search, str) and search.strip():
        _closed(search)
        return f'({search}) and (project_id in {json.dumps(projects)} or created_by_project_id = "{own}")'
    ours = {"or": [{"in": {"project_id": projects}}, {"=": {"created_by_project_id": own}}]}
    return {"and": [ours, search]} if search else ours


async def resources(core: Core, caller: Caller, site: str, rows: Sequence[Row]) -> list[Row]:
    """Those of this cloud's projects, made by one of them, or nobody's in particular."""
    if not others(core, caller, site):
        return list(rows)
    named = {str(r[key]) for r in rows for key in ("project_id", "created_by_project_id") if r.get(key)}
    known = await core.store.pairs.to_hub(site, named)
    return [r for r in rows if not r.get("project_id") or r["project_id"] in known or r.get("created_by_project_id") in known]


async def metrics(core: Core, caller: Caller, site: str, rows: Sequence[Row]) -> list[Row]:
    """The same of metrics. One does not say whose it is: its creator may be the site's Ceilometer, so its resource is asked."""
    if not others(core, caller, site):
        return list(rows)
    known = await core.store.pairs.to_hub(site, {str(r.get("created_by_project_id")) for r in rows})
    unsure = sorted({_resource_of(r) for r in rows if r.get("created_by_project_id") not in known} - {""})
    ours: set[str] = set()
    for first in range(0, len(unsure), _SEARCHED):
        reply = await core.south.call(
            site, "metric", "POST", "/v1/search/resource/generic", as_=caller,
            json={"in": {"id": unsure[first : first + _SEARCHED]}}, timeout=core.conf.list_deadline,
        )  # fmt: skip
        ours |= {str(r["id"]) for r in await resources(core, caller, site, reply.expect(200).json())}
    return [r for r in rows if r.get("created_by_project_id") in known or _resource_of(r) in ours]


def _resource_of(row: Row) -> str:
    """The id of a metric's resource: of a list its row names it, of a metric that is shown the whole resource is in it."""
    return str(row.get("resource_id") or (row.get("resource") or {}).get("id") or "")


KINDS = {"resource": resources, "metric": metrics}


def _closed(search: str) -> None:
    """Raise Fault 400 where a parenthesis or a quote of the search ends outside it: it would get out of the ones put around it."""
    depth, bare = 0, _QUOTED.sub("", search)
    for c in bare:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            break
    if depth or "'" in bare or '"' in bare:
        raise Fault(400, "Invalid filter")

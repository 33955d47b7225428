"""Who measures: the Ceilometer of every site, seen north as part of this cloud's one project of services.

A tenant may read what was made for his project by somebody else, and what tells such resources apart is the project of their
creator: Aodh asks for those of the cloud's own service project. Each site has a service project of its own, that of Cascade's
account there, and what its Ceilometer made was created by it.
"""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.model.errors import SiteError
from cascade.model.site import HUB

_SAME = frozenset({"=", "==", "eq"})
_FIELD = "created_by_project_id"
_DEEPEST = 64


async def north(core: Core, site: str) -> dict[str, str]:
    """The site's service project -> the cloud's; empty where they are one or cannot be told at the moment."""
    if core.sites.get(site).identity != "mapped":
        return {}
    try:
        here, there = await core.south.project_id(HUB, None), await core.south.project_id(site, None)
    except SiteError:
        return {}
    return {there: here} if here is not None and there is not None and here != there else {}


async def south(core: Core, site: str, doc: Any) -> Any:
    """A search where "created by the service project" means the site's, too: requests of Cascade's own are of the cloud's."""
    pair = await north(core, site)
    return _widened(doc, {here: there for there, here in pair.items()}, _DEEPEST) if pair else doc


def _widened(doc: Any, projects: dict[str, str], deeper: int) -> Any:
    if not deeper:
        return doc
    if isinstance(doc, list):
        return [_widened(one, projects, deeper - 1) for one in doc]
    if not isinstance(doc, dict):
        return doc
    if len(doc) == 1:
        ((how, what),) = doc.items()
        if how in _SAME and isinstance(what, dict) and what.keys() == {_FIELD} and what[_FIELD] in projects:
            return {"or": [doc, {how: {_FIELD: projects[what[_FIELD]]}}]}
    return {key: _widened(value, projects, deeper - 1) for key, value in doc.items()}

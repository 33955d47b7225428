"""Small things every replica of a hub kind needs: safe path segments and whole lists."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cascade.model.caller import Caller
from cascade.sites.south import South


def segment(value: str) -> str:
    """``value`` as exactly one path segment: flavor ids and key names may hold anything."""
    return quote(value, safe="")


async def everything(
    south: South,
    target: str,
    service: str,
    path: str,
    collection: str,
    *,
    params: list[tuple[str, str]] | None = None,
    version: str | None = None,
    as_: Caller | None = None,
) -> list[dict[str, Any]]:
    """The whole list, page by page, whatever the service's page limit is. Raises what ``Reply.expect`` raises."""
    rows: list[dict[str, Any]] = []
    while True:
        marker = [("marker", str(rows[-1]["id"]))] if rows else []
        reply = await south.call(target, service, "GET", path, as_=as_, params=[*(params or []), *marker], version=version)
        doc = reply.expect(200).json()
        page = doc[collection]
        seen = {r["id"] for r in rows[-len(page) :]} if page else set()
        fresh = [r for r in page if r["id"] not in seen]
        rows += fresh
        # Nova and Cinder name a next page in ``<collection>_links``, Glance in ``next``; none named = the last.
        if not fresh or not (doc.get("next") or doc.get(f"{collection}_links")):
            return rows

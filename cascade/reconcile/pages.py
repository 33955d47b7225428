"""Small things every replica of a hub kind needs: safe path segments and whole lists, at once or a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from cascade.model.caller import Caller
from cascade.model.errors import BadReply
from cascade.sites.south import South

PAGE = 500
"""Rows asked for at once where a list may be long. A service's own limit may be lower."""


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


async def pages(
    south: South,
    target: str,
    service: str,
    path: str,
    collection: str,
    *,
    params: list[tuple[str, str]] | None = None,
    version: str | None = None,
    timeout: float = 60,
) -> AsyncIterator[list[dict[str, Any]]]:
    """The same, one page in memory at a time, in the service's own order; asked as the service account.

    A refusal (4xx) of the first page means that the service has no such kind: no pages. The row a page ended with may be gone
    when the next is asked for, and is no marker then: the one before it is. A list that ignores markers gives the same rows
    again: that is its end. ``timeout`` (seconds) is of each page.
    Raises SiteError: half a list is none.
    """
    markers: list[str] = []
    while True:
        asked = [*(params or []), ("limit", str(PAGE)), *([("marker", markers[-1])] if markers else [])]
        reply = await south.call(target, service, "GET", path, params=asked, version=version, timeout=timeout)
        if reply.status in (400, 404) and len(markers) > 1:
            markers.pop()
            continue
        if 400 <= reply.status < 500 and reply.status not in (401, 429) and not markers:
            return
        if not reply.ok:
            raise BadReply(target, f"{path}: {reply.status} {reply.body[:300]!r}")
        doc = reply.json()
        rows = doc[collection]
        if rows and str(rows[-1]["id"]) in markers:
            return
        if rows:
            yield rows
        # The names of the keys with the links follow no rule (``group_links``). Neutron names a previous page beside the next.
        links = [link for key, found in doc.items() if key.endswith("_links") for link in found]
        if not rows or (len(rows) < PAGE and not any(link["rel"] == "next" for link in links)):
            return
        markers = [str(row["id"]) for row in rows]

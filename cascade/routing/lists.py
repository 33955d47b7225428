"""One page of a list over several sites.

The first pages are asked for at once, under one deadline; a site that fails is named and the others are shown. Rows stay
the bytes the site sent. A marker is one north id, and every site needs its own: positions come from memory (``cursor``),
else for the default order from the index, else from the marker row's sort values by reading each list up to there.
With one site alone its own page passes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any
from urllib.parse import urlencode

import msgspec

from cascade.model.errors import SiteError, SiteUnreachable
from cascade.model.reply import Reply
from cascade.routing.cursor import Cursors, scope
from cascade.routing.merge import merge
from cascade.routing.rows import Params, Row, brief, has_detail, links_key
from cascade.routing.streams import MAX_PAGE, Ask, Index, Listing, North, Reader, Stream, UnknownMarker, marker_lost

__all__ = ["MAX_PAGE", "Ask", "Index", "Listing", "North", "Page", "Row", "UnknownMarker", "links_key", "next_href", "page"]

_BUDGET = 2 * MAX_PAGE
"""Rows asked for at once over all sites: neither memory nor work grows with the number of sites. Where a page of each would be
more than this, each is asked for its part and half again as much as parts differ by chance; a site that has more of the page
is asked again, for twice as many each time."""


@dataclass(kw_only=True)
class Page:
    """``rows`` in north order, still in their site's terms."""

    rows: list[Row]
    more: bool
    """A next link is due."""
    failed: dict[str, SiteError]
    """Sites whose rows are missing, wholly or from some point on."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Other keys of the document (``count``): added up."""
    foreign: int = 0
    """Rows dropped because a site showed somebody else's: an alarm, never a normal thing."""
    reply: Reply | None = None
    """The one site's own answer, where only one was asked: for its status and headers."""


async def page(
    what: Listing, sites: Sequence[str], *, away: Sequence[str] = (), ask: Ask, north: North, index: Index, cursors: Cursors
) -> Page:
    """One page of ``what`` over ``sites``.

    ``away``: sites that belong to the list but are known not to answer: not asked, named as failed, their positions kept.
    Raises NativeFault for a refusal of the request itself (400 of any site, 403 of all: their own words), UnknownMarker.
    """
    reader = Reader(what, ask, north, index)
    limit = _number(what.param("limit"), MAX_PAGE)
    offset = _number(what.param("offset"), 0) if what.service == "volume" else 0
    if sites and (not limit or offset is None):
        # A limit that is none, or nothing: any site says what the service says to that, whatever the marker.
        what = replace(what, params=[(k, v) for k, v in what.params if k != "marker"])
        alone = await _single(what, sites[0], reader)
        assert alone is not None
        return alone
    if len(sites) == 1 and not away and what.keep is None:
        marker = what.param("marker")
        entry = None if marker is None else await index.get(what.kind, marker, deleted=True)
        if entry is None or entry.site == sites[0]:
            alone = await _single(what, sites[0], reader, known=entry is not None)
            if alone is not None:
                return alone
    for site in away:
        reader.failed[site] = SiteUnreachable(site, "known to be away")
    return await _merged(what, [*sites, *away], min(limit or MAX_PAGE, MAX_PAGE), offset or 0, reader, cursors, index)


def next_href(url: str, params: Params, marker: str) -> str:
    """The next link as Nova and Cinder write it: ``url`` (north, whole) with the request's parameters and the new marker.

    Without ``offset``, which Cinder leaves in: whoever follows its link skips rows on every page.
    """
    return f"{url}?{urlencode([*((k, v) for k, v in params if k not in ('marker', 'offset')), ('marker', marker)])}"


def _number(text: str | None, default: int) -> int | None:
    """A parameter's value; None where it is no number the services take."""
    if text is None:
        return default
    return int(text[:18]) if text.isascii() and text.isdigit() else None


async def _single(what: Listing, site: str, reader: Reader, *, known: bool = False) -> Page | None:
    """The site's own page; None where it has forgotten a marker that the index still knows."""
    try:
        reply = await reader.get(site, what.path, what.params, share=1.0)
        if known and marker_lost(reply, what.param("marker") or ""):
            return None
        rows, links, _ = reader.read(site, reply)
    except SiteError as e:
        return Page(rows=[], more=False, failed={site: e})
    await reader.learn(rows)
    return Page(rows=rows, more=links and bool(rows), failed={}, extra=reader.extra, foreign=reader.foreign, reply=reply)


async def _merged(
    what: Listing, sites: Sequence[str], limit: int, offset: int, reader: Reader, cursors: Cursors, index: Index
) -> Page:
    reduced = has_detail(what.collection) and not what.path.endswith("/detail")
    if reduced:
        reader.path += "/detail"  # the sort values are only there
    chunk = _chunk(limit + offset, len(sites))
    walk = scope(what.project, what.path, what.params)
    marker = what.param("marker")
    known = {} if marker is None else cursors.recall(walk, marker) or {}
    lost = [] if marker is None else [s for s in sites if s not in known]
    streams = {s: Stream(s, known.get(s), chunk) for s in sites if s not in lost}
    if marker is not None and lost:
        streams |= await _located(what, marker, lost, sites, chunk, reader, index)
    await reader.fill([s for s in streams.values() if s.open and not s.rows and s.site not in reader.failed])
    rows: list[Row] = []
    skip, out = offset, None
    while out is None or out.starved:
        if out is not None:
            await reader.fill([streams[site] for site in sorted(out.starved)])
        still = {s.site for s in streams.values() if s.open and s.site not in reader.failed}
        out = merge({n: s.rows for n, s in streams.items()}, limit + skip - len(rows), key=reader.key, open=still)
        for site, count in out.taken.items():
            streams[site].take(count)
        got = [row for _, row in out.rows]
        skip, got = max(0, skip - len(got)), got[skip:]
        rows += got
    if reader.refusals and reader.failed.keys() >= set(sites):
        raise reader.refusals[0]
    await reader.prime(rows, streams.values())
    await reader.learn(rows)
    if rows and out.more:
        at = {s.site: s.at and await reader.north_id(s.site, s.at) for s in streams.values() if s.placed}
        cursors.remember(walk, await reader.north_id(rows[-1].site, rows[-1].id), {**known, **at})
    if reduced:
        rows = [msgspec.structs.replace(r, raw=brief(what.collection, r.raw)) for r in rows]
    return Page(
        rows=rows, more=out.more and bool(rows), failed=reader.failed, extra=reader.extra, foreign=reader.foreign
    )  # fmt: skip


def _chunk(rows: int, sites: int) -> int:
    part = rows / max(1, sites)
    return rows if rows * sites <= _BUDGET else min(rows, int(part + 1.5 * sqrt(part) + 2))


async def _located(
    what: Listing, marker: str, lost: Sequence[str], sites: Sequence[str], chunk: int, reader: Reader, index: Index
) -> dict[str, Stream]:
    """Where the lists of ``lost`` sites go on after a marker, where nobody remembers."""
    entry = await index.get(what.kind, marker, deleted=True)
    try:
        home, key = await reader.marker_key(marker, sites)
    except SiteError as e:
        if len(lost) == len(sites):
            raise
        reader.failed |= dict.fromkeys(lost, e)
        return {s: Stream(s, None, chunk, placed=False) for s in lost}
    if reader.default and entry is not None and entry.created is not None:
        places = await asyncio.gather(*(reader.preceding(s, entry.created, marker) for s in lost))
        return {s: Stream(s, marker if s == home else at, chunk) for s, at in zip(lost, places, strict=True)}
    streams = {s: Stream(s, marker if s == home else None, chunk) for s in lost}
    await asyncio.gather(*(reader.seek(s, key) for s in streams.values() if s.site != home))
    return streams

"""Lists of resources and metrics over sites: one page out of every site's, in the order that was asked for.

Gnocchi's marker is the last row's id, which one site alone knows. The others are read from their beginning up to the marker's
place in the order: no position is kept here, and a page deep in a list costs the pages before it.

In a history the marker is ``id@revision``, and no row says which revision it is: Gnocchi tells it in the link to the next page
alone. So the resource's own history is read for it: up to the row for its number, and after the number for the row.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from cascade.api import metering_owners
from cascade.api.core import Core
from cascade.api.metering import any_site, away, places, said
from cascade.api.metering_calls import answer, from_site, north_doc, site_reply
from cascade.api.request import Params, Request, Response
from cascade.model.errors import BadReply, SiteError
from cascade.model.reply import Reply

LARGEST = 1000
"""The limit where none is asked for, as Gnocchi's ``max_limit`` is by default. A site with a smaller one says so in its links."""
_NOW = "-1"
"""Gnocchi's number for what a resource is now."""
_PAGES = 500
"""Pages of one site read for one answer."""

Row = dict[str, Any]
Order = Callable[[Row, Row], int]


class _Refused(Exception):
    """A site's own refusal of the whole request."""

    def __init__(self, site: str, reply: Reply) -> None:
        super().__init__(site)
        self.site, self.reply = site, reply


@dataclass(frozen=True, slots=True)
class _Held:
    """What a site has of a page: rows as they are there, and how many may be in it.

    ``refused``: it knows no such type of resource, of which another site may have some: Prometheus makes one where it writes.
    """

    rows: list[Row]
    limit: int
    refused: _Refused | None = None


async def metric_list(core: Core, req: Request) -> Response:
    """GET /v1/metric, /v1/resource/{type}; POST /v1/search/resource/{type}. A site that does not answer is named in a header."""
    assert req.row is not None
    where = await places(core, req)
    limit = _limit(req.param("limit"))
    if limit is None or not where.asked:
        return await any_site(core, req)
    sorts = [v for k, v in req.params if k == "sort"] or list(req.row.ties)
    mark, start = req.param("marker"), None
    if mark is not None:
        alone = len(where.asked) == 1 and not where.missing
        start = (where.asked[0], {}) if alone else await _marked(core, req, where.asked, mark)
        if start is None:
            if where.missing:
                raise away(where.missing)
            return await any_site(core, req)  # its own word on an unknown marker
    order, after = ordering(sorts), None if start is None else (mark or "", *start)
    try:
        found = await asyncio.gather(*(_site_rows(core, req, s, limit, order, after) for s in where.asked))
    except _Refused as e:
        return await from_site(core, req, e.site, e.reply)
    if (refused := next((h.refused for h in found if h and h.refused), None)) and not any(h and not h.refused for h in found):
        return await from_site(core, req, refused.site, refused.reply)
    gone = [s for s, held in zip(where.asked, found, strict=True) if held is None]
    if len(gone) == len(where.asked):
        raise away([*where.missing, *gone])
    limit = min(held.limit for held in found if held is not None)
    # By the sites' own words: a server that has another id here stands in its site's list where its id there belongs.
    key = functools.cmp_to_key(order)
    placed = [[(site, row) for row in held.rows] for site, held in zip(where.asked, found, strict=True) if held is not None]
    rows = list(itertools.islice(heapq.merge(*placed, key=lambda one: key(one[1])), limit))
    shown = await _north(core, req, rows)
    headers = said(sorted([*where.missing, *gone]))
    if rows and len(rows) >= limit:
        headers["Link"] = _link(core, req, await _mark(core, req, *rows[-1], shown[-1]), limit, sorts)
    named = {v for k, v in req.params if k == "attrs" and req.row.resource == "resource"}
    return answer([{k: v for k, v in row.items() if not named or k in named} for row in shown], headers)


async def _north(core: Core, req: Request, rows: Sequence[tuple[str, Row]]) -> list[Row]:
    """Rows of several sites in north terms: those of a page alone, not all that were read for it."""
    held: dict[str, list[Row]] = {}
    for site, row in rows:
        held.setdefault(site, []).append(row)
    north = {site: iter(await north_doc(core, site, page, req.caller, req.service)) for site, page in held.items()}
    return [next(north[site]) for site, _ in rows]


def ordering(sorts: Sequence[str]) -> Order:
    """Compare rows as the sites' database does: no case, and nothing before something, unless the sort says otherwise."""
    keys = []
    for sort in [*sorts, "id:asc"]:
        name, _, how = sort.partition(":")
        way, _, nulls = (how or "asc").partition("-")
        low = nulls == "nullsfirst" or (not nulls and way == "asc")
        keys.append((name, -1 if way == "desc" else 1, -1 if low else 1))

    def compare(a: Row, b: Row) -> int:
        for name, sign, null in keys:
            x, y = _plain(a.get(name)), _plain(b.get(name))
            if x == y:
                continue
            if x is None or y is None:
                return null if x is None else -null
            return sign if (str(x) > str(y) and type(x) is not type(y)) or (type(x) is type(y) and x > y) else -sign
        return 0

    return compare


def _plain(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


async def _site_rows(
    core: Core, req: Request, site: str, limit: int, order: Order, after: tuple[str, str, Row] | None
) -> _Held | None:
    """The site's next ``limit`` rows, or as many as it gives at once; None where it does not answer.

    Without what the site's owner measures for tenants of his own. ``after``: marker, its site, its row there.
    """
    assert req.row is not None
    kept: list[Row] = []
    mark = after[0] if after is not None and after[1] == site else None
    for _ in range(_PAGES):
        # Whole rows, whatever is to be shown of them: they are put in order by what is in them.
        params: Params = [(k, v) for k, v in req.params if k not in ("limit", "marker", "attrs")] + [("limit", str(limit))]
        try:
            reply = await site_reply(
                core, req, site, params=params + ([("marker", mark)] if mark else []), timeout=core.conf.list_deadline
            )
            if reply.status == 404:
                return _Held([], limit, _Refused(site, reply))
            if not reply.ok:
                raise _Refused(site, reply)
            rows = await metering_owners.KINDS[req.row.resource](core, req.caller, site, reply.json())
        except SiteError:
            return None
        if after is not None and after[1] != site:
            rows = [r for r in rows if order(r, after[2]) > 0]
        kept += rows
        mark, most = _linked(reply)
        limit = min(limit, most)
        if len(kept) >= limit or mark is None:
            break
    return _Held(kept[:limit], limit)


async def _marked(core: Core, req: Request, sites: Sequence[str], mark: str) -> tuple[str, Row] | None:
    """``(site, row there)`` of a marker."""
    assert req.row is not None
    ident, _, revision = mark.partition("@")
    kind = req.match.get("type", "generic")
    named = quote(ident, safe=":@")  # it goes into a path, and a client may say anything
    path = f"/v1/metric/{named}" if req.row.resource == "metric" else f"/v1/resource/{kind}/{named}"
    shown = _shown(req, path)
    for site in sites:
        try:
            reply = await site_reply(core, shown, site, timeout=core.conf.list_deadline)
            if reply.ok:
                row = reply.json() if revision in ("", _NOW) else await _of_number(core, _shown(req, f"{path}/history"), site, mark)
                return None if row is None else (site, row)
        except SiteError:
            continue
    return None


async def _of_number(core: Core, shown: Request, site: str, mark: str) -> Row | None:
    """The row of a revision: the last one that does not come after it."""
    whole, rest = [await _history(core, shown, site, start) for start in (None, mark)]
    return None if whole is None or rest is None or len(rest) >= len(whole) else whole[len(whole) - len(rest) - 1]


async def _history(core: Core, shown: Request, site: str, mark: str | None) -> list[Row] | None:
    """A resource's revisions, all or those after a marker; None where the site knows no such marker."""
    rows: list[Row] = []
    for _ in range(_PAGES):
        params = [("limit", str(LARGEST)), *([("marker", mark)] if mark else [])]
        reply = await site_reply(core, shown, site, params=params, timeout=core.conf.list_deadline)
        if not reply.ok:
            return None
        rows += reply.json()
        mark, _most = _linked(reply)
        if mark is None:
            break
    return rows


async def _mark(core: Core, req: Request, site: str, row: Row, north: Row) -> str:
    """The marker after a row. Of a revision its number is read from the link after it in its resource's own history.

    Raises BadReply where the history has changed since the row was read.
    """
    assert req.row is not None
    if not req.true("history") or req.row.resource == "metric":
        return str(north["id"])
    shown = _shown(req, f"/v1/resource/{req.match.get('type', 'generic')}/{north['id']}/history")
    if row.get("revision_end") is None:
        return f"{north['id']}@{_NOW}"
    since: str = row["revision_start"]
    before: Params = []
    for _ in range(_PAGES):
        reply = await _page(core, shown, site, [*before, ("limit", str(LARGEST))])
        there = [r["revision_start"] for r in reply.json()]
        if since in there:
            mark, _most = _linked(await _page(core, shown, site, [*before, ("limit", str(there.index(since) + 1))]))
            if revision := (mark or "").partition("@")[2]:
                return f"{north['id']}@{revision}"
            break
        mark, _most = _linked(reply)
        if mark is None:
            break
        before = [("marker", mark)]
    raise BadReply(site, "a history changed while it was read")


async def _page(core: Core, shown: Request, site: str, params: Params) -> Reply:
    reply = await site_reply(core, shown, site, params=params, timeout=core.conf.list_deadline)
    if not reply.ok:
        raise BadReply(site, f"a history changed while it was read: {reply.status}")
    return reply


def _linked(reply: Reply) -> tuple[str | None, int]:
    """Marker and limit in the link to the next page, as the site wrote them: it gives no more at once than its ``max_limit``."""
    target = reply.headers.get("link", "").partition("<")[2].partition(">")[0]
    found = parse_qs(urlsplit(target).query)
    return next(iter(found.get("marker", ())), None), _limit(next(iter(found.get("limit", ())), None)) or LARGEST


def _shown(req: Request, path: str) -> Request:
    return Request(service=req.service, method="GET", path=path, params=[], headers={"accept": "application/json"},
                   caller=req.caller, request_id=req.request_id)  # fmt: skip


def _limit(text: str | None) -> int | None:
    """None for what Gnocchi refuses."""
    if text is None:
        return LARGEST
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        return None
    return min(int(text), LARGEST)


def _link(core: Core, req: Request, mark: str, limit: int, sorts: Sequence[str]) -> str:
    kept = [(k, v) for k, v in req.params if k not in ("limit", "marker", "sort")]
    query = sorted([*kept, ("limit", str(limit)), ("marker", mark), *(("sort", s) for s in sorts)], key=lambda p: p[0])
    return f'<{core.conf.public_url.rstrip("/")}/metric{req.path}?{urlencode(query)}>; rel="next"'

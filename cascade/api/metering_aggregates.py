"""POST /v1/aggregates over sites: exact, or refused as Gnocchi refuses what cannot be aggregated.

All in one site: that site answers, whatever the operation. In several: every site is asked for what combines
(``cascade.routing.series``). A sum without a site that should be in it is a wrong sum: while one is away, the answer is 503.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.api.core import Core
from cascade.api.metering import Places, any_site, at, away, locate, places
from cascade.api.metering_calls import answer, encoded, from_site, north_doc, site_reply
from cascade.api.request import Request, Response
from cascade.model.errors import Fault, SiteError
from cascade.model.reply import Reply
from cascade.routing import series
from cascade.routing.series import Ask, Node, Series

Doc = dict[str, Any]
Group = str
"""The group of a ``groupby``, as text; empty without one."""


class _Refused(Exception):
    """A site refused its part."""

    def __init__(self, site: str, reply: Reply) -> None:
        super().__init__(site)
        self.site, self.reply = site, reply


async def aggregates(core: Core, req: Request) -> Response:
    """The operation over all series it names. Raises Fault 400 (not combinable), 503 (a site is away)."""
    doc = req.json()
    try:
        tree = series.parse(doc["operations"]) if isinstance(doc, dict) else None
        named = series.references(tree)
    except (KeyError, ValueError):
        named = []
    if not named:
        return await any_site(core, req)  # its own word on what it does not understand
    if "resource_type" in doc:
        where = await places(core, req)
        if where.missing:
            raise away(where.missing)
        return await _over(core, req, doc, tree, dict.fromkeys(where.asked))
    found, where = await locate(core, req, "metric", [metric for metric, _ in named])
    lost = sorted({metric for metric, _ in named if metric not in found})
    if lost and len(set(found.values())) > 0:
        return _unknown(lost)
    shares: dict[str, frozenset[str] | None] = {
        site: frozenset(m for m, s in found.items() if s == site) for site in sorted(set(found.values()))
    }
    return await _over(core, req, doc, tree, shares) if shares else await _first(core, req, where)


async def _first(core: Core, req: Request, where: Places) -> Response:
    return await at(core, req, where.asked[0]) if where.asked else await any_site(core, req)


async def _over(core: Core, req: Request, doc: Doc, tree: Node, shares: Mapping[str, frozenset[str] | None]) -> Response:
    """``shares``: site -> the metrics of the operation that it has; None: those of the resources it finds."""
    sites = list(shares)
    if not sites:
        return await any_site(core, req)
    if len(sites) == 1:
        return await at(core, req, sites[0])
    try:
        whole = series.elementwise(tree)
        if (meant := _sole(req, aggregated=not whole)) is not None:
            raise series.NotCombinable(f"{meant} cannot be applied over several sites")
        questions = [(None, tree)] if whole else list(series.asks(tree))
    except series.NotCombinable as e:
        return await _by_one(core, req, sites if next(iter(shares.values())) is None else (), str(e))
    try:
        answers = await asyncio.gather(
            *(_asked(core, req, doc, site, ask, inner, shares[site]) for ask, inner in questions for site in sites)
        )
    except _Refused as e:
        return await from_site(core, req, e.site, e.reply)
    parts = {ask: answers[i * len(sites) : (i + 1) * len(sites)] for i, (ask, _) in enumerate(questions)}
    if all(part is None for part in answers):  # no resource anywhere: the 404 of any of them
        return await at(core, req, sites[0])
    try:
        return answer(_union(req, parts[None]) if whole else _computed(req, tree, parts))
    except series.NotCombinable as e:
        raise _not_combinable(str(e)) from e


def _sole(req: Request, *, aggregated: bool) -> str | None:
    """The parameter whose meaning needs every series at one place.

    ``needed_overlap=0`` of an aggregate between two given times is what ``dropna`` is: without one of them Gnocchi would also cut
    off what lies before the first or after the last time that all series have. With ``fill`` it means nothing.
    """
    fill, overlap = req.param("fill"), req.param("needed_overlap")
    if fill not in (None, "dropna"):
        return "fill"
    if fill is None and overlap is not None:
        bounded = req.param("start") is not None and req.param("stop") is not None
        if not (aggregated and bounded and _zero(overlap)):
            return "needed_overlap"
    return "use_history" if req.true("use_history") else None


def _zero(text: str) -> bool:
    try:
        return float(text) == 0
    except ValueError:
        return False


async def _by_one(core: Core, req: Request, sites: Sequence[str], why: str) -> Response:
    """What does not combine may still concern one site alone: where only one has such resources, it answers."""
    replies = await asyncio.gather(*(site_reply(core, req, s, timeout=core.conf.list_deadline) for s in sites))
    full = [(s, r) for s, r in zip(sites, replies, strict=True) if r.status != 404]
    if len(full) == 1 or (sites and not full):
        site, reply = full[0] if full else (sites[0], replies[0])
        return await from_site(core, req, site, reply)
    if refused := next(((s, r) for s, r in full if not r.ok), None):
        return await from_site(core, req, *refused)
    raise _not_combinable(why)


async def _asked(
    core: Core, req: Request, doc: Doc, site: str, ask: Ask | None, inner: Node, own: frozenset[str] | None
) -> list[Doc] | None:
    """A site's groups (without ``groupby``: one, of no name); None where it has nothing of what is meant."""
    tree = inner if own is None else series.restricted(inner, own.__contains__)
    if tree is None:
        return None
    below = series.render(tree)
    body = doc | {"operations": below if ask is None else Ask(ask.part, below).text}
    try:
        reply = await site_reply(core, req, site, doc=body, timeout=core.conf.list_deadline)
    except SiteError as e:
        raise away([site]) from e
    if reply.status == 404 and own is None:
        return None
    if not reply.ok:
        raise _Refused(site, reply)
    north = await north_doc(core, site, reply.json(), req.caller, req.service)
    return north if isinstance(north, list) else [{"group": None, "measures": north}]


def _union(req: Request, answers: Sequence[list[Doc] | None]) -> Any:
    """Series by series: those of all sites side by side, in the granularities all of them have."""
    common = series.in_common([
        series.read(rows) for groups in answers for group in groups or () for rows in _leaves(group["measures"]["measures"])
    ])  # fmt: skip
    merged: dict[Group, Doc] = {}
    for group in (g for groups in answers for g in groups or ()):
        seen = merged.setdefault(_key(group), {"group": group["group"], "measures": {"measures": {}}})
        _merge(seen["measures"]["measures"], _cut(group["measures"]["measures"], common))
        _refer(seen["measures"], group["measures"])
    return _shaped(req, merged)


def _computed(req: Request, tree: Node, parts: Mapping[Any, Sequence[list[Doc] | None]]) -> Any:
    """Group by group: the tree over what the sites said."""
    by_group: dict[Group, dict[Ask, list[Series]]] = {}
    merged: dict[Group, Doc] = {}
    sites = len(next(iter(parts.values())))
    for ask, answers in parts.items():
        for place, groups in enumerate(answers):
            for group in groups or ():
                key = _key(group)
                seen = merged.setdefault(key, {"group": group["group"], "measures": {"measures": {}}})
                held = by_group.setdefault(key, {a: [{} for _ in range(sites)] for a in parts})
                held[ask][place] = series.read(group["measures"]["measures"]["aggregated"])
                _refer(seen["measures"], group["measures"])
    for key, held in by_group.items():
        value = series.evaluate(tree, held)
        if not isinstance(value, Mapping):
            raise series.NotCombinable("the operation names no series")
        common = set.intersection(*(series.in_common(each) for each in held.values()))
        merged[key]["measures"]["measures"] = {"aggregated": series.written(value, common)}
    return _shaped(req, merged)


def _shaped(req: Request, merged: Mapping[Group, Doc]) -> Any:
    if req.param("groupby") is not None:
        return [merged[key] for key in sorted(merged)]
    return next(iter(merged.values()))["measures"]


def _key(group: Doc) -> Group:
    return "" if group["group"] is None else json.dumps(group["group"], sort_keys=True)


def _refer(total: Doc, one: Doc) -> None:
    """``details``: the resources or metrics behind a result, each once."""
    if "references" in one:
        known = total.setdefault("references", [])
        known += [r for r in one["references"] if r not in known]


def _leaves(measures: Any) -> list[Any]:
    if isinstance(measures, dict):
        return [leaf for value in measures.values() for leaf in _leaves(value)]
    return [measures]


def _cut(measures: Any, common: set[float]) -> Any:
    if isinstance(measures, dict):
        return {key: _cut(value, common) for key, value in measures.items()}
    return [row for row in measures if float(row[1]) in common]


def _merge(total: Doc, one: Doc) -> None:
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(total.get(key), dict):
            _merge(total[key], value)
        else:
            total[key] = value


def _unknown(metrics: Sequence[str]) -> Response:
    """As Gnocchi says it of the metrics it does not have."""
    said = {"cause": "Unknown metrics", "reason": "Provided metrics don't exists", "detail": list(metrics)}
    return Response(status=404, headers={"Content-Type": "application/json"},
                    body=encoded({"code": 404, "title": "Not Found", "description": said}))  # fmt: skip


def _not_combinable(why: str) -> Fault:
    return Fault(400, f"Metrics can't being aggregated: {why}")

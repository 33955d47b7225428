"""Reading the sites' lists, page by page: what one list page (``lists``) is merged from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from cascade.model.errors import BadReply, Fault, NativeFault, SiteError, SiteTimeout
from cascade.model.reply import Reply
from cascade.routing import translate
from cascade.routing.merge import sort_key
from cascade.routing.rows import Params, Row, age_text, read_rows, sorting

MAX_PAGE = 1000
"""Rows of a page where less is not asked for: Nova's and Cinder's own default maximum."""
_ROUNDS = 40
"""Calls to one site for one page. A site that needs more counts as failed, rather than the list as complete."""
_STEPS_BACK = 8
"""Index rows tried in place of a marker a site has forgotten, before its list is read from the start."""
_NOT_OURS = frozenset({401, 408, 413, 429})
"""4xx that speak of the site or of Cascade's standing there, not of the request."""
_REFUSALS = frozenset({403, 404, 405})
"""4xx of the site's own policy, or for an API it does not have: the answer only where every site says so."""


class Ask(Protocol):
    """GET ``path`` of a site as the caller, with these north parameters made the site's. Raises SiteError."""

    async def __call__(self, site: str, path: str, params: Params, timeout: float) -> Reply: ...


class North(Protocol):
    """Site ids -> north ids, of those that differ."""

    async def __call__(self, site: str, ids: Sequence[str]) -> Mapping[str, str]: ...


class Keep(Protocol):
    """Those rows of a site that belong to projects of this cloud: a site has tenants of its own."""

    async def __call__(self, site: str, rows: Sequence[Row]) -> list[Row]: ...


class Prime(Protocol):
    """Reads ahead which north ids the things of many sites have, so that asking for each of them costs nothing."""

    async def __call__(self, ids: Mapping[str, Sequence[str]]) -> None: ...


class Entry(Protocol):
    """A row of the index."""

    @property
    def id(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def created(self) -> float | None: ...


class Index(Protocol):
    """What is needed of ``store.index``."""

    async def get(self, kind: str, id: str, deleted: bool = False) -> Entry | None: ...
    async def preceding(
        self, kind: str, site: str, project_id: str | None, created: float, id: str, tie: str = "asc"
    ) -> Entry | None: ...
    async def set_created(self, kind: str, created: Mapping[str, float]) -> None: ...


class UnknownMarker(Exception):
    """No site knows the marker, or it is another project's: the caller gets the service's own 400 for it."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What is asked."""

    service: str
    path: str
    collection: str
    """The JSON key of the rows."""
    kind: str
    """The rows' kind in the index."""
    ties: Sequence[str]
    params: Params
    """As the client sent them, paging included."""
    project: str | None
    """Whose; None: every project's."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Site -> the site's id of ``project``: a row of any other is dropped (design review 4.5). Empty: not checked."""
    keep: Keep | None = None
    """Set where every project's rows are asked for; it needs the owner, which only lists with ``/detail`` show."""
    prime: Prime | None = None
    deadline: float
    """Seconds for everything."""

    def param(self, name: str) -> str | None:
        """The last value of a parameter."""
        return next((v for k, v in reversed(self.params) if k == name), None)


@dataclass
class Stream:
    """One site's list as far as it was read."""

    site: str
    at: str | None
    """Id of the last row taken (None: nothing yet); kept when the site fails, so that nothing is skipped."""
    chunk: int
    """Rows to ask for; doubles with every call."""
    tail: str | None = None
    """Id of the last row read, the site's or north's: the marker of the next call."""
    rows: list[Row] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    open: bool = True
    """There may be rows beyond those read."""
    calls: int = 0
    placed: bool = True
    """``at`` is right: not so while the list is read from the start to find it."""

    def __post_init__(self) -> None:
        self.tail = self.at

    def take(self, count: int) -> None:
        """The first rows have gone into the page."""
        if count:
            self.at = self.rows[count - 1].id
            del self.rows[:count]


class Reader:
    """Reads for one page. ``failed`` sites stay failed for its length."""

    def __init__(self, what: Listing, ask: Ask, north: North, index: Index) -> None:
        self._what, self._ask, self._north, self._index = what, ask, north, index
        self._until = time.monotonic() + what.deadline
        self.orders, self.default = sorting(what.service, what.params, what.ties)
        self._values_key = sort_key(self.orders)
        self.path = what.path
        self.failed: dict[str, SiteError] = {}
        self.refusals: list[NativeFault | Fault] = []
        self.extra: dict[str, Any] = {}
        self.foreign = 0

    def key(self, row: Row) -> tuple[Any, ...]:
        """Where a row stands in the order asked for."""
        return self._values_key(row.values)

    async def north_id(self, site: str, ident: str) -> str:
        """The north id of a site's thing."""
        return (await self._north(site, [ident])).get(ident, ident)

    async def prime(self, rows: Sequence[Row], streams: Iterable[Stream] = ()) -> None:
        """Names that are due to be asked for: of the rows of a page, and of where its lists stand."""
        if self._what.prime is None:
            return
        ids: dict[str, list[str]] = {s.site: [s.at] for s in streams if s.at}
        for row in rows:
            ids.setdefault(row.site, []).append(row.id)
        await self._what.prime(ids)

    async def learn(self, rows: Sequence[Row]) -> None:
        """Tell the index the sites' own times: they are list positions later on."""
        ages: dict[str, dict[str, float]] = {}
        for row in rows:
            if row.created is not None:
                ages.setdefault(row.site, {})[row.id] = row.created
        known: dict[str, float] = {}
        for site, here in ages.items():
            names = await self._north(site, list(here))
            known |= {names.get(k, k): v for k, v in here.items()}
        if known:
            await self._index.set_created(self._what.kind, known)

    async def fill(self, streams: Sequence[Stream]) -> None:
        """Read on in some lists at once. Raises NativeFault for a refusal of the request, UnknownMarker."""
        results = await asyncio.gather(*(self._more(s) for s in streams), return_exceptions=True)
        for stream, result in zip(streams, results, strict=True):
            if isinstance(result, SiteError):
                self.failed[stream.site] = result
            elif isinstance(result, NativeFault | Fault) and result.status in _REFUSALS:
                self.refusals.append(result)
                self.failed[stream.site] = SiteError(stream.site, f"refused: {result}")
            elif isinstance(result, BaseException):
                raise result

    async def seek(self, stream: Stream, key: tuple[Any, ...]) -> None:
        """Read from the start until the list is past ``key``; what is before has been shown."""
        stream.at = stream.tail = None
        stream.chunk, stream.placed = MAX_PAGE, False
        while not stream.rows and stream.open and stream.site not in self.failed:
            await self.fill([stream])
            stream.take(next((i for i, row in enumerate(stream.rows) if self.key(row) > key), len(stream.rows)))
        stream.placed = stream.site not in self.failed

    async def marker_key(self, marker: str, sites: Sequence[str]) -> tuple[str | None, tuple[Any, ...]]:
        """(site, place in the order) of the marker row: from the index where that is enough, else read again at its site.

        Raises UnknownMarker, SiteError.
        """
        entry = await self._index.get(self._what.kind, marker, deleted=True)
        if entry is not None:
            if self._what.project is not None and entry.project_id != self._what.project:
                raise UnknownMarker(marker)
            if self.default and entry.created is not None:
                age, ident = (o.field for o in self.orders)
                text = age_text(self._what.service, entry.created)
                return entry.site, self._values_key({age: text, ident: marker})
            sites = [entry.site]
        elif translate.tokens_text(marker) != {marker}:
            raise UnknownMarker(marker)  # it goes into a path: nothing but an id may
        found = await asyncio.gather(*(self._marker_row(s, marker) for s in sites), return_exceptions=True)
        for one in found:
            if isinstance(one, Row):
                return one.site, self.key(one)
        for one in found:
            if isinstance(one, BaseException):
                raise one  # it may be there: better no page than a wrong one
        for site in sites or self.failed:
            if site in self.failed:
                raise self.failed[site]
        raise UnknownMarker(marker)

    async def _marker_row(self, site: str, marker: str) -> Row | None:
        if site in self.failed:
            return None
        reply = await self.get(site, f"{self._what.path.removesuffix('/detail')}/{marker}", ())
        if not reply.ok:
            return None
        row = self._rows(site, list(_decode(site, reply.body, dict[str, msgspec.Raw]).values())[:1])[0]
        return row if row.owner in (None, self._what.owners.get(site, row.owner)) else None

    async def preceding(self, site: str, created: float, ident: str) -> str | None:
        """The site's last row at or before a place in the default order, as the index knows it."""
        tie = "desc" if self.orders[-1].descending else "asc"
        entry = await self._index.preceding(self._what.kind, site, self._what.project, created, ident, tie)
        return None if entry is None else entry.id

    async def _more(self, stream: Stream) -> None:
        what = self._what
        stream.calls += 1
        if stream.calls > _ROUNDS:
            raise SiteTimeout(stream.site, f"{what.path}: the list does not come to an end")
        asked = min(stream.chunk, MAX_PAGE)
        stream.chunk *= 2
        base = [(k, v) for k, v in what.params if k not in ("limit", "marker", "offset")]
        reply = await self._after(stream, [*base, ("limit", str(asked))])
        if reply is None:
            return
        rows, links, sent = self.read(stream.site, reply, count=stream.calls == 1)
        fresh = [r for r in rows if r.id not in stream.seen]
        stream.seen.update(r.id for r in fresh)
        # A site whose list ignores markers gives the same rows again: that is its end.
        stream.open = (links or sent >= asked) and bool(fresh)
        stream.rows += fresh if what.keep is None else await what.keep(stream.site, fresh)
        if fresh:
            stream.tail = fresh[-1].id

    async def _after(self, stream: Stream, params: Params) -> Reply | None:
        """The list after the stream's tail. Where the site has forgotten that row: after the one before it in the index,
        or (None) the stream was sought from the start."""
        for _ in range(_STEPS_BACK):
            marker = stream.tail and await self.north_id(stream.site, stream.tail)
            reply = await self.get(stream.site, self.path, params if marker is None else [*params, ("marker", marker)])
            if marker is None or not marker_lost(reply, marker):
                return reply
            entry = await self._index.get(self._what.kind, marker, deleted=True)
            if entry is None or entry.created is None or not self.default:
                break
            just_before = _next_to(marker, up=self.orders[-1].descending)
            stream.tail = stream.at = await self.preceding(stream.site, entry.created, just_before)
        north = self._what.param("marker")
        if north is None or stream.rows:
            raise BadReply(stream.site, "the list changed while it was read")
        _, key = await self.marker_key(north, [stream.site])
        await self.seek(stream, key)
        return None

    async def get(self, site: str, path: str, params: Params, *, share: float = 0.75) -> Reply:
        """One call with a ``share`` of the time left, so that a site which says nothing leaves some for reading on."""
        left = (self._until - time.monotonic()) * share
        if left < 0.01:
            raise SiteTimeout(site, f"{path}: no time left")
        try:
            async with asyncio.timeout(left + 0.1):  # the call keeps its own deadline: this one is for its lapses
                return await self._ask(site, path, params, left)
        except TimeoutError as e:
            raise SiteTimeout(site, path) from e

    def read(self, site: str, reply: Reply, *, count: bool = True) -> tuple[list[Row], bool, int]:
        """Rows, whether the site gives a next link, and how many rows it sent.

        Raises NativeFault for a refusal of the request, BadReply for anything else. ``count``: add up the other keys.
        """
        if reply.status in _NOT_OURS:
            raise BadReply(site, f"status {reply.status}: {reply.body[:200]!r}")
        reply.expect(200)
        doc = _decode(site, reply.body, dict[str, msgspec.Raw])
        if self._what.collection not in doc:
            raise BadReply(site, f"no {self._what.collection} in the list")
        links = False
        for key, raw in doc.items():
            if key.endswith(("_links", "_link")):
                links = bytes(raw) not in (b"[]", b"null")
            elif key != self._what.collection and count:
                value, had = _decode(site, raw, Any), self.extra.get(key, 0)
                self.extra[key] = value + had if isinstance(value, int) and isinstance(had, int) else value
        rows = self._rows(site, _decode(site, doc[self._what.collection], list[msgspec.Raw]))
        owner = self._what.owners.get(site)
        kept = rows if owner is None else [r for r in rows if r.owner in (None, owner)]
        self.foreign += len(rows) - len(kept)
        return kept, links, len(rows)

    def _rows(self, site: str, raws: Sequence[msgspec.Raw]) -> list[Row]:
        try:
            return read_rows(site, raws, self.orders)
        except msgspec.MsgspecError as e:
            raise BadReply(site, f"a row is not what it must be: {e}") from e


def _decode(site: str, raw: bytes | msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as e:
        raise BadReply(site, f"not the JSON of a list: {e}") from e


def marker_lost(reply: Reply, marker: str) -> bool:
    """Nova: 400 ``marker [x] not found``; Cinder: 404 ``Volume x could not be found.``"""
    return reply.status in (400, 404) and (marker.encode() in reply.body or b"arker" in reply.body)


def _next_to(ident: str, *, up: bool) -> str:
    """The text right above or below ``ident`` among ids of its length in lower-case hex."""
    digits = "0123456789abcdefg"
    at = digits.find(ident[-1])
    if up:
        return ident[:-1] + digits[at + 1] if 0 <= at < 16 else ident + "g"
    return ident[:-1] + (digits[at - 1] if at > 0 else "")

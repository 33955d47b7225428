"""Rows of a list made north without decoding them: the faster way beside ``translate`` and ``bodies`` (ADR 15). Pure.

A row is taken apart into its fields, each still the bytes the site sent. Most can be seen to need nothing and pass as they
are. Any other is decoded alone and handed to ``translate`` and ``bodies``, which stay the only ones to know what a
translation is; what they made of it is remembered, since flavors, images and hosts repeat from row to row. Fields nobody
ever listed take the same way. ``tests/unit/test_routing_fields.py`` holds both ways to be the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from uuid import uuid4

import msgspec

from cascade.model.site import Site
from cascade.routing import bodies, translate
from cascade.routing.bodies import STAMP_KEY, Side
from cascade.routing.translate import OPAQUE

SIZE = 30_000
"""Values remembered in a process; each takes half a kilobyte."""
_LARGEST = 4096
"""Bytes of a value that is remembered."""
_KEYS = 1000
"""Keys, and tiny values, remembered of one service of one site."""
_SHORT = 34
"""Bytes of the shortest JSON string that holds an id, quotes included."""
_IDENTS = (34, 38)
_TINY = 16
"""Bytes of a value that is one of few: ``null``, ``"ACTIVE"``, ``0``."""
_SCALAR = frozenset(b'"-0123456789tfn')
"""First bytes of all values but objects and arrays."""
_HEX = rb"[0-9a-fA-F]"
_IDENT = re.compile(rb'"(?:' + _HEX + rb"{32}|" + _HEX + rb"{8}-" + rb"-".join([_HEX + rb"{4}"] * 3) + rb"-" + _HEX + rb'{12})"')
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX_RUN = re.compile(rb"[0-9a-fA-F-]{32}")
_STAMP = STAMP_KEY.encode()
_STAMPED = ("tags", "metadata")
# A row's own id stands in its links, which otherwise are the same in all rows. With an id nobody else has in its place they are
# equal, and translated once: that makes ``_NORTH`` of it where an id is due to be replaced; where it stays it is part of a word.
_OWN, _NORTH = str(uuid4()), str(uuid4())
_OWN_RAW, _NORTH_RAW = _OWN.encode(), _NORTH.encode()
_decode_rows = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_PLAIN: Final = 0
"""A key that says nothing about its value."""
_SPECIAL: Final = 1
"""``bodies`` may do something to its value."""
_PASSED: Final = 2
"""The value is the user's, and nothing is done to it."""
_NAMED: Final = 3
"""The key is itself an id."""


class Sheets:
    """What was learnt of all lists of all sites. One per process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Site, Mapping[str, str], Translator]] = {}
        self._values: dict[tuple[Translator, str, bytes], _Value | Literal[False]] = {}

    def of(self, site: Site, service: str, urls: Mapping[str, str]) -> Translator:
        """What translates rows of this service; a new one when the site's row or addresses have changed."""
        kept = self._known.get((site.name, service))
        if kept is None or kept[1] != urls or kept[0] != site:
            kept = self._known[site.name, service] = (site, urls, Translator(site, service, urls, self._values))
        return kept[2]


class Translator:
    """Rows of one service of one site. ``memory`` is shared with others."""

    def __init__(
        self,
        site: Site,
        service: str,
        urls: Mapping[str, str],
        memory: dict[tuple[Translator, str, bytes], _Value | Literal[False]] | None = None,
    ) -> None:
        self._north = bodies.northward(site=site, service=service, urls=urls)
        self._sorts = _Sorts(self._north.special)
        acted = "|".join(re.escape(key) for key in sorted(self._north.special - OPAQUE - {"href"}))
        self._acted = re.compile(rf'"(?:{acted})"'.encode())
        self._tiny = {b"{}", b"[]"}
        self._memory = {} if memory is None else memory

    def read(self, raws: Sequence[msgspec.Raw]) -> Sheet:
        """Take rows apart. Raises msgspec.DecodeError, UnicodeDecodeError for what is no row of JSON."""
        whole = b"[" + b",".join(raws) + b"]"
        if not whole.isascii():
            whole.decode()  # values are passed without a look at their letters otherwise
        return Sheet([self._row(fields) for fields in _decode_rows(whole)])

    def _row(self, fields: dict[str, msgspec.Raw]) -> _Row:
        own = bytes(fields["id"])[1:-1] if "id" in fields else b""
        if _UUID.fullmatch(own) is None:
            own = b""
        sorts, memory, tiny = self._sorts, self._memory, self._tiny
        due: list[tuple[str, _Value | str]] = []
        for key, value in fields.items():  # forty times a row, a thousand rows a page: here every step counts
            sort = sorts[key]
            if sort == _PASSED:
                continue
            raw = bytes(value)
            if sort == _PLAIN:
                if raw in tiny:
                    continue
                size = len(raw)
                if size < _SHORT:
                    if raw[0] in _SCALAR and b"/" not in raw and b"\\" not in raw:
                        if size < _TINY and len(tiny) < _KEYS:
                            tiny.add(raw)
                        continue
                elif size in _IDENTS and _IDENT.fullmatch(raw):
                    due.append((key, raw[1:-1].decode()))
                    continue
            if own and raw[0] not in _SCALAR:
                raw = raw.replace(own, _OWN_RAW)
            known = memory.get((self, key, raw))
            if known is None:
                known = self._value(key, sort, raw)
            if known:
                if known.always is not None:
                    fields[key] = known.always
                else:
                    due.append((key, known))
        return _Row(fields, own, due)

    def _value(self, key: str, sort: int, raw: bytes) -> _Value | Literal[False]:
        """What is due to a value that was not seen lately; False: nothing."""
        if key in _STAMPED:  # another's in every row, so not worth a memory
            return self._made(key, raw) if _STAMP in raw or b"\\" in raw else False
        made = False if sort == _PLAIN and self._innocent(raw) else self._made(key, raw)
        if len(raw) <= _LARGEST:
            if len(self._memory) >= SIZE:
                self._memory.clear()
            self._memory[self, key, raw] = made
        return made

    def _made(self, key: str, raw: bytes) -> _Value | Literal[False]:
        doc = [{key: msgspec.json.decode(raw)}]
        ids = translate.tokens(doc)
        return _Value(self._north, key, raw, ids) if ids or self._north(doc) != doc else False

    def _innocent(self, raw: bytes) -> bool:
        """In such a value stand neither id nor URL nor escape, no zone, no host and no stamp of ours."""
        return (
            b"/" not in raw
            and b"\\" not in raw
            and _STAMP not in raw
            and (len(raw) < _SHORT or _HEX_RUN.search(raw) is None)
            and self._acted.search(raw) is None
        )


class Sheet:
    """Rows taken apart."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows
        self.ids: set[str] = {row.own.decode() for row in rows if row.own}
        """Which may be in a pair."""
        for row in rows:
            for _, value in row.due:
                if isinstance(value, str):
                    self.ids.add(value)
                else:
                    self.ids |= value.ids
        self.ids.discard(_OWN)

    def north(self, mapping: Mapping[str, str]) -> list[dict[str, msgspec.Raw]]:
        """The rows, to be encoded. ``mapping``: site id -> north id, of those that differ. To be called once."""
        return [row.north(mapping) for row in self._rows]


class _Row:
    """``due``: what may have to be replaced, by key."""

    __slots__ = ("due", "fields", "own")

    def __init__(self, fields: dict[str, msgspec.Raw], own: bytes, due: list[tuple[str, _Value | str]]) -> None:
        self.fields, self.own, self.due = fields, own, due

    def north(self, mapping: Mapping[str, str]) -> dict[str, msgspec.Raw]:
        own, fields, names = self.own, self.fields, {}
        north = mapping.get(own.decode(), "").encode() or own
        for key, value in self.due:
            if isinstance(value, str):
                if value in mapping:
                    fields[key] = msgspec.Raw(f'"{mapping[value]}"'.encode())
                continue
            raw = value.north(mapping)
            fields[key] = msgspec.Raw(raw.replace(_NORTH_RAW, north).replace(_OWN_RAW, own) if own else raw)
            if key in mapping:
                names[key] = mapping[key]
        return {names.get(key, key): value for key, value in fields.items()} if names else fields


class _Value:
    """A value in which something may stand; ``ids`` are those in it and in its key."""

    __slots__ = ("_key", "_names", "_north", "_raw", "_same", "_there", "always", "ids")

    def __init__(self, north: Side, key: str, raw: bytes, ids: set[str]) -> None:
        self._north, self._key, self._raw, self.ids = north, key, raw, frozenset(ids - {_OWN})
        self._same = self._made({})
        self._names: dict[str, str] = {}
        self._there = self._same
        alike = not self.ids and _OWN_RAW not in self._same and _NORTH_RAW not in self._same
        self.always = msgspec.Raw(self._same) if alike else None
        """What it is in every row."""

    def north(self, mapping: Mapping[str, str]) -> bytes:
        """In north terms, as JSON."""
        if mapping.keys().isdisjoint(self.ids):
            return self._same
        names = {i: mapping[i] for i in self.ids if i in mapping}
        if names != self._names:
            self._names, self._there = names, self._made(names)
        return self._there

    def _made(self, names: Mapping[str, str]) -> bytes:
        doc = translate.rewrite([{self._key: msgspec.json.decode(self._raw)}], {**names, _OWN: _NORTH})
        (value,) = self._north(doc)[0].values()
        return msgspec.json.encode(value)


class _Sorts(dict[str, int]):
    """Key -> its sort. A dictionary, so that a known key costs no call."""

    def __init__(self, special: frozenset[str]) -> None:
        super().__init__()
        self._special = special

    def __missing__(self, key: str) -> int:
        if key in _STAMPED:
            sort = _SPECIAL
        elif key in OPAQUE:
            sort = _PASSED
        elif key in self._special:
            sort = _SPECIAL
        else:
            sort = _NAMED if translate.tokens_text(key) == {key} else _PLAIN
        if len(self) < _KEYS:
            self[key] = sort
        return sort

"""Tables of rows nobody made: each is computed from its number when it is asked for, so none of them is stored.

A row that a request has changed, and every row made afterwards, is kept beside them as in any other table.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sim.world import Row

SEEN = 2000
"""Rows kept after a look at them, in case the look changes them."""
SERVER, PORT = "5eed", "90f7"
"""What stands in the ids of servers and of their ports, which name each other."""


def mixed(number: int) -> int:
    """The first eight digits of an id, so by this rows stand in the order of their ids."""
    return number * 0x9E3779B1 & 0xFFFFFFFF


def uuid_of(mark: str, site: int, number: int) -> str:
    """The id of a row. Neighbours in time are no neighbours by uuid."""
    return f"{mixed(number):08x}-{mark}-4{site:03x}-8000-{number:012x}"


def number_of(mark: str, site: int, ident: str) -> int | None:
    """Which one such an id is of."""
    try:
        found = int(ident[-12:], 16)
    except ValueError:
        return None
    return found if ident == uuid_of(mark, site, found) else None


class Computed(dict[str, Row]):
    """A table of ``count`` rows. The dictionary itself holds what is not as computed."""

    MARK = "0000"
    """Four hexadecimal digits that stand in the ids of its rows and of no other table's."""

    def __init__(self, site: int, count: int) -> None:
        super().__init__()
        self.site, self.count = site, count
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._gone: set[int] = set()

    def row(self, number: int) -> Row:
        """The row as it was made."""
        raise NotImplementedError

    def ident(self, number: int) -> str:
        """Its uuid."""
        return uuid_of(self.MARK, self.site, number)

    def number(self, ident: str) -> int | None:
        """Which one a uuid is of; None if it is of none, or of one that is no more."""
        found = number_of(self.MARK, self.site, ident)
        return found if found is not None and found < self.count and found not in self._gone else None

    def __missing__(self, ident: str) -> Row:
        number = self.number(ident)
        if number is None:
            raise KeyError(ident)
        found = self[ident] = self.row(number)
        self._seen[ident] = number
        while len(self._seen) > SEEN:
            old, its = self._seen.popitem(last=False)
            if super().get(old) == self.row(its):
                super().__delitem__(old)
        return found

    def look(self, ident: str) -> Row | None:
        """The row, for whoever changes nothing: it need not be kept."""
        number = None if super().__contains__(ident) else self.number(ident)
        return super().get(ident) if number is None else self.row(number)

    def get(self, ident: object, default: Any = None) -> Any:
        """The row, or the default."""
        try:
            return self[ident]  # type: ignore[index]
        except KeyError:
            return default

    def __contains__(self, ident: object) -> bool:
        return super().__contains__(ident) or (isinstance(ident, str) and self.number(ident) is not None)

    def __delitem__(self, ident: str) -> None:
        number = self.number(ident)
        if super().__contains__(ident):
            super().__delitem__(ident)
        elif number is None:
            raise KeyError(ident)
        if number is not None:
            self._gone.add(number)

    def pop(self, ident: str, default: Any = None) -> Any:
        """The row, which is no more; the default where there is none."""
        found = self.get(ident, default)
        if ident in self:
            del self[ident]
        return found

    def numbers(self) -> Iterable[int]:
        """Of all rows there were in the beginning."""
        return range(self.count)

    def values(self) -> Iterable[Row]:  # type: ignore[override]
        """All of them: a walk for what is rarely asked."""
        yield from self.kept()
        yield from self._computed(self.numbers())

    def items(self) -> Iterable[tuple[str, Row]]:  # type: ignore[override]
        """The same, with their ids."""
        return ((row["id"], row) for row in self.values())

    def kept(self) -> list[Row]:
        """What was made or changed (or only seen) since the start."""
        return list(super().values())

    def _computed(self, numbers: Iterable[int]) -> Iterator[Row]:
        for number in numbers:
            if number not in self._gone and not super().__contains__(self.ident(number)):
                yield self.row(number)


def part(owners: Sequence[tuple[str, str]], count: int, project: str | None) -> range:
    """The numbers of a project's rows, where each owner has one part of them in one piece; None: all."""
    if project is None:
        return range(count)
    mine = [n for n, (p, _) in enumerate(owners) if p == project]
    return range(-(-mine[0] * count // len(owners)), -(-(mine[-1] + 1) * count // len(owners))) if mine else range(0)

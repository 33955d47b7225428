"""Servers nobody booted: up to a million, each computed from its number when it is asked for, so none of them is stored.

A row that a request has changed, and every row made afterwards, is kept beside them as in any other table.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sim.world import Row

SEEN = 2000
"""Rows kept after a look at them, in case the look changes them."""
_MARK = "5eed"
APART = 60.0
"""Seconds between two creations."""


def order(row: Row) -> tuple[bool, float, str]:
    """Nova's: build requests first, then the newest, then by uuid."""
    return not row["request"], -row["created_at"], row["id"]


def known_hex(name: str) -> str:
    """An id as Keystone makes it, the same in every run."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


class Population(dict[str, Row]):
    """A table of servers, number 0 the newest. The dictionary itself holds what is not as computed."""

    def __init__(self, site: int, count: int, owners: Sequence[tuple[str, str]], zone: str, flavor: Row, newest: float) -> None:
        """``owners``: (project, user) ids; each has one part of the servers, in one piece. ``newest``: seconds since 1970."""
        super().__init__()
        self.site, self.count, self.owners, self.newest = site, count, owners, newest
        self._zone, self._flavor = zone, flavor
        self._seen: OrderedDict[str, int] = OrderedDict()

    def ident(self, number: int) -> str:
        """Its uuid. Neighbours in time are no neighbours by uuid."""
        mixed = number * 0x9E3779B1 & 0xFFFFFFFF
        return f"{mixed:08x}-{_MARK}-4{self.site:03x}-8000-{number:012x}"

    def number(self, ident: str) -> int | None:
        """Which one a uuid is of; None if it is of none."""
        try:
            found = int(ident[-12:], 16)
        except ValueError:
            return None
        return found if found < self.count and ident == self.ident(found) else None

    def row(self, number: int) -> Row:
        """The server as it was made."""
        project, user = self.owners[number * len(self.owners) // self.count]
        made, name = self.newest - number * APART, f"server-{self.site}-{number}"
        return {
            "id": self.ident(number), "name": name, "project_id": project, "user_id": user, "created_at": made, "updated_at": made,
            "launched_at": made, "terminated_at": None, "deleted": False, "request": False, "flavor": self._flavor,
            "flavor_key": self._flavor["id"], "image_id": "", "image_props": {}, "metadata": {}, "tags": [], "vm_state": "active",
            "task_state": None, "power_state": 1, "host": f"seed-{number % 100}", "zone": self._zone, "pinned_zone": None,
            "key_name": None, "locked": False, "locked_by": None, "locked_reason": None, "config_drive": "", "description": None,
            "hostname": name, "reservation_id": "r-seed", "launch_index": 0, "user_data": None, "hints": {}, "bdms": [], "nics": [],
            "nic_tags": {}, "made_ports": [], "fault": None, "disk_config": "MANUAL", "accessIPv4": "", "accessIPv6": "",
            "number": number,
        }  # fmt: skip

    # -- as a dictionary ---------------------------------------------------------------------------------------------

    def __missing__(self, ident: str) -> Row:
        number = self.number(ident)
        if number is None:
            raise KeyError(ident)
        found = self[ident] = self.row(number)
        self._seen[ident] = number
        while len(self._seen) > SEEN:
            old, its = self._seen.popitem(last=False)
            if super().__getitem__(old) == self.row(its):
                super().__delitem__(old)
        return found

    def get(self, ident: object, default: Any = None) -> Any:
        """The row, or the default."""
        try:
            return self[ident]  # type: ignore[index]
        except KeyError:
            return default

    def __contains__(self, ident: object) -> bool:
        return super().__contains__(ident) or (isinstance(ident, str) and self.number(ident) is not None)

    def values(self) -> Iterable[Row]:  # type: ignore[override]
        """All of them: a walk for what is rarely asked."""
        yield from self.kept()
        yield from self._computed(range(self.count))

    # -- short cuts --------------------------------------------------------------------------------------------------

    def kept(self) -> list[Row]:
        """What was made or changed (or only seen) since the start."""
        return list(super().values())

    def page(self, project: str | None, marker: str | None, limit: int) -> list[Row]:
        """So many in Nova's default order after the marker, of one project or of all. Raises KeyError for a marker of none."""
        after = order(self[marker]) if marker else None
        mine = (r for r in self.kept() if not r["deleted"] and project in (None, r["project_id"]))
        own = sorted((r for r in mine if after is None or order(r) > after), key=order)
        first, end = self._range(project)
        if marker and (number := self.number(marker)) is not None:
            first = max(first, number + 1)
        return list(islice(heapq.merge(own, self._computed(range(first, end)), key=order), limit))

    def of(self, project: str) -> Iterator[Row]:
        """All of a project."""
        yield from (r for r in self.kept() if r["project_id"] == project)
        yield from self._computed(range(*self._range(project)))

    def _range(self, project: str | None) -> tuple[int, int]:
        if project is None:
            return 0, self.count
        mine = [n for n, (p, _) in enumerate(self.owners) if p == project]
        return (self._begin(mine[0]), self._begin(mine[-1] + 1)) if mine else (0, 0)

    def _begin(self, owner: int) -> int:
        return -(-owner * self.count // len(self.owners))

    def _computed(self, numbers: range) -> Iterator[Row]:
        for number in numbers:
            if not super().__contains__(self.ident(number)):
                yield self.row(number)


def tenant(number: int) -> tuple[str, str, str]:
    """Name, project id and user id of a seeded tenant."""
    name = f"tenant-{number}"
    return name, known_hex(f"project/{name}"), known_hex(f"user/{name}")


def shares(sites: int, per_site: int) -> dict[int, list[int]]:
    """Site number (from 1) -> its tenants: each tenant has servers in two neighbouring sites (in one, where there is only one)."""
    half = max(1, per_site // 2)
    return {n: [*range((n - 1) * half, n * half), *(range((n % sites) * half, (n % sites + 1) * half) if sites > 1 else ())]
            for n in range(1, sites + 1)}  # fmt: skip

"""Servers nobody booted: up to a million, each with a port (``sim.population_ports``), and with a volume or without
(``sim.population_volumes``)."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from sim.computed import PORT, SERVER, Computed, part, uuid_of
from sim.population_volumes import blocks
from sim.world import Row

APART = 60.0
"""Seconds between two creations."""


def order(row: Row) -> tuple[bool, float, str]:
    """Nova's: build requests first, then the newest, then by uuid."""
    return not row["request"], -row["created_at"], row["id"]


def made_at(newest: float, number: int) -> float:
    """When a server was made, where the newest was at ``newest``."""
    return newest - number * APART


def name_of(site: int, number: int) -> str:
    """Its name, which is its host name too."""
    return f"server-{site}-{number}"


def host_of(number: int) -> str:
    """The host it is on."""
    return f"seed-{number % 100}"


def known_hex(name: str) -> str:
    """An id as Keystone makes it, the same in every run."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


class Population(Computed):
    """A table of servers, number 0 the newest."""

    MARK = SERVER

    def __init__(
        self, site: int, count: int, owners: Sequence[tuple[str, str]], zone: str, flavor: Row, newest: float,
        images: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """``owners``: (project, user) ids; each has one part of the servers. ``newest``: seconds since 1970."""
        super().__init__(site, count)
        self.owners, self.newest = owners, newest
        self._zone, self._flavor, self._images = zone, flavor, images

    def row(self, number: int) -> Row:
        """The server as it was made."""
        project, user = self.owners[number * len(self.owners) // self.count]
        made, name, port = made_at(self.newest, number), name_of(self.site, number), uuid_of(PORT, self.site, number)
        return {
            "id": self.ident(number), "name": name, "project_id": project, "user_id": user, "created_at": made, "updated_at": made,
            "launched_at": made, "terminated_at": None, "deleted": False, "request": False, "flavor": self._flavor,
            "flavor_key": self._flavor["id"], "image_id": self._images[number % len(self._images)] if self._images else "",
            "image_props": {}, "metadata": {}, "tags": [], "vm_state": "active",
            "task_state": None, "power_state": 1, "host": host_of(number), "zone": self._zone, "pinned_zone": None,
            "key_name": None, "locked": False, "locked_by": None, "locked_reason": None, "config_drive": "", "description": None,
            "hostname": name, "reservation_id": "r-seed", "launch_index": 0, "user_data": None, "hints": {},
            "bdms": blocks(self.site, number, self.count), "nics": [port],
            "nic_tags": {port: None}, "made_ports": [], "fault": None, "disk_config": "MANUAL", "accessIPv4": "", "accessIPv6": "",
            "number": number,
        }  # fmt: skip

    def page(self, project: str | None, marker: str | None, limit: int) -> list[Row]:
        """So many in Nova's default order after the marker, of one project or of all. Raises KeyError for a marker of none."""
        after = order(self[marker]) if marker else None
        mine = (r for r in self.kept() if not r["deleted"] and project in (None, r["project_id"]))
        own = sorted((r for r in mine if after is None or order(r) > after), key=order)
        numbers = part(self.owners, self.count, project)
        first = numbers.start
        if marker and (number := self.number(marker)) is not None:
            first = max(first, number + 1)
        return list(islice(heapq.merge(own, self._computed(range(first, numbers.stop)), key=order), limit))

    def of(self, project: str) -> Iterator[Row]:
        """All of a project."""
        yield from (r for r in self.kept() if r["project_id"] == project)
        yield from self._computed(part(self.owners, self.count, project))


def tenant(number: int) -> tuple[str, str, str]:
    """Name, project id and user id of a seeded tenant."""
    name = f"tenant-{number}"
    return name, known_hex(f"project/{name}"), known_hex(f"user/{name}")


def shares(sites: int, per_site: int) -> dict[int, list[int]]:
    """Site number (from 1) -> its tenants: each tenant has servers in two neighbouring sites (in one, where there is only one)."""
    half = max(1, per_site // 2)
    return {n: [*range((n - 1) * half, n * half), *(range((n % sites) * half, (n % sites + 1) * half) if sites > 1 else ())]
            for n in range(1, sites + 1)}  # fmt: skip

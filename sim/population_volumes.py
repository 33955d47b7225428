"""Volumes nobody made: one for each second server, and each second of them is attached to its server.

Four are made in the same second, as by a script: only their ids order them, and Cinder orders ids downwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from sim.computed import Computed, part, uuid_of
from sim.world import Row, Table

BATCH = 4
"""Volumes made in one second."""
APART = 480.0
"""Seconds between two batches: eight servers are made in that time."""


def blocks(site: int, server: int, servers: int) -> list[Row]:
    """A server's block devices: volume n is made for server 2n, and where n is even it is attached to it."""
    volume, odd = divmod(server, 2)
    if odd or volume % 2 or volume >= servers // 2:
        return []
    attachment = uuid_of(Attachments.MARK, site, volume // 2)
    return [{"volume_id": uuid_of(Volumes.MARK, site, volume), "device": "/dev/sdb", "tag": None, "dot": False,
             "attachment_id": attachment, "uuid": attachment, "root": False}]  # fmt: skip


def order(row: Row) -> tuple[float, str]:
    """Cinder's, which is upside down: the newest first, of those the highest id."""
    return row["created_at"], row["id"]


class Volumes(Computed):
    """A table of volumes, number 0 one of the newest."""

    MARK = "501d"

    def __init__(self, site: int, servers: int, owners: Sequence[tuple[str, str]], kind: str, host: str, newest: float) -> None:
        """``servers``, ``owners``: as of the servers; ``kind``: the volume type's id; ``host``: with backend and pool."""
        super().__init__(site, servers // 2)
        self.owners, self.newest, self._servers = owners, newest, servers
        self._kind, self._host = kind, host

    def row(self, number: int) -> Row:
        """The volume as it was made."""
        project, user = self.owners[2 * number * len(self.owners) // self._servers]
        made = self.newest - number // BATCH * APART
        return {
            "id": self.ident(number), "project_id": project, "user_id": user, "created_at": made, "updated_at": made,
            "n": -number - 1, "name": f"volume-{self.site}-{number}", "size": 1 + number % 3,
            "status": "available" if number % 2 else "in-use", "description": None, "availability_zone": "nova",
            "type_id": self._kind, "snapshot_id": None, "source_volid": None, "metadata": {}, "bootable": False,
            "multiattach": False, "host": self._host, "image": None, "migration_status": None, "group_id": None,
            "readonly": False, "consumes_quota": True,
        }  # fmt: skip

    def page(self, project: str | None, marker: str | None, limit: int) -> list[Row]:
        """So many in Cinder's default order after the marker, of one project or of all. Raises KeyError for a marker of none."""
        after = order(self[marker]) if marker else None
        own = sorted((r for r in self.kept() if project in (None, r["project_id"])), key=order, reverse=True)
        numbers = self._part(project)
        first = numbers.start
        if marker and (number := self.number(marker)) is not None:
            first = max(first, number // BATCH * BATCH)
        merged = heapq.merge(own, self._ordered(first, numbers.stop), key=order, reverse=True)
        return list(islice((r for r in merged if after is None or order(r) < after), limit))

    def of(self, project: str) -> Iterator[Row]:
        """All of a project."""
        yield from (r for r in self.kept() if r["project_id"] == project)
        yield from self._computed(self._part(project))

    def _part(self, project: str | None) -> range:
        servers = part(self.owners, self._servers, project)
        return range(-(-servers.start // 2), min(-(-servers.stop // 2), self.count))

    def _ordered(self, first: int, end: int) -> Iterator[Row]:
        begin = first // BATCH * BATCH
        for batch in range(begin, end, BATCH):
            yield from sorted(self._computed(range(max(first, batch), min(end, batch + BATCH))), key=order, reverse=True)


class Attachments(Computed):
    """The attachments of ``Volumes``: number n is that of volume 2n to server 4n."""

    MARK = "a77a"

    def __init__(self, volumes: Volumes, servers: Computed) -> None:
        super().__init__(volumes.site, -(-volumes.count // 2))
        self._volumes, self._servers = volumes, servers

    def row(self, number: int) -> Row:
        """The attachment as it was made."""
        volume = self._volumes.row(2 * number)
        return {
            "id": self.ident(number), "volume_id": volume["id"], "server_id": self._servers.ident(4 * number), "device": "/dev/sdb",
            "status": "attached", "attached_at": volume["created_at"], "host": f"seed-{4 * number % 100}", "mode": "rw",
            "project_id": volume["project_id"], "created_at": volume["created_at"],
        }  # fmt: skip

    def of(self, volume: str) -> list[Row]:
        """Those of a volume."""
        found = [a for a in self.kept() if a["volume_id"] == volume]
        number = self._volumes.number(volume)
        if number is not None and number % 2 == 0:
            found += self._computed([number // 2])
        return found


def attachments_of(table: Table, volume: str) -> list[Row]:
    """All attachments of a volume, in whatever state."""
    return table.of(volume) if isinstance(table, Attachments) else [a for a in table.values() if a["volume_id"] == volume]


def volumes_of(table: Table, project: str) -> list[Row]:
    """All volumes of a project."""
    rows = table.of(project) if isinstance(table, Volumes) else table.values()
    return [r for r in rows if r["project_id"] == project]

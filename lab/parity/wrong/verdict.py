"""Two answers compared: the same, different, or different because the cloud has several sites. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.parity.wrong.cases import Case
from lab.raw import Answer


@dataclass(frozen=True)
class Seen:
    """What of an answer is compared."""

    status: int
    shape: Any
    """The kind of fault without its words; None of a success."""
    said: str
    seconds: float = 0.0

    @classmethod
    def of(cls, case: Case, got: Answer, seconds: float = 0.0) -> Seen:
        """An answer, without its words but for reports."""
        shape = None if got.status < 400 or case.method == "HEAD" else got.shape()
        return cls(got.status, shape, got.body[:300].decode(errors="replace"), round(seconds, 2))


@dataclass(frozen=True)
class Reason:
    """A difference that is a property of a cloud of several sites. Empty patterns match everything."""

    why: str
    evidence: str
    """A test that shows that Cascade means it."""
    case: str = ""
    """A regular expression on a case's name."""
    direct: int = 0
    ours: int = 0

    def covers(self, row: Row) -> bool:
        """Whether this is the difference meant."""
        return (
            re.search(self.case, f"{row.case.seed.service} {row.case.name}") is not None
            and self.direct in (0, row.direct.status)
            and self.ours in (0, row.ours.status)
        )


@dataclass(frozen=True)
class Row:
    """A case and both answers."""

    case: Case
    direct: Seen
    ours: Seen

    @property
    def same(self) -> bool:
        """Status and the shape of a fault. Where the service itself fails or breaks off, any refusal of ours will do."""
        if not self.direct.status or self.direct.status >= 500:
            return not self.ours.status or self.ours.status >= 400
        return (self.direct.status, self.direct.shape) == (self.ours.status, self.ours.shape)

    @property
    def crash(self) -> bool:
        """A server's error, or no answer, that the direct side does not give."""
        return (self.ours.status >= 500 or not self.ours.status) and 0 < self.direct.status < 500

    def plain(self, reason: str) -> dict[str, Any]:
        """For the results file."""
        return {
            "service": self.case.seed.service, "case": self.case.name, "method": self.case.method, "path": self.case.path,
            "body": None if self.case.body is None else self.case.body[:600].decode(errors="replace"),
            "direct": [self.direct.status, self.direct.shape, self.direct.said],
            "cascade": [self.ours.status, self.ours.shape, self.ours.said], "same": self.same, "reason": reason,
            "seconds": [self.direct.seconds, self.ours.seconds],
        }  # fmt: skip


@dataclass
class Sum:
    """A line of the table."""

    sent: int = 0
    refused: int = 0
    """Directly, with 4xx."""
    same: int = 0
    excused: int = 0
    different: int = 0
    crashes: int = 0


_ONE_FRONT = "one HTTP front serves all: it refuses methods no service has, before it looks for whom they are"
REASONS: tuple[Reason, ...] = (
    Reason(_ONE_FRONT, "tests/unit/test_front.py", case=r": method: (FOO|get)$", ours=400),
    Reason(f"{_ONE_FRONT}; Neutron lists for TRACE", "tests/unit/test_front.py", case=r"^network .*: method: TRACE$", ours=405),
    Reason("zones are Cascade's own and can be asked for by name; the site's cannot", "tests/unit/test_network_api.py",
           case=r"^network GET /v2.0/availability_zones: query", direct=400, ours=200),
    Reason("the index compares ids exactly; MariaDB forgets a blank behind", "tests/unit/test_front.py",
           case=r": path: %20$", direct=200, ours=404),
    Reason("an id that is no UTF-8 is refused before any service sees it: some die of it", "tests/unit/test_front.py",
           case=r": id: %FF$", ours=400),
    Reason("Neutron answers 204 with a body, which HTTP has no room for: the connection cannot be trusted any more",
           "cascade/sites/transport.py", case=r"^network .*/tags/a: method: (POST|PATCH)$", direct=204, ours=503),
    Reason("which extensions the cloud has is its operator's choice: the hub's", "docs/operator-guide.md",
           case=r"^network .*(vlan_transparent|dns_publish_fixed_ip)", direct=400, ours=400),
)  # fmt: skip
"""Differences that have to be, and where it is written or tested that they are meant."""


def reason(row: Row, reasons: Iterable[Reason] = REASONS) -> str:
    """Why this difference has to be, or nothing."""
    return "" if row.same else next((r.why for r in reasons if r.covers(row) and (r.ours or not row.crash)), "")


def sums(rows: Iterable[Row]) -> dict[str, Sum]:
    """Per service."""
    out: dict[str, Sum] = {}
    for row in rows:
        line = out.setdefault(row.case.seed.service, Sum())
        line.sent += 1
        line.refused += 400 <= row.direct.status < 500
        line.same += row.same
        line.crashes += row.crash
        if not row.same:
            excused = bool(reason(row))
            line.excused += excused
            line.different += not excused
    return out


def classes(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Differences without a reason, those alike together, most first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if not row.same and not reason(row):
            key = f"{row.case.seed.service}: {row.direct.status} {row.direct.shape} -> {row.ours.status} {row.ours.shape}"
            found.setdefault(key, []).append(row)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def outcomes(rows: Iterable[Row]) -> Counter[int]:
    """How often the direct side gave each status."""
    return Counter(row.direct.status for row in rows)

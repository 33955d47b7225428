"""All figures, in the order they are measured in: one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import away, copies, faults, index, lists, load, outage, show
from bench.report import Figure
from bench.world import World

Measure = Callable[[World], Iterator[Figure]]


@dataclass(frozen=True, slots=True)
class Row:
    """``indexed``: whether the gateway must know of all servers before."""

    measure: Measure
    indexed: bool = False

    @property
    def about(self) -> str:
        """What is measured, in one line."""
        return (self.measure.__doc__ or "").splitlines()[0]


FIGURES: dict[str, Row] = {
    "rebuild": Row(index.rebuild),
    "restart": Row(index.restart, indexed=True),
    "page": Row(lists.page, indexed=True),
    "volumes": Row(lists.volumes, indexed=True),
    "walk": Row(lists.walk, indexed=True),
    "tenant": Row(lists.tenant, indexed=True),
    "show": Row(show.show, indexed=True),
    "outage": Row(outage.outage, indexed=True),
    "faults": Row(faults.faults, indexed=True),
    "return": Row(away.away, indexed=True),
    "flavor": Row(copies.flavor),
    "boots": Row(copies.boots),
    "load": Row(load.load, indexed=True),
    "memory": Row(index.memory, indexed=True),
    "idle": Row(index.idle),
}

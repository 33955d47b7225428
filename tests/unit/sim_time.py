"""Time of a simulated cloud that passes when a test says so."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from sim.world import Cloud


class Held:
    """In place of ``Cloud.later``: what is still to happen happens when a test lets time pass, however slow the machine is."""

    def __init__(self) -> None:
        self.now, self.due = 0.0, list[tuple[float, int, Callable[[], object]]]()
        self._made = 0

    def __call__(self, seconds: float, act: Callable[[], object]) -> None:
        self._made += 1
        heapq.heappush(self.due, (self.now + seconds, self._made, act))


def time_passes(cloud: Cloud) -> None:
    """Until nothing is still to happen."""
    held: Any = cloud.later
    while held.due:
        held.now, _, act = heapq.heappop(held.due)
        act()

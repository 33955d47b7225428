"""How far something long has come."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.report import say

EVERY = 10.0
"""Seconds between two lines; what takes less says nothing."""


class Progress:
    """``total``: of what is counted; 0 where nobody knows."""

    def __init__(
        self, name: str, total: int, *, clock: Callable[[], float] = time.monotonic, out: Callable[[str], None] = say
    ) -> None:
        self._name, self._total, self._clock, self._out = name, total, clock, out
        self._began = self._said = clock()

    def at(self, done: int) -> None:
        """So many are done."""
        now = self._clock()
        if now - self._said < EVERY or not done:
            return
        self._said, took = now, now - self._began
        left = f", {took / done * (self._total - done):.0f} s to go" if self._total else ""
        self._out(f"     {self._name}: {done}{f' of {self._total}' if self._total else ''}, {took:.0f} s{left}")

"""Is one service of one target there? A small state machine without any input or output of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from cascade.sites.limits import Limits

State = Literal["up", "down", "unknown"]


class Breaker:
    """Down after ``fail_threshold`` consecutive failures, or when nothing succeeded for ``fail_seconds`` since the
    first of them; open while down; closed again by a successful probe alone (that probe is the half-open state).
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self.state: State = "unknown"
        self.since = time.time()
        """Unix seconds of the last change of ``state``."""
        self.last_error: str | None = None
        self.latency: float | None = None
        """Seconds the last successful probe took."""
        self._failures = 0
        self._first = self._last = 0.0

    @property
    def suspect(self) -> bool:
        """Something failed and nothing has succeeded since."""
        return self._failures > 0

    def success(self, latency: float | None = None, *, probe: bool) -> bool:
        """An answer came. Returns whether the state changed.

        Answers to traffic do not close an open breaker: they belong to calls that began before it opened.
        """
        if self.state == "down" and not probe:
            return False
        self._failures = 0
        if probe:
            self.latency = latency
        return self._turn("up")

    def failure(self, error: str, *, probe: bool) -> bool:
        """No answer. Returns whether the state changed.

        Failures of traffic within ``probe_gap`` of one another are one event: a single reset connection must not
        count once for each of the calls that were on it.
        """
        now = self._clock()
        if not probe and self._failures and now - self._last < self._limits.probe_gap:
            return False
        if not self._failures:
            self._first = now
        self._failures += 1
        self._last = now
        self.last_error = error
        late = now - self._first >= self._limits.fail_seconds
        if self._failures >= self._limits.fail_threshold or late:
            return self._turn("down")
        return False

    def _turn(self, state: State) -> bool:
        if self.state == state:
            return False
        self.state, self.since = state, time.time()
        return True

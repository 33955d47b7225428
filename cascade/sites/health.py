"""Health of targets: probes at leisure, traffic as a hint, a threshold before anything flips.

Each service of a target has a breaker. A site is down when one of its *essential* services is (its Nova and its own
Keystone: without them nothing works there); another service that is down refuses only its own calls. The hub's
services stand each alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from cascade.model.errors import SiteError
from cascade.model.site import HUB
from cascade.sites.breaker import Breaker, State
from cascade.sites.limits import Limits
from cascade.sites.owntime import within

log = structlog.get_logger(__name__)

_AT_ONCE = 10
"""Targets so many are probed at once when watching begins; more are spread over ``probe_down``."""
Probe = Callable[[str, str], Coroutine[Any, Any, None]]
"""(target, service): returns when the service answered; raises SiteError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """``since`` is unix seconds, ``latency`` the seconds of the last good probe. ``last_error`` is for operators."""

    state: State
    since: float
    last_error: str | None = None
    latency: float | None = None


class Monitor(Mapping[str, Health]):
    """Health of every watched target by name; also what says whether a call may be tried."""

    def __init__(
        self, limits: Limits, *, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._limits, self._clock, self._jitter = limits, clock, jitter
        self._essential: dict[str, tuple[str, ...]] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._pokes: dict[str, asyncio.Event] = {}
        self._probe: Probe | None = None
        self._news = asyncio.Event()
        self.on_down: list[Callable[[str], None]] = []
        """Called with a target's name at the moment it goes down."""
        self.on_up: list[Callable[[str], None]] = []
        self.on_silence: list[Callable[[str], None]] = []
        """Called with the name of a target that a probe got nothing out of: no connection, or no answer on one."""

    # What others ask

    def __getitem__(self, target: str) -> Health:
        parts = [self._breaker(target, s) for s in self._essential[target]]
        worst = min(parts, key=lambda b: ("down", "unknown", "up").index(b.state))
        latencies = [b.latency for b in parts if b.latency is not None]
        return Health(
            state=worst.state, since=worst.since if worst.state != "up" else max(b.since for b in parts),
            last_error=worst.last_error, latency=max(latencies) if latencies else None,
        )  # fmt: skip

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._essential))

    def __len__(self) -> int:
        return len(self._essential)

    def allows(self, target: str, service: str) -> bool:
        """May a call be tried? No while the service's breaker is open or the whole site is down."""
        own = self._breakers.get((target, service))
        if own is not None and own.state == "down":
            return False
        return target == HUB or not self._down(target)

    async def settle(self, target: str, service: str) -> None:
        """Wait while probes are finding out whether the target is there: something failed, and nothing since.

        For calls that must not be given up once sent: better a few seconds late than a minute in a void.
        """
        while target in self._loops and self.allows(target, service) and self._suspect(target, service):
            await self._news.wait()

    def down(self, target: str) -> list[str]:
        """Services of a target that count as down."""
        return sorted(s for (t, s), b in self._breakers.items() if t == target and b.state == "down")

    # What the transport tells

    def answered(self, target: str, service: str) -> None:
        """Traffic got an answer, whatever its status."""
        self._breaker(target, service).success(probe=False)

    def failed(self, target: str, service: str, error: str) -> None:
        """Traffic got no connection: counts, and is looked into at once."""
        self._failure(target, service, error, probe=False)
        self.poke(target)

    def poke(self, target: str, service: str | None = None) -> None:
        """Probe soon: something is slow. ``service`` is looked at too where it is not essential."""
        if service is not None:
            self._breaker(target, service)
        if target in self._pokes:
            self._pokes[target].set()

    # Who is watched

    def watch(self, targets: Mapping[str, tuple[str, ...]]) -> None:
        """Watch exactly these; values are their essential services."""
        for gone in self._essential.keys() - targets.keys():
            self.drop(gone)
        self._essential = dict(targets)
        if self._probe is not None:
            self.start(self._probe)

    def drop(self, target: str) -> None:
        """Forget a target: what it was says nothing about what comes next under its name."""
        self._breakers = {k: b for k, b in self._breakers.items() if k[0] != target}
        self._pokes.pop(target, None)
        if (task := self._loops.pop(target, None)) is not None:
            task.cancel()

    def start(self, probe: Probe) -> None:
        """Begin (or go on) probing every watched target. Needs a running loop."""
        self._probe = probe
        for target in self._essential:
            if target not in self._loops:
                self._pokes[target] = asyncio.Event()
                self._loops[target] = asyncio.create_task(self._watch_one(target), name=f"probe {target}")

    async def close(self) -> None:
        """Stop probing."""
        loops, self._loops, self._probe = list(self._loops.values()), {}, None
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def check(self, target: str) -> Health:
        """Probe now, all of the essential services and those under suspicion, and say what came of it.

        Before ``start`` it says only what is known. Raises KeyError for a target that is not watched.
        """
        if self._probe is None:
            return self[target]
        services = set(self._essential[target]) | {
            s for (t, s), b in self._breakers.items() if t == target and (b.suspect or b.state == "unknown")
        }
        await asyncio.gather(*(self._probe_one(self._probe, target, s) for s in sorted(services)))
        return self[target]

    # Inside

    def _breaker(self, target: str, service: str) -> Breaker:
        key = (target, service)
        if key not in self._breakers:
            self._breakers[key] = Breaker(self._limits, clock=self._clock)
        return self._breakers[key]

    def _down(self, target: str) -> bool:
        essential = self._essential.get(target, ())
        return any((b := self._breakers.get((target, s))) is not None and b.state == "down" for s in essential)

    def _suspect(self, target: str, service: str) -> bool:
        known = (self._breakers.get((target, s)) for s in (*self._essential.get(target, ()), service))
        return any(b.suspect for b in known if b is not None)

    def _success(self, target: str, service: str, latency: float) -> None:
        was = self._down(target)
        if self._breaker(target, service).success(latency, probe=True):
            log.info("service answers", site=target, service=service)
        if was and not self._down(target):
            log.warning("up again", site=target)
            for tell in self.on_up:
                tell(target)

    def _failure(self, target: str, service: str, error: str, *, probe: bool) -> None:
        was = self._down(target)
        if self._breaker(target, service).failure(error, probe=probe):
            log.warning("service counts as down", site=target, service=service, error=error)
        if not was and self._down(target):
            log.error("down", site=target, error=error)
            for tell in self.on_down:
                tell(target)

    async def _probe_one(self, probe: Probe, target: str, service: str) -> None:
        begun = self._clock()
        try:
            await within(self._limits.probe_deadline, probe(target, service))
        except TimeoutError:
            self._failed_probe(target, service, f"{service}: no answer within {self._limits.probe_deadline:g} s")
        except SiteError as e:
            self._failed_probe(target, service, str(e))
        else:
            self._success(target, service, self._clock() - begun)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _failed_probe(self, target: str, service: str, error: str) -> None:
        self._failure(target, service, error, probe=True)
        for tell in self.on_silence:
            tell(target)

    async def _watch_one(self, target: str) -> None:
        poked, limits = self._pokes[target], self._limits
        if len(self._essential) > _AT_ONCE:  # a process that begins has something else to do than to ask them all in one moment
            await asyncio.sleep(limits.probe_down * self._jitter())
        while True:
            poked.clear()
            await self.check(target)
            done = self._clock()
            parts = [b for (t, _), b in self._breakers.items() if t == target]
            pause = limits.probe_interval
            if any(b.state == "down" for b in parts):
                pause = min(pause, limits.probe_down)
            if any(b.suspect and b.state != "down" for b in parts):
                pause = min(pause, limits.probe_gap)
            try:
                async with asyncio.timeout(pause * (0.8 + 0.4 * self._jitter())):
                    await poked.wait()
            except TimeoutError:
                continue
            # Many calls fail together: one probe answers for them all, and a quick burst of probes is no threshold.
            await asyncio.sleep(max(0.0, done + limits.probe_gap - self._clock()))

"""What each target can do: microversion windows, Neutron extensions, availability zones. Learnt from the targets.

Kept in the store too, so that a gateway that starts while a site is away still offers what that site honours, and
still knows its zones.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import structlog

from cascade.model.errors import BadReply, CascadeError, Conflict, NativeFault, SiteError
from cascade.model.site import HUB
from cascade.sites import versions
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.sites.versions import Window

log = structlog.get_logger(__name__)

REFRESH = 300.0
"""Seconds between two looks at every target, jittered; a site coming up again is looked at then."""
RELOAD = 15.0
"""Seconds between two looks at the rows of sites, since another process may have changed them, and at a site that did not
tell everything when it was last asked."""
_AT_ONCE = 16
"""Targets asked at once: each is asked for some five things."""
_SOON, _SOON_EACH = 10.0, 0.1
"""Seconds after a start until all targets are looked at, at most; for each target."""
DEFAULTS: Mapping[str, Window] = {"compute": ("2.1", "2.1"), "volume": ("3.0", "3.0"), "placement": ("1.0", "1.0")}
"""What is believed of a service nobody has asked yet."""
_ENTRIES = {"compute": "v2.1", "volume": "v3", "placement": "v1"}
"""Which entry of the version document bears the window: the id's prefix."""


class DocRows(Protocol):
    """``store.docs``."""

    async def get(self, key: str) -> Any: ...
    async def put(self, key: str, doc: Any) -> None: ...


class DocStore(Protocol):
    """As much of the store as this module needs."""

    @property
    def docs(self) -> DocRows: ...


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One target's. ``windows``: service -> (lowest, highest); ``zones``: service -> names, Nova's ``internal`` left out."""

    windows: Mapping[str, Window] = field(default_factory=dict)
    extensions: frozenset[str] = frozenset()
    zones: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """What the hub and every enabled site honour alike."""

    compute: Window
    volume: Window
    placement: Window


class Discovery:
    """Call ``load`` once at start, run ``run`` beside the requests; everything else answers from memory."""

    def __init__(self, sites: Sites, south: South, store: DocStore) -> None:
        self._sites, self._south, self._store = sites, south, store
        self._facts: dict[str, Facts] = {}
        self._common: dict[str, tuple[list[str], Window]] = {}
        self._due = asyncio.Event()
        self._again: set[str] = set()
        sites.health.on_up.append(self._look_again)

    # What others ask

    def window(self, service: str) -> Window:
        """The common window of ``service`` (compute, volume, placement) over the hub and the enabled sites.

        A site that has never been reached cannot narrow it. Should nothing be common to all, the hub's own is offered
        and the log says so: joining a site checks for it first.
        """
        names = self._sites.names()
        known = self._common.get(service)
        if known is None or known[0] != names:  # asked for by every request: with many sites it is worth remembering
            known = self._common[service] = names, self._in_common(service, names)
        return known[1]

    def _in_common(self, service: str, names: list[str]) -> Window:
        targets = [n for n in names if n in self._facts]
        if service != "placement":
            targets.insert(0, HUB)
        known = [self._facts[t].windows[service] for t in targets if t in self._facts and service in self._facts[t].windows]
        found = versions.common(known)
        if found is None and known:
            log.error("no microversion is common to all targets", service=service, windows=known)
            return known[0]
        return found or DEFAULTS[service]

    @property
    def windows(self) -> Windows:
        """All common windows."""
        return Windows(compute=self.window("compute"), volume=self.window("volume"), placement=self.window("placement"))

    def target_window(self, target: str, service: str) -> Window | None:
        """One target's own window; None while unknown."""
        found = self._facts.get(target)
        return found.windows.get(service) if found else None

    def extensions(self, target: str) -> frozenset[str]:
        """Aliases of the target's Neutron extensions; empty while unknown."""
        found = self._facts.get(target)
        return found.extensions if found else frozenset()

    def zones(self, target: str, service: str = "compute") -> list[str]:
        """The target's own zone names, sorted; empty while unknown."""
        found = self._facts.get(target)
        return list(found.zones.get(service, ())) if found else []

    def known(self, target: str) -> bool:
        """Whether this target was ever asked successfully."""
        return target in self._facts

    # Learning

    async def load(self) -> None:
        """What was known when Cascade last ran; a target never met is asked now, bounded by a few seconds."""
        for target in self._targets():
            doc = await self._store.docs.get(f"discovery/{target}")
            if doc is not None:
                self._facts[target] = msgspec.convert(doc, Facts)
        self._common.clear()
        if new := [t for t in self._targets() if t not in self._facts]:
            await self.refresh(*new, timeout=5.0)

    async def refresh(self, *targets: str, timeout: float = 30.0) -> None:
        """Ask these targets (all, where none is named), some at once; one that fails keeps what was known of it."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def learn(target: str) -> None:
            async with places:
                await self._learn(target, timeout)

        await asyncio.gather(*(learn(t) for t in targets or self._targets()))

    async def run(self) -> None:
        """Keep facts and the rows of sites fresh; never returns."""
        loop = asyncio.get_running_loop()
        # What the store remembered may be old; but who serves for the first second has requests to answer, not all sites to ask.
        next_all = loop.time() + min(_SOON, _SOON_EACH * len(self._targets()))
        while True:
            try:
                async with asyncio.timeout(min(RELOAD * random.uniform(0.8, 1.2), max(0.0, next_all - loop.time()))):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            before = {s.name: s for s in self._sites.all()}
            try:
                await self._sites.reload()
            except CascadeError as e:
                log.warning("sites not read again", error=str(e))
            # An operator touched the row, perhaps at another process: a site taken back after its upgrade is another one.
            self._again |= {s.name for s in self._sites.all() if s.enabled and s != before.get(s.name)}
            again = {t for t in self._again if t == HUB or self._sites.usable(t)}
            self._again &= set(self._targets()) - again  # a site that is down is looked at when it is up again
            if loop.time() >= next_all:
                next_all = loop.time() + REFRESH * random.uniform(0.8, 1.2)
                again = set(self._targets())
            again |= {t for t in self._targets() if t not in self._facts and (t == HUB or self._sites.usable(t))}
            if again:
                await self.refresh(*again)

    def _look_again(self, target: str) -> None:
        self._again.add(target)
        self._due.set()

    def _targets(self) -> list[str]:
        return [HUB, *self._sites.names()]

    async def _learn(self, target: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                facts = await self._ask(target)
        except (SiteError, NativeFault) as e:
            self._failed(target, str(e))
            return
        except TimeoutError:
            self._failed(target, f"no answer within {timeout:g} s")
            return
        self._again.discard(target)
        if facts != (was := self._facts.get(target)):
            offered = self.windows
            self._facts[target] = facts
            self._common.clear()
            if was is not None and facts.windows != was.windows:
                log.warning("microversions changed", site=target, now=facts.windows, before=was.windows)
                if self.windows != offered:  # a site's owner may upgrade, or go back, at any time: users see it, operators must
                    log.warning("microversions offered changed", because=target, now=self.windows, before=offered)
            with contextlib.suppress(Conflict):  # another gateway learnt the same at the same moment
                await self._store.docs.put(f"discovery/{target}", msgspec.to_builtins(facts))

    def _failed(self, target: str, error: str) -> None:
        """Soon once more: Nova may be back, which makes a site count as up, while its Neutron still starts."""
        log.warning("discovery failed", site=target, error=error)
        self._again.add(target)

    async def _ask(self, target: str) -> Facts:
        await self._south.project_id(target, None)  # a login: what is asked below depends on its catalogue
        offered = self._south.base_urls(target)
        services = [s for s in _ENTRIES if s in offered]
        found = await asyncio.gather(*(self._window(target, s) for s in services))
        extensions: frozenset[str] = frozenset()
        if "network" in offered:
            reply = (await self._south.call(target, "network", "GET", "/v2.0/extensions", params=[("fields", "alias")])).expect(200)
            extensions = frozenset(_strings(reply.json(), "extensions", "alias"))
        zones: dict[str, list[str]] = {}
        if target != HUB:
            for service in ("compute", "volume"):
                if service in offered:
                    reply = (await self._south.call(target, service, "GET", "/os-availability-zone")).expect(200)
                    zones[service] = sorted(set(_strings(reply.json(), "availabilityZoneInfo", "zoneName")) - {"internal"})
        windows = {s: w for s, w in zip(services, found, strict=True) if w is not None}
        return Facts(windows=windows, extensions=extensions, zones=zones)

    async def _window(self, target: str, service: str) -> Window | None:
        reply = (await self._south.root(service, "/", target=target)).expect(200, 300)
        doc = reply.json()
        entries = doc.get("versions") if isinstance(doc, dict) else None
        for entry in entries if isinstance(entries, list) else ():
            if str(entry.get("id", "")).startswith(_ENTRIES[service]):
                high = entry.get("version") or entry.get("max_version")
                low = entry.get("min_version")
                try:
                    versions.parse(low), versions.parse(high)
                except (TypeError, ValueError) as e:
                    raise BadReply(target, f"{service}: no microversion window in {entry!r}") from e
                return low, high
        raise BadReply(target, f"{service}: no {_ENTRIES[service]} in the version document")


def _strings(doc: Any, key: str, name: str) -> list[str]:
    rows = doc.get(key) if isinstance(doc, dict) else None
    return [r[name] for r in rows if isinstance(r, dict) and isinstance(r.get(name), str)] if isinstance(rows, list) else []

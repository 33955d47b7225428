"""All state: clouds, their tables of plain rows, clocks and what is still to happen."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sim.misbehave import Modes

Row = dict[str, Any]
"""One object, as its service keeps it: names of the API where they are the same, times as floats."""
Table = dict[str, Row]

SERVICES = {
    "identity": "/identity",
    "compute": "/compute",
    "volume": "/volume",
    "network": "/network",
    "image": "/image",
    "placement": "/placement",
}
"""Service -> prefix at a cloud's port."""

WINDOWS: dict[str, dict[str, tuple[int, int]]] = {
    "2026.2": {"compute": (2, 104), "volume": (3, 71), "placement": (1, 39), "image": (2, 18)},
    "2025.1": {"compute": (2, 100), "volume": (3, 71), "placement": (1, 39), "image": (2, 17)},
}
"""Release -> the newest microversion of each service."""
RELEASES = {"tokyo": "2025.1"}
"""Clouds that are not of the newest release."""
NEWEST = "2026.2"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the world behaves. Times in seconds."""

    host: str = "127.0.0.1"
    gateway_url: str = "http://127.0.0.1:19000"
    region: str = "cascade"
    build: float = 0.4
    """From a server's 202 to ACTIVE; other transitions of servers take half of it."""
    delete: float = 0.2
    volume: float = 0.2
    token_life: float = 86400.0
    servers: int = 0
    """Servers each site has from the start (``sim.population``)."""
    tenants: int = 10
    """Tenants with such servers, per site; each has them in two sites."""


@dataclass
class Cloud:
    """One OpenStack. ``hub``: API services only; no hosts, no backends, no agents."""

    name: str
    port: int
    options: Options
    hub: bool = False
    keystone: Cloud | None = None
    """The cloud whose Keystone this one trusts; None = its own."""
    number: int = 0
    tables: dict[str, Table] = field(default_factory=lambda: defaultdict(dict))
    blobs: dict[str, bytes] = field(default_factory=dict)
    modes: Modes = field(default_factory=Modes)
    offset: float = 0.0
    """Seconds its clock was put ahead."""
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Requests answered, by service."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.name)
        self._pending: set[asyncio.TimerHandle] = set()
        self._last = 0

    @property
    def identity(self) -> Cloud:
        """The cloud whose Keystone knows this cloud's callers."""
        return self.keystone or self

    @property
    def release(self) -> str:
        """The OpenStack release it is of."""
        return RELEASES.get(self.name, NEWEST)

    @property
    def newest(self) -> bool:
        """Whether it has the newest release's policies."""
        return self.release == NEWEST

    @property
    def root(self) -> str:
        """Scheme and authority."""
        return f"http://{self.options.host}:{self.port}"

    def url(self, service: str) -> str:
        """Root of a service's API, without a trailing slash."""
        return self.root + SERVICES[service]

    def window(self, service: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """The oldest and newest microversion of a service."""
        newest = WINDOWS[self.release][service]
        return (newest[0], 0 if service in ("volume", "placement") else 1), newest

    def __getitem__(self, table: str) -> Table:
        return self.tables[table]

    def now(self) -> float:
        """Its clock, in whole seconds as a MySQL database keeps it."""
        return float(int(time.time() + self.skew))

    @property
    def skew(self) -> float:
        """Seconds its clock is ahead, by a fault or because it was put."""
        return self.offset + self.modes.skew

    def serial(self) -> int:
        """Counts up: integer ids."""
        self._last += 1
        return self._last

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something after a while, unless everything is reset before."""

        def run() -> None:
            self._pending.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._pending.add(handle)

    def clear(self) -> None:
        """Forget everything, also what was still to happen."""
        for handle in self._pending:
            handle.cancel()
        self._pending.clear()
        for mutable in (self.tables, self.blobs, self.calls):
            mutable.clear()
        self.modes = Modes()
        self.offset = 0.0
        self.__post_init__()


class World:
    """All clouds by name; the hub's is ``hub``."""

    def __init__(self, sites: list[str], base_port: int, options: Options, shared: frozenset[str] = frozenset()) -> None:
        self.options = options
        hub = Cloud("hub", base_port, options, hub=True)
        self.clouds = {"hub": hub}
        for n, name in enumerate(sites, 1):
            keystone = hub if name in shared else None
            self.clouds[name] = Cloud(name, base_port + n, options, keystone=keystone, number=n)

    @property
    def hub(self) -> Cloud:
        """The hub."""
        return self.clouds["hub"]


def new_id() -> str:
    """An id as Nova, Cinder, Neutron and Glance make it."""
    return str(uuid.uuid4())


def new_hex() -> str:
    """An id as Keystone makes it."""
    return uuid.uuid4().hex


def is_uuid(value: object) -> bool:
    """Whether oslo would take it for a UUID."""
    try:
        return isinstance(value, str) and uuid.UUID(value).hex == value.lower().replace("-", "")
    except ValueError:
        return False


def zulu(t: float | None) -> str | None:
    """``2026-01-02T03:04:05Z``."""
    return None if t is None else datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro(t: float | None, suffix: str = "") -> str | None:
    """``2026-01-02T03:04:05.000000``."""
    return None if t is None else datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + suffix


def parse_time(text: str) -> float:
    """Any of the forms OpenStack takes. Raises ValueError."""
    got = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    return (got if got.tzinfo else got.replace(tzinfo=UTC)).timestamp()

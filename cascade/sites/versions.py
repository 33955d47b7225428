"""Microversions: ``2.100`` is newer than ``2.52``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

Window = tuple[str, str]
"""(lowest, highest), both included."""

_FORMAT = re.compile(r"([1-9]\d*)\.([1-9]\d*|0)")


@lru_cache(maxsize=1024)
def parse(version: str) -> tuple[int, int]:
    """(major, minor), to be compared. Raises ValueError for anything but ``N.M``, ``latest`` included."""
    m = _FORMAT.fullmatch(version)
    if m is None:
        raise ValueError(f"not a microversion: {version!r}")
    return int(m[1]), int(m[2])


def at_least(version: str | None, wanted: str) -> bool:
    """Whether ``version`` is ``wanted`` or newer; no version is older than any."""
    return version is not None and parse(version) >= parse(wanted)


def within(version: str, window: Window) -> bool:
    """Whether a target with this window honours ``version``."""
    return parse(window[0]) <= parse(version) <= parse(window[1])


def common(windows: Iterable[Window]) -> Window | None:
    """What all of them honour; None if that is nothing, or if there is no window at all."""
    all_of = list(windows)
    if not all_of:
        return None
    low = max((w[0] for w in all_of), key=parse)
    high = min((w[1] for w in all_of), key=parse)
    return (low, high) if parse(low) <= parse(high) else None


_RELEASES = {
    "2.53": "Pike", "2.60": "Queens", "2.65": "Rocky", "2.72": "Stein", "2.79": "Train", "2.87": "Ussuri, Victoria",
    "2.88": "Wallaby", "2.90": "Xena, Yoga", "2.93": "Zed", "2.95": "2023.1, 2023.2", "2.96": "2024.1, 2024.2",
    "2.100": "2025.1, 2025.2", "2.103": "2026.1", "2.104": "2026.2",
}  # fmt: skip
"""The highest microversion of Nova's releases, as its own history of the REST API says. Some added none."""


def releases(window: Window | None) -> str | None:
    """The releases a Nova with this window can be of; None where that is not known."""
    return _RELEASES.get(window[1]) if window else None


VERSIONED = frozenset({"compute", "volume", "placement"})
"""The services that have microversions; each is called so in the header too."""


def headers(service: str, version: str) -> dict[str, str]:
    """The request headers that ask ``service`` for ``version``; none for a service without microversions."""
    if service not in VERSIONED:
        return {}
    out = {"openstack-api-version": f"{service} {version}"}
    if service == "compute":
        out["x-openstack-nova-api-version"] = version  # Nova before 2.27 reads only this one
    return out

"""Microversions as numbers. Pure; what is offered north is decided in ``cascade.sites`` and ``cascade.api``."""

from __future__ import annotations

import re

_FORMAT = re.compile(r"([1-9]\d*)\.([1-9]\d*|0)")


def parse(version: str) -> tuple[int, int]:
    """``"2.104"`` -> (2, 104). Raises ValueError for anything else, ``latest`` included."""
    m = _FORMAT.fullmatch(version)
    if m is None:
        raise ValueError(version)
    return int(m[1]), int(m[2])


def at_least(version: str | None, floor: str) -> bool:
    """Whether a request of ``version`` has what came with ``floor``. None (no microversion asked for) has nothing new."""
    return version is not None and parse(version) >= parse(floor)


def raised_to(version: str | None, floor: str) -> str:
    """``version``, or ``floor`` where that is higher."""
    return version if version is not None and at_least(version, floor) else floor

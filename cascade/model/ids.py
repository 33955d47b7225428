"""Integer ids and host names that carry their site, with no table (aggregates, migrations, old hypervisors; hosts)."""

from __future__ import annotations

SITE_BITS = 12
"""4,095 sites. north = site_number + n * 2**SITE_BITS, so that ids stay far below 2**53 (JSON numbers in JavaScript)."""


def north_int(site_number: int, n: int) -> int:
    """The north form of integer id ``n`` of a site. Raises ValueError where it would not fit."""
    if not 0 < site_number < 1 << SITE_BITS or n < 0:
        raise ValueError(f"site {site_number}, id {n}")
    return site_number + (n << SITE_BITS)


def split_int(north: int) -> tuple[int, int]:
    """(site number, the site's id). Site number 0 means: not one of ours."""
    return north & ((1 << SITE_BITS) - 1), north >> SITE_BITS


def north_host(site: str, host: str) -> str:
    """``cmp1`` of site paris is ``cmp1.paris``; Cinder's ``host@backend#pool`` keeps its tail."""
    name, at, tail = host.partition("@")
    return f"{name}.{site}{at}{tail}"


def split_host(host: str) -> tuple[str, str] | None:
    """``(site, host at the site)``, or None where no site is named."""
    name, at, tail = host.partition("@")
    local, dot, site = name.rpartition(".")
    return (site, f"{local}{at}{tail}") if dot and local and site else None

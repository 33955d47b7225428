"""South addresses never go north: every URL of a target is replaced by the gateway's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from cascade.api.core import Core
from cascade.sites.south import service_root


def north_links(core: Core, target: str, body: bytes) -> bytes:
    """``body`` with the target's base URLs (also in escaped JSON form) replaced. Longest first: ports may be prefixes."""
    for south, north in url_map(core, target):
        if south in body:
            body = body.replace(south, north)
    return body


def url_map(core: Core, target: str) -> tuple[tuple[bytes, bytes], ...]:
    """(south base, north base) pairs of one target, without trailing version or slash."""
    return _map(core.conf.public_url.rstrip("/"), tuple(core.south.base_urls(target).items()))


def url_words(core: Core, target: str) -> Mapping[str, str]:
    """The same as text."""
    return _words(url_map(core, target))


@lru_cache(maxsize=4096)
def _map(public: str, urls: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    pairs = []
    for service, url in urls:
        root = service_root(url)
        north = f"{public}/{service}"
        pairs.append((root, north))
        pairs.append((root.replace("/", "\\/"), north.replace("/", "\\/")))
    return tuple((a.encode(), b.encode()) for a, b in sorted(set(pairs), key=lambda p: -len(p[0])))


@lru_cache(maxsize=4096)
def _words(pairs: tuple[tuple[bytes, bytes], ...]) -> Mapping[str, str]:
    return {a.decode(): b.decode() for a, b in pairs}

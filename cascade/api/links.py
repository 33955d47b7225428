"""South addresses never go north: every URL of a target is replaced by the gateway's own."""

from __future__ import annotations

from cascade.api.core import Core
from cascade.sites.south import service_root


def north_links(core: Core, target: str, body: bytes) -> bytes:
    """``body`` with the target's base URLs (also in escaped JSON form) replaced. Longest first: ports may be prefixes."""
    for south, north in url_map(core, target):
        if south in body:
            body = body.replace(south, north)
    return body


def url_map(core: Core, target: str) -> list[tuple[bytes, bytes]]:
    """(south base, north base) pairs of one target, without trailing version or slash."""
    public = core.conf.public_url.rstrip("/")
    pairs = []
    for service, url in core.south.base_urls(target).items():
        root = service_root(url)
        north = f"{public}/{service}"
        pairs.append((root, north))
        pairs.append((root.replace("/", "\\/"), north.replace("/", "\\/")))
    return [(a.encode(), b.encode()) for a, b in sorted(set(pairs), key=lambda p: -len(p[0]))]

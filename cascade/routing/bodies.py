"""What else differs between a site's documents and north ones: zones, hosts, links, integer ids, our own stamps. Pure.

Driven by one small table per service: a key means the same wherever it stands. Ids are ``translate``'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from cascade.model.ids import north_host, north_int, split_host, split_int
from cascade.model.site import Site
from cascade.routing.translate import DEEPEST, OPAQUE

STAMP_TAG = "cascade."
"""Prefix of the tag a server carries at its site (design review 3.2): ``cascade.<id>``."""
STAMP_KEY = "cascade"
"""Metadata key of the same purpose on volumes, snapshots and backups."""
_STAMP_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one service that hold a zone or a host (a string, a list of them, or a map keyed by them)."""

    zones: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()


_ZONES = frozenset({"availability_zone", "availability_zones", "availability_zone_hints", "zone", "zoneName"})
FIELDS: Mapping[str, Fields] = {
    "compute": Fields(
        zones=_ZONES | {"OS-EXT-AZ:availability_zone", "pinned_availability_zone"},
        hosts=frozenset({
            "OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:hypervisor_hostname", "hypervisor_hostname", "host", "hosts", "node",
            "host_name", "source_compute", "dest_compute", "source_node", "dest_node",
        }),
    ),
    "volume": Fields(
        zones=_ZONES,
        hosts=frozenset({"os-vol-host-attr:host", "host", "host_name", "attached_host", "cluster_name", "cluster"}),
    ),
    "network": Fields(zones=_ZONES, hosts=frozenset({"binding:host_id", "host"})),
}  # fmt: skip
_NONE = Fields()
_SPECIAL = OPAQUE | {"tags", "metadata", "href"}
_NESTED = (dict, list, tuple)


def north_zone(site: Site, zone: str) -> str:
    """A site's zone by its north name: the default zone is called as the site is."""
    return site.name if zone == site.default_zone else site.zones.get(zone, zone)


def south_zone(site: Site, zone: str) -> str:
    """The site's own name of a north zone; ``zone:host[:node]`` (Nova's forced host) keeps its tail, hosts made local."""
    name, *forced = zone.split(":", 2)
    own = {north: own for own, north in site.zones.items()} | {site.name: site.default_zone}
    name = own.get(name, name)
    return ":".join([name, *(south_host(site, h) for h in forced)])


def south_host(site: Site, host: str) -> str:
    """The host's name at the site; unchanged where it names another site or none (the site then knows no such host)."""
    found = split_host(host)
    return found[1] if found is not None and found[0] == site.name else host


def to_north(doc: Any, *, site: Site, service: str, urls: Mapping[str, str] | None = None, ints: Collection[str] = ()) -> Any:
    """A copy of a site's decoded document in north terms.

    ``urls``: the site's base URL of each service (no version, no slash at the end) -> the north one. ``ints``: the keys
    that hold integer ids of the site in this document (``id`` of a migration).
    """
    return northward(site=site, service=service, urls=urls, ints=ints)(doc)


def northward(*, site: Site, service: str, urls: Mapping[str, str] | None = None, ints: Collection[str] = ()) -> Side:
    """``to_north`` of one site and service, for who has many documents of it."""
    links = _Links(urls or {}, service)
    return Side(
        fields=FIELDS.get(service, _NONE),
        zone=lambda z: north_zone(site, z),
        host=lambda h: north_host(site.name, h),
        text=links.north,
        href=links.north_href,
        number=lambda n: north_int(site.number, n),
        ints=frozenset(ints),
        unstamp=True,
    )


def to_south(doc: Any, *, site: Site, service: str, ints: Collection[str] = ()) -> Any:
    """A copy of a request's decoded document in the site's terms: zone and host names, integer ids."""
    side = Side(
        fields=FIELDS.get(service, _NONE),
        zone=lambda z: south_zone(site, z),
        host=lambda h: south_host(site, h),
        number=lambda n: _south_int(site, n),
        ints=frozenset(ints),
    )
    return side(doc)


def params_to_south(params: Iterable[tuple[str, str]], *, site: Site, service: str) -> list[tuple[str, str]]:
    """Query parameters with zone and host names the site knows."""
    fields = FIELDS.get(service, _NONE)
    out = []
    for key, value in params:
        if key in fields.zones:
            value = south_zone(site, value)
        elif key in fields.hosts:
            value = south_host(site, value)
        out.append((key, value))
    return out


def unstamped_tags(tags: Iterable[Any]) -> list[Any]:
    """Tags without Cascade's own; a user's tag that merely begins alike stays."""
    return [t for t in tags if not (isinstance(t, str) and t.startswith(STAMP_TAG) and _STAMP_ID.fullmatch(t[len(STAMP_TAG) :]))]


def is_stamp(value: Any) -> bool:
    """Whether a metadata value under ``STAMP_KEY`` is Cascade's own, and not a user's who chose the same key."""
    return isinstance(value, str) and _STAMP_ID.fullmatch(value) is not None


def _unstamped_metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    if is_stamp(metadata.get(STAMP_KEY)):
        return {k: v for k, v in metadata.items() if k != STAMP_KEY}
    return metadata


def _south_int(site: Site, n: int) -> int:
    number, own = split_int(n)
    return own if number == site.number else n


def _same(value: str) -> str:
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One direction: what to do with each sort of value."""

    fields: Fields
    zone: Callable[[str], str]
    host: Callable[[str], str]
    number: Callable[[int], int]
    ints: frozenset[str]
    text: Callable[[str], str] = _same
    """Of strings with a slash alone: there is no URL without."""
    href: Callable[[str], str] = _same
    unstamp: bool = False
    special: frozenset[str] = field(init=False)
    """Keys whose values are more than what they look like."""

    def __post_init__(self) -> None:
        named = _SPECIAL | self.fields.zones | self.fields.hosts | self.ints
        object.__setattr__(self, "special", named)

    def __call__(self, doc: Any) -> Any:
        """A copy of a decoded document."""
        return self.walk(doc, DEEPEST)

    def walk(self, doc: Any, deeper: int) -> Any:
        """A copy. Every value of every row of every list comes by here: most are passed on without a call."""
        if isinstance(doc, str):
            return self.text(doc) if "/" in doc else doc
        if deeper and isinstance(doc, dict):
            out = {}
            for key, value in doc.items():
                if key in self.special:
                    out[key] = self._value(key, value, deeper - 1)
                elif isinstance(value, str):
                    out[key] = self.text(value) if "/" in value else value
                elif isinstance(value, _NESTED):
                    out[key] = self.walk(value, deeper - 1)
                else:
                    out[key] = value
            return out
        if deeper and isinstance(doc, list | tuple):
            return [self.walk(value, deeper - 1) for value in doc]
        return doc

    def _value(self, key: str, value: Any, deeper: int) -> Any:
        if self.unstamp and key == "tags" and isinstance(value, list):
            return unstamped_tags(value)
        if self.unstamp and key == "metadata" and isinstance(value, dict):
            return _unstamped_metadata(value)
        if key in OPAQUE:
            return value
        if key in self.fields.zones:
            return self._names(value, self.zone, deeper)
        if key in self.fields.hosts:
            return self._names(value, self.host, deeper)
        if key in self.ints:
            return self._number(value)
        if key == "href" and isinstance(value, str):
            return self.href(value)
        return self.walk(value, deeper)

    def _names(self, value: Any, name: Callable[[str], str], deeper: int) -> Any:
        if isinstance(value, str):
            return name(value) if value else value
        if isinstance(value, list):
            return [name(v) if isinstance(v, str) and v else self.walk(v, deeper - 1) for v in value]
        if isinstance(value, dict) and name is self.host and value and all(isinstance(v, dict) for v in value.values()):
            return {name(k): self.walk(v, deeper - 1) for k, v in value.items()}
        return self.walk(value, deeper)

    def _number(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | str):
            return value
        if isinstance(value, str):
            return str(self.number(int(value))) if value.isascii() and value.isdigit() else value
        return self.number(value)


class _Links:
    """South URLs made north, wherever they stand in a string."""

    def __init__(self, urls: Mapping[str, str], service: str) -> None:
        self._regex, self._north = _compiled(tuple(sorted(urls.items())))
        self._homes = tuple(sorted(set(urls.values())))
        self._base = next((n for n in self._homes if n.endswith("/" + service)), None)

    def north(self, text: str) -> str:
        if self._regex is None or ("//" not in text and "\\/" not in text):
            return text
        return self._regex.sub(lambda m: self._north[m[1]], text)

    def north_href(self, href: str) -> str:
        """A link, which may also carry an address the site calls itself by but we do not (its public one)."""
        out = self.north(href)
        if out != href or self._base is None or not href.startswith(("http://", "https://")):
            return out
        if any(href == n or href.startswith(n + "/") for n in self._homes):
            return href
        url = urlsplit(href)
        parts = [p for p in url.path.split("/") if p]
        version = next((i for i, p in enumerate(parts) if re.fullmatch(r"v\d+(\.\d+)?", p)), None)
        kept = parts[version:] if version is not None else parts[-2:]
        return "/".join([self._base, *kept]) + (f"?{url.query}" if url.query else "")


@lru_cache(maxsize=512)
def _compiled(urls: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """One regular expression for all bases, longest first; http or https alike, since sites behind a TLS proxy say http."""
    north = {re.sub(r"^https?:", "", south): to for south, to in urls if south}
    if not north:
        return None, {}
    bases = "|".join(re.escape(s) for s in sorted(north, key=lambda s: (-len(s), s)))
    return re.compile(rf"(?<![0-9A-Za-z])https?:({bases})(?![0-9A-Za-z._:-])"), north

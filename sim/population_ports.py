"""Ports nobody made: one for each server, as the hub's Neutron has it and as its copy stands at the server's site.

Each tenant has one network, whose addresses his servers in both of his sites share.
"""

from __future__ import annotations

import heapq
import ipaddress
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from sim.computed import PORT, SERVER, Computed, mixed, number_of, uuid_of
from sim.hosts import DEFAULT_ZONE
from sim.population import host_of, made_at, name_of, shares, tenant
from sim.world import Row, Table

STAMP = "cascade:"
"""In the description of a copy, before the hub's id."""
NETWORK, SUBNET, GROUP = "4e70", "5b4e", "96f0"
"""In the ids of what a tenant's ports are on; numbered as the tenants are."""
_IDS = {"network_id": NETWORK, "fixed_ips": SUBNET, "security_groups": GROUP}
BASE, FIRST = ipaddress.IPv4Address("10.0.0.0"), 16
"""Of every tenant's subnet; the first address of a server. Those before are for routers and sites."""
_FIRST = int(BASE) + FIRST


class Layout:
    """Whose servers are where: those of a site are in one piece for each of its tenants, who has another in a second site."""

    def __init__(self, sites: Mapping[int, str], of_all: int, tenants: int, servers: int) -> None:
        """``sites``: names, by number, of those that have servers, of ``of_all`` sites; so many tenants and servers in each."""
        self.sites, self.of_all, self.servers = dict(sites), of_all, servers
        self.tenants = {n: mine for n, mine in shares(of_all, tenants).items() if n in self.sites}
        self.places: dict[int, list[int]] = {}
        for site, mine in self.tenants.items():
            for one in mine:
                self.places.setdefault(one, []).append(site)
        self.owners = {n: tenant(n)[1] for n in self.places}
        self.projects = {project: n for n, project in self.owners.items()}
        self._cuts = {
            (site, one): range(-(-at * servers // len(mine)), -(-(at + 1) * servers // len(mine)))
            for site, mine in self.tenants.items()
            for at, one in enumerate(mine)
        }
        self._turn = {(site, one): turn for one, places in self.places.items() for turn, site in enumerate(places)}
        widest = max(map(len, self._cuts.values()), default=0)
        self.net = ipaddress.IPv4Network((BASE, 32 - (4 * widest + 2 * FIRST).bit_length()))

    def cut(self, site: int, one: int) -> range:
        """The numbers of a tenant's servers in a site."""
        return self._cuts[site, one]

    def whose(self, site: int, number: int) -> int:
        """The tenant of a server."""
        mine = self.tenants[site]
        return mine[number * len(mine) // self.servers]

    def address(self, site: int, number: int) -> str:
        """The address of a server."""
        key = site, self.whose(site, number)
        address = _FIRST + 2 * (number - self._cuts[key].start) + self._turn[key]
        return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"

    def reserved(self, site: int, one: int) -> str:
        """The address of a tenant's subnet that his site may use by itself."""
        return str(BASE + 2 + self._turn[site, one])

    def at(self, one: int, address: str) -> tuple[int, int] | None:
        """Site and number of the server that has this address of a tenant's."""
        try:
            rank, place = divmod(int(ipaddress.IPv4Address(address)) - _FIRST, 2)
        except ValueError:
            return None
        places = self.places[one]
        if rank < 0 or place >= len(places):
            return None
        mine = self.cut(places[place], one)
        return (places[place], mine[rank]) if rank < len(mine) else None


@lru_cache(maxsize=2)
def layout(sites: tuple[tuple[int, str], ...], of_all: int, tenants: int, servers: int) -> Layout:
    """One for all clouds of a world."""
    return Layout(dict(sites), of_all, tenants, servers)


class Ports(Computed):
    """A table of ports. At a site they are numbered as its servers are, at the hub one site after the other."""

    MARK = PORT

    def __init__(self, site: int, layout: Layout, newest: float) -> None:
        """``site`` 0: the hub."""
        super().__init__(site, layout.servers if site else layout.of_all * layout.servers)
        self.layout, self.newest = layout, newest

    def number(self, ident: str) -> int | None:
        """Not of a site that has no servers."""
        found = super().number(ident)
        return found if found is not None and self._spot(found)[0] in self.layout.sites else None

    def numbers(self) -> Iterable[int]:
        """Of all rows there were in the beginning."""
        return chain.from_iterable(self._ranges())

    def row(self, number: int) -> Row:
        """The port as it was made; at a site with what Nova there wrote on it."""
        site, n = self._spot(number)
        one = self.layout.whose(site, n)
        made, name, hub = made_at(self.newest, n), name_of(site, n), uuid_of(PORT, 0, self._hub(site, n))
        mac = f"{self._hub(site, n):06x}"
        details = {"port_filter": True, "connectivity": "l2", "bridge_name": "br-int", "bound_drivers": {"0": "ovn"}}
        here: Row = {
            "device_owner": f"compute:{DEFAULT_ZONE}", "binding:host_id": host_of(n), "binding:vif_type": "ovs", "status": "ACTIVE",
            "binding:vif_details": details, "binding:profile": {}, "dns_name": name, "description": STAMP + hub,
        }  # fmt: skip
        if not self.site:
            here = {
                "device_owner": f"compute:{self.layout.sites[site]}", "binding:host_id": "", "binding:vif_type": "unbound",
                "status": "DOWN", "binding:vif_details": {}, "binding:profile": {"cascade_made": True}, "dns_name": "",
                "description": "",
            }  # fmt: skip
        return {
            "id": self.ident(number), "name": "", "project_id": self.layout.owners[one], "created_at": made, "updated_at": made,
            "revision_number": 2, "network_id": uuid_of(NETWORK, self.site, one),
            "mac_address": f"fa:16:3e:{mac[:2]}:{mac[2:4]}:{mac[4:]}", "admin_state_up": True,
            "device_id": uuid_of(SERVER, site, n), "allowed_address_pairs": [], "extra_dhcp_opts": [],
            "fixed_ips": [{"subnet_id": uuid_of(SUBNET, self.site, one), "ip_address": self.layout.address(site, n)}],
            "security_groups": [uuid_of(GROUP, self.site, one)], "binding:vnic_type": "normal", "port_security_enabled": True,
            "qos_policy_id": None, "qos_network_policy_id": None, "dns_domain": "", "resource_request": None,
            "ip_allocation": "immediate", "tags": [], **here,
        }  # fmt: skip

    def select(self, having: Mapping[str, Collection[str]], after: str = "") -> Iterator[Row]:
        """By id, after an id: every row that has one of the values under each name, and others. Whoever asks looks closer."""
        own = sorted((r for r in self.kept() if r["id"] > after), key=_id)
        chosen = self._narrow(having)
        if chosen is None:
            order = _by_id(tuple(self._ranges()))
            numbers: Iterator[int] = islice(order, bisect_left(order, int(after[:8] or "0", 16), key=mixed), None)
        else:
            numbers = iter(sorted(chosen, key=mixed))
        return heapq.merge(own, self._computed(n for n in numbers if self.ident(n) > after), key=_id)

    def having(self, name: str, value: str) -> Iterator[Row]:
        """The rows that have this value there, in no order."""
        chosen = self._narrow({name: [value]})
        return _having(chain(self.kept(), self._computed(self.numbers() if chosen is None else chosen)), name, value)

    def count_of(self, project: str) -> int:
        """How many a project has."""
        made = self._narrow({"project_id": [project]}) or ()
        untouched = (n for n in made if n not in self._gone and not dict.__contains__(self, self.ident(n)))
        return sum(1 for _ in _having(self.kept(), "project_id", project)) + sum(1 for _ in untouched)

    def port_at(self, one: int, address: str) -> str | None:
        """The id of the computed port with an address of a tenant's subnet, if it stands here."""
        found = self.layout.at(one, address)
        return None if found is None or self.site not in (0, found[0]) else self.ident(self._at(*found))

    def addressed(self, one: int) -> Iterator[tuple[str, str]]:
        """All such addresses, with the ports."""
        for number in chain.from_iterable(self._of_tenant(one)):
            yield self.layout.address(*self._spot(number)), self.ident(number)

    def _ranges(self) -> list[range]:
        if self.site:
            return [range(self.count)]
        return [range(self._hub(site, 0), self._hub(site, self.layout.servers)) for site in self.layout.sites]

    def _hub(self, site: int, server: int) -> int:
        return (site - 1) * self.layout.servers + server

    def _at(self, site: int, server: int) -> int:
        return server if self.site else self._hub(site, server)

    def _spot(self, number: int) -> tuple[int, int]:
        if self.site:
            return self.site, number
        site, server = divmod(number, self.layout.servers)
        return site + 1, server

    def _of_tenant(self, one: int) -> list[range]:
        cuts = ((site, self.layout.cut(site, one)) for site in self.layout.places[one] if self.site in (0, site))
        return [range(self._at(site, cut.start), self._at(site, cut.stop)) for site, cut in cuts]

    def _narrow(self, having: Mapping[str, Collection[str]]) -> Iterable[int] | None:
        """Numbers of computed rows, among them all that may be meant; None: all."""
        singles = {"id": self.number, "device_id": self._of_server, **({"description": self._of_stamp} if self.site else {})}
        for name, find in singles.items():
            if name in having:
                return {n for v in having[name] if (n := find(v)) is not None}
        if not any(v.startswith("compute:") for v in having.get("device_owner", ("compute:",))):
            return ()
        for name in ("network_id", "fixed_ips", "security_groups", "project_id"):
            if name in having:
                of = {t for v in having[name] if (t := self._tenant(name, v)) is not None}
                return chain.from_iterable(cut for t in of for cut in self._of_tenant(t))
        return None

    def _of_server(self, ident: str) -> int | None:
        try:
            site = self.site or int(ident[15:18], 16)
        except ValueError:
            return None
        found = number_of(SERVER, site, ident)
        return self._at(site, found) if found is not None and found < self.layout.servers and site in self.layout.sites else None

    def _of_stamp(self, text: str) -> int | None:
        found = number_of(PORT, 0, text.removeprefix(STAMP))
        site, server = divmod(found, self.layout.servers) if found is not None else (0, 0)
        return server if found is not None and site + 1 == self.site else None

    def _tenant(self, name: str, value: str) -> int | None:
        if name == "project_id":
            found = self.layout.projects.get(value)
        else:
            found = number_of(_IDS[name], self.site, value.removeprefix("subnet_id="))
        return found if found in self.layout.places and self._of_tenant(found) else None


class Leases(dict[str, Row]):
    """Who has which address of a tenant's subnet: the computed ports, and what was given out since."""

    def __init__(self, ports: Ports, one: int) -> None:
        super().__init__()
        self._ports, self._one = ports, one
        self._free: set[str] = set()

    def __missing__(self, address: str) -> Row:
        port = None if address in self._free else self._ports.port_at(self._one, address)
        if port is None:
            raise KeyError(address)
        return {"port": port}

    def get(self, address: str, default: Any = None) -> Any:
        """The holder, or the default."""
        try:
            return self[address]
        except KeyError:
            return default

    def __contains__(self, address: object) -> bool:
        return self.get(str(address)) is not None

    def pop(self, address: str, default: Any = None) -> Any:
        """The holder, who has it no more."""
        found = self.get(address, default)
        super().pop(address, None)
        self._free.add(address)
        return found

    def values(self) -> Iterable[Row]:  # type: ignore[override]
        """All holders."""
        yield from super().values()
        yield from ({"port": p} for a, p in self._ports.addressed(self._one) if a not in self._free)


def ports_having(table: Table, name: str, value: str) -> Iterator[Row]:
    """A cloud's ports that have this value there; of a list, among others."""
    return table.having(name, value) if isinstance(table, Ports) else _having(table.values(), name, value)


def ports_of_project(table: Table, project: str) -> int:
    """How many ports a project has."""
    return table.count_of(project) if isinstance(table, Ports) else sum(1 for _ in _having(table.values(), "project_id", project))


def _having(rows: Iterable[Row], name: str, value: str) -> Iterator[Row]:
    return (r for r in rows if (value in r[name] if isinstance(r[name], list) else r[name] == value))


def _id(row: Row) -> str:
    return str(row["id"])


@lru_cache(maxsize=4)
def _by_id(ranges: tuple[range, ...]) -> Sequence[int]:
    """Numbers in the order of their ids; four bytes each, the same for all sites."""
    return array("I", sorted(chain.from_iterable(ranges), key=mixed))

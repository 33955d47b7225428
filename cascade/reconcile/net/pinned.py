"""Routers whose zone hints name one site: they stay there, and the networks on them come to them over the WAN.

Guests of a network on such a router are told the hub's gateway address in every site, since it is answered in that one
only. Which networks those are is written down, so that a subnet made in another site need not look for its router first.
"""

from __future__ import annotations

from collections.abc import Collection

from cascade.store import Store


class Pinned:
    """What is known of routers that stay in one site."""

    def __init__(self, store: Store) -> None:
        self._docs = store.docs

    async def site(self, network: str) -> str | None:
        """Where the only router of a network stands; None for a network whose routers go wherever it goes."""
        known = await self._docs.get(_network(network))
        return str(known) if known else None

    async def moves(self, router: str, site: str | None, networks: Collection[str]) -> list[str]:
        """Networks of which ``keep`` with the same arguments changes what is known."""
        before = await self._docs.get(_router(router)) or []
        after = networks if site is not None else ()
        return [n for n in after if await self.site(n) != site] + [n for n in before if n not in after]

    async def keep(self, router: str, site: str | None, networks: Collection[str]) -> None:
        """The router stays in ``site`` (None: nowhere in particular) and has these networks, which are at home there.

        May be repeated at any point: the router's own list names more than there is while this is under way.
        """
        before = await self._docs.get(_router(router)) or []
        after = sorted(set(networks)) if site is not None else []
        await self._docs.put(_router(router), sorted({*before, *after}))
        for net in after:
            await self._docs.put(home(net), site)
            await self._docs.put(_network(net), site)
        for net in (n for n in before if n not in after):
            await self._docs.drop(_network(net))
        if after:
            await self._docs.put(_router(router), after)
        else:
            await self._docs.drop(_router(router))


def home(network: str) -> str:
    """The key of the site whose router answers a network's gateway address."""
    return f"network.home/{network}"


def _network(network: str) -> str:
    return f"network.pinned/{network}"


def _router(router: str) -> str:
    return f"router.pins/{router}"

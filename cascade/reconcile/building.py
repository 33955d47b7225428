"""Build requests to their end: servers that were accepted before their image's bits were at the site (ADR 10).

One is a ``server.create`` intent that has the server's north id from the start, and these states before the usual ones:

    waiting ──> sending ──> accepted ...      the bits are there, the one POST; found by its stamp if its answer is lost
       │  └──────┴────────> failed            the copy failed, or the site refused: shown in ERROR until it is deleted
       └──────────────────> withdrawn         deleted before it was sent

Each step is a compare-and-swap of the state, so a delete in any gateway process and the POST in another exclude each other.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from cascade.model.caller import Caller
from cascade.model.crash import point
from cascade.model.errors import BadReply, Conflict, Fault, NativeFault, SiteUnreachable
from cascade.reconcile.copies import NotYet
from cascade.reconcile.images import Images
from cascade.reconcile.ports import Ports
from cascade.routing import translate
from cascade.routing.bodies import STAMP_TAG
from cascade.sites.buildrequest import BuildRequest
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.intents import FAILED, Intent
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

WAITING, SENDING, WITHDRAWN = "waiting", "sending", "withdrawn"
SHOWN = (WAITING, SENDING, FAILED)
"""States in which the server is shown from its intent."""
LATER = "later"
"""State of a delete of such a server: if it is at its site after all, the site has not been told yet."""
LOST_AFTER = 120.0
"""Seconds after which a POST whose stamp is nowhere at the site is taken as never having arrived, and made again."""
_SEALED, _FAULT = "sealed", "fault"


Stamped = Callable[[Intent], Awaitable[list[str]]]
"""The site's ids of what carries an intent's stamp."""


def north_id(intent: str) -> str:
    """The id a build request's server has north: its intent's, in Nova's spelling."""
    return str(UUID(intent))


def stamp(intent: Intent) -> str:
    """The tag by which a create's server is found at its site; with dashes it is the server's north id as well."""
    return STAMP_TAG + (north_id(intent.id) if _SEALED in intent.body else intent.id)


def north_of(tags: Iterable[str]) -> str | None:
    """The north id that a site's server bears, where it is not the site's own."""
    ids = (t.removeprefix(STAMP_TAG) for t in tags if t.startswith(STAMP_TAG))
    return next((i for i in ids if len(i) == 36 and {i} == translate.tokens_text(i)), None)


class Building:
    """Steps of build requests; ``clock`` is Unix time."""

    def __init__(self, store: Store, south: South, images: Images, ports: Ports, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._south, self._images, self._ports, self._clock = store, south, images, ports, clock
        self._callers: dict[str, Caller] = {}
        """Whose token this process still has: a site that shares the hub's Keystone takes no other."""

    async def begin(self, intent: Intent, request: BuildRequest, caller: Caller, *, user_ports: list[str]) -> str:
        """Accept; returns the server's north id. Raises Conflict where the intent is not this process' any more."""
        ident = north_id(intent.id)
        body = {"user_ports": user_ports, _SEALED: self._south.seals.seal(request)}
        await self._store.promise(intent, WAITING, ident, body)
        self._callers[intent.id] = caller
        return ident

    def read(self, intent: Intent) -> BuildRequest | None:
        """What was asked; None where the master key is not the one it was sealed with."""
        return self._south.seals.open(str(intent.body.get(_SEALED)))

    @staticmethod
    def fault(intent: Intent) -> dict[str, Any] | None:
        """``code``, ``message`` and ``at`` (Unix time) of one that failed."""
        found: dict[str, Any] | None = intent.body.get(_FAULT)
        return found

    async def step(self, intent: Intent, stamped: Stamped) -> None:
        """Look once; safe to repeat at any point. Raises SiteError: to be looked at again."""
        if intent.state == WAITING:
            await self._send(intent)
        elif intent.state == SENDING:
            found = await stamped(intent)
            if found:
                await self._arrived(intent, found[0])
            elif self._clock() - intent.updated > LOST_AFTER:
                await self._store.intents.swap(intent.id, (SENDING,), WAITING)

    async def withdraw(self, create: Intent) -> bool:
        """Never to be sent, from now on; False where it may have been."""
        if create.state != WITHDRAWN and not await self._store.intents.swap(create.id, (WAITING, FAILED), WITHDRAWN, mine=False):
            return False
        self._callers.pop(create.id, None)
        return True

    async def _send(self, intent: Intent) -> None:
        request = self.read(intent)
        if request is None:
            return await self._fail(intent, Fault(500, "What was asked for cannot be read any more."))
        try:
            known = {i: await self._images.arrived(intent.site, i, intent.project_id) for i in request.images}
        except NotYet:
            return None
        except (Fault, NativeFault) as e:
            return await self._fail(intent, e)
        if not await self._store.intents.swap(intent.id, (WAITING,), SENDING):
            return None  # deleted meanwhile, or another process sees to it
        point("server.build:sending")
        body = translate.rewrite(request.body, known)
        who = self._callers.get(intent.id) or request.caller()
        try:
            reply = await self._south.call(intent.site, "compute", "POST", "/servers", as_=who, json=body, version=request.version)
        except SiteUnreachable:
            await self._store.intents.swap(intent.id, (SENDING,), WAITING)
            raise
        except Fault as e:
            return await self._fail(intent, e)
        if reply.status == 202:
            point("server.build:sent")
            await self._arrived(intent, reply.json()["server"]["id"])
        elif reply.status == 401:  # of a site that shares the hub's Keystone; the token may be no more, or died with a process
            message = f"The token this server was asked for with ended before its image was in availability zone {intent.site}."
            await self._fail(intent, Fault(401, message))
        elif reply.status <= 500:
            await self._fail(intent, NativeFault(reply.status, reply.body, reply.headers, intent.site))
        else:  # a proxy's word, which says nothing of what became of it: the stamp will
            raise BadReply(intent.site, f"status {reply.status} for a build request")
        return None

    async def _arrived(self, intent: Intent, site_id: str) -> None:
        """The site has it: from here on the north id is one of a pair."""
        ident = north_id(intent.id)
        pair = Pair(kind="server", hub_id=ident, site=intent.site, site_id=site_id, project_id=intent.project_id)
        with suppress(Conflict):
            await self._store.pairs.put(pair)
        point("server.build:paired")
        accepted = await self._store.intents.swap(intent.id, (SENDING,), "accepted", mine=False)
        self._callers.pop(intent.id, None)
        if await self._store.pairs.at("server", ident, intent.site) != site_id or (
            not accepted and await self._store.index.get("server", ident) is None
        ):  # it came so late that another was made in its place, or it was deleted
            log.warning("a late server goes", site=intent.site, server=site_id, intent=intent.id)
            path = f"/servers/{site_id}"
            (await self._south.call(intent.site, "compute", "DELETE", path, timeout=10)).expect(204, 404)

    async def _fail(self, intent: Intent, why: Fault | NativeFault) -> None:
        """ERROR from now on. Its ports go as Nova lets them go; what it counts for stays counted until it is deleted."""
        message = (why.message if isinstance(why, Fault) else why.message()) or "The request was refused."
        pairs = await self._store.pairs.to_hub(intent.site, translate.tokens_text(message))
        message = translate.rewrite_text(message, {k: p.hub_id for k, p in pairs.items()})
        await self._ports.release(intent.id, intent.site, keep=set(intent.body.get("user_ports", ())))
        fault = {"code": why.status, "message": message, "at": self._clock()}
        body = {**intent.body, _FAULT: fault}
        if await self._store.intents.swap(intent.id, (WAITING, SENDING), FAILED, body=body, error=message):
            log.warning("build request failed", intent=intent.id, site=intent.site, status=why.status, error=message)
        self._callers.pop(intent.id, None)

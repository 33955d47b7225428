"""Intents to their end: what was started through us is watched until it is terminal, then nothing is asked any more.

One task per site with open intents, one ``changes-since`` list per round however many intents there are, with
back-off (design review 3.5). A quiet cloud runs none of this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from cascade.model.crash import point
from cascade.model.errors import CascadeError, Conflict, Fault, SiteError, SiteUnreachable, StoreError
from cascade.model.reply import Reply
from cascade.reconcile import building
from cascade.reconcile.building import Building
from cascade.reconcile.images import Images
from cascade.reconcile.ports import Ports
from cascade.reconcile.presence import Presence
from cascade.routing.bodies import STAMP_KEY
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.index import IndexEntry
from cascade.store.intents import Intent
from cascade.tracing import Recorder, current

log = structlog.get_logger(__name__)

SKEW = 60.0
"""Seconds a site's clock may be away from ours before changes are missed; the list is small, so be generous."""
FIRST, LAST, WORST = 0.4, 5.0, 60.0
"""Seconds between two rounds, growing to ``LAST`` while nothing ends, to ``WORST`` while site or store fail."""
LOST_AFTER = 20.0
"""Seconds after which a create whose stamp is nowhere at a reachable site is taken as never having arrived."""
UNSURE = 120.0
"""The same where the site was silent to the create itself: it may still be at work on it."""
GIVEN_UP = 3600.0
"""Seconds without a step after which a build or a delete is watched no more; the next look at the thing settles it."""
_PATHS = {"server": ("compute", "/servers"), "volume": ("volume", "/volumes"), "snapshot": ("volume", "/snapshots"),
          "backup": ("volume", "/backups"), "group": ("volume", "/groups"),
          "group_snapshot": ("volume", "/group_snapshots"), "attachment": ("volume", "/attachments"),
          "transfer": ("volume", "/volume-transfers")}  # fmt: skip
_STAMPED = frozenset({"server", "volume", "snapshot"})
_SENT = ("posting", "unsure", "accepted")
"""States of a create that may have reached the site."""
_NOT_THERE = (building.WAITING, building.SENDING, building.WITHDRAWN)
"""States of a build request, whose server is not known to be at its site."""
_ELSEWHERE = ("image.", "network.")
"""Intents that other reconcilers see to."""


class Watch:
    """Finishes intents. Every step may be repeated: whoever takes an intent over does the same again."""

    def __init__(
        self, store: Store, south: South, sites: Sites, ports: Ports, images: Images, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._south, self._sites, self._ports, self._clock = store, south, sites, ports, clock
        self.building = Building(store, south, images, ports, clock=clock)
        images.copies.ended.append(self.wake)
        self.recorder = Recorder(store.traces.add, StoreError, on=False)
        """Of the process, once it serves."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._poke: dict[str, asyncio.Event] = {}
        self._at_work: set[str] = set()
        self._doubt: set[str] = set()
        self.presence = Presence(store)

    # -- what handlers call ------------------------------------------------------------------------------------------

    @contextmanager
    def at_work(self, intent: Intent) -> Iterator[None]:
        """A request of this process sees to the intent itself; afterwards the watch does, if it is still open.

        However the request ends: cancelled with its connection, it says nothing any more.
        """
        self._at_work.add(intent.id)
        try:
            yield
        finally:
            self._at_work.discard(intent.id)
            self.wake(intent.site)

    async def unsure(self, intent: Intent) -> None:
        """The site was silent to a create: it is looked for longer than one that was refused a connection."""
        await self._store.intents.update(intent.id, state="unsure")
        self.wake(intent.site)

    async def refused(self, intent: Intent, req: Any) -> None:
        """The site would not delete. An intent that an earlier request opened stays: that delete may be under way."""
        if intent.request_id == req.request_id:
            await self._store.intents.close(intent.id)

    async def accepted(self, intent: Intent, server: str) -> None:
        """The site took the create: from here on the thing is in the index and counted under its own id.

        Raises Fault 503 where this process was taken for dead and the create was taken back meanwhile: the thing goes.
        """
        kind = intent.verb.split(".")[0]
        try:
            await self._store.intents.advance(intent.id, "accepted")
        except Conflict as e:
            if not await self._theirs(intent, kind, server):
                raise Fault(503, "The request was interrupted; try again.", headers={"Retry-After": "1"}) from e
            return
        await self._store.index.add(
            kind, server, site=intent.site, project_id=intent.project_id, user_id=intent.user_id, created=self._clock()
        )
        await self._store.ledger.assign(intent.id, [server])
        await self._store.intents.update(intent.id, state="accepted", resource_id=server)
        self.wake(intent.site)

    async def _theirs(self, intent: Intent, kind: str, ident: str) -> bool:
        """Whether the process that took an intent over adopted the thing, or will as soon as it looks."""
        try:
            now = await self._store.intents.get(intent.id)
        except Conflict:  # watched to its end
            return await self._store.index.get(kind, ident) is not None
        return now.resource_id == ident or (now.resource_id is None and now.state in _SENT and kind in _STAMPED)

    async def begin_delete(self, verb: str, entry: IndexEntry, request_id: str, state: str = "new") -> Intent:
        """One delete intent per thing, however often the client asks."""
        for intent in await self._store.intents.by_resource(entry.id):
            if intent.verb == verb:
                return intent
        return await self._store.intents.open(
            verb, site=entry.site, project_id=entry.project_id, user_id=entry.user_id, resource_id=entry.id,
            request_id=request_id, body={}, state=state,
        )  # fmt: skip

    async def withdraw(self, entry: IndexEntry, request_id: str) -> None:
        """Delete a server that may not be at its site yet; what cannot be done now, the watch does."""
        intent = await self.begin_delete("server.delete", entry, request_id, building.LATER)
        point("server.withdraw:intent")
        try:
            await self._withdraw(intent)
        except SiteError as e:
            log.warning("clean-up is left to the watch", intent=intent.id, error=str(e))
        self.wake(entry.site)

    async def ended(self, entry: IndexEntry) -> None:
        """A delete the site carried out at once."""
        await self._gone(entry.kind, entry.id, entry.site)

    async def missing(self, entry: IndexEntry) -> None:
        """A site answered 404 for something indexed. Believed only with a delete of ours, or when confirmed."""
        for intent in await self._store.intents.by_resource(entry.id):
            if intent.verb.endswith(".delete"):
                await self._gone(entry.kind, entry.id, entry.site)
                return
        # One 404 proves nothing: it may be a policy's. The service account's own look decides.
        if entry.kind in _PATHS and await self._status(entry.kind, entry.site, entry.id) == "gone":
            log.warning("gone without us", kind=entry.kind, id=entry.id, site=entry.site)
            await self._gone(entry.kind, entry.id, entry.site)

    async def noticed(self, entry: IndexEntry) -> None:
        """The same for a request that is answered all the same: the hub, or by now the site, may not answer.

        What cannot be tidied up now is by the rounds, or by the audit.
        """
        try:
            await self.missing(entry)
        except SiteError as e:
            log.warning("gone, and not tidied up yet", kind=entry.kind, id=entry.id, error=str(e))

    async def find_stamped(self, intent: Intent) -> Reply | None:
        """The site's server with the intent's stamp, as a 202 answer; None if there is none or the site is silent."""
        try:
            found = await self._stamped(intent)
        except SiteError:
            return None
        if not found:
            return None
        import msgspec

        body = msgspec.json.encode({"server": {"id": found[0], "links": []}})
        return Reply(intent.site, 202, {"content-type": "application/json"}, body)

    async def discard(self, server: str) -> None:
        """Take back an accepted server of a multi-create that could not be completed."""
        entry = await self._store.index.get("server", server)
        if entry is not None:
            await self.withdraw(entry, "")

    async def detached(self, entry: IndexEntry, port: str) -> None:
        """After an accepted detach: once the site's Nova has let go, the hub's port follows."""
        there = await self._store.pairs.at("server", entry.id, entry.site)
        for _ in range(60):
            reply = await self._south.call(entry.site, "compute", "GET", f"/servers/{there}/os-interface", timeout=10)
            pair = await self._store.pairs.get("port", port, entry.site)
            attached = {p["port_id"] for p in reply.json()["interfaceAttachments"]} if reply.ok else set()
            if pair is None or pair.site_id not in attached:
                for hub_port in await self._ports.of_device(entry.id):
                    if hub_port["id"] == port:
                        await self._ports.drop(hub_port, entry.site, delete=self._ports.made(hub_port))
                return
            await asyncio.sleep(0.5)

    # -- the rounds --------------------------------------------------------------------------------------------------

    def wake(self, site: str) -> None:
        """There is something open at ``site``: start looking, or look sooner."""
        self._poke.setdefault(site, asyncio.Event()).set()
        task = self._running.get(site)
        if task is None or task.done():
            self._running[site] = asyncio.create_task(self._rounds(site), name=f"watch {site}")

    async def recover(self) -> None:
        """At start, and ever after: whatever a process that is gone left open."""
        await self.presence.start(self.wake)

    async def close(self) -> None:
        """Stop watching; the intents stay."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self.presence.close()

    async def _rounds(self, site: str) -> None:
        current.set(None)  # it was begun by one request and works for all
        wait = FIRST
        while True:
            ended, most = 0, LAST
            try:
                pending = [i for i in await self._store.intents.unsettled(site) if not i.verb.startswith(_ELSEWHERE)]
                pending = await self.presence.mine(pending)
                if not pending:
                    return
                ended = await self._round(site, pending)
            except CascadeError as e:
                most = WORST
                log.warning("watch waits", site=site, error=str(e), again_in=round(min(most, wait * 1.6), 1))
            wait = FIRST if ended else min(most, wait * 1.6)
            if await self._pause(site, wait):
                wait = FIRST

    async def _pause(self, site: str, seconds: float) -> bool:
        """Whether something new was opened before the time was over."""
        poke = self._poke.setdefault(site, asyncio.Event())
        poke.clear()
        try:
            await asyncio.wait_for(poke.wait(), seconds)
        except TimeoutError:
            return False
        await asyncio.sleep(FIRST / 2)
        return True

    async def _round(self, site: str, pending: list[Intent]) -> int:
        """One look at everything open; returns how many ended. One that fails does not keep the others waiting."""
        if not self._sites.usable(site):
            raise SiteUnreachable(site, "down")
        known = [i for i in pending if i.resource_id and i.state not in _NOT_THERE]
        servers = [i for i in known if i.verb.startswith("server.")]
        seen: dict[str, str] = {}
        if len(servers) > 2:
            seen = await self._changed(site, min(i.created for i in servers))
        ended = 0
        for intent in pending:
            try:
                with self.recorder.continued(intent.request_id):
                    ended += await self._step(intent, seen)
            except CascadeError as e:
                if isinstance(e, SiteUnreachable) and e.target == site:
                    raise  # it would be the same for all others
                log.warning("intent not settled now", intent=intent.id, verb=intent.verb, site=site, error=str(e))
            except Exception:  # a bug met by one intent must not leave all others of the site unwatched
                log.exception("bug in the watch", intent=intent.id, verb=intent.verb, site=site)
        return ended

    async def _step(self, intent: Intent, seen: dict[str, str]) -> int:
        kind, verb = intent.verb.split(".", 1)
        if intent.resource_id is None:
            return await self._settle(intent, kind)
        if intent.state == building.LATER:
            return await self._withdraw(intent)
        if intent.state in _NOT_THERE:
            await self.building.step(intent, self._stamped)
            return 0
        if kind not in _PATHS:
            return await self._end(intent)
        status = seen.get(intent.resource_id) or await self._status(kind, intent.site, intent.resource_id)
        if status == "gone":
            if verb == "create" and intent.id not in self._doubt:
                self._doubt.add(intent.id)  # one 404 right after a 202 proves nothing: look again
                return 0
            self._doubt.discard(intent.id)
            await self._gone(kind, intent.resource_id, intent.site)
            return 1
        self._doubt.discard(intent.id)
        ended = await self._created(intent, kind, status) if verb == "create" else 0
        # A delete that failed at the site: the thing is still there and still counted; the client sees its state.
        if not ended and ((verb != "create" and status.startswith("error")) or self._clock() - intent.updated > GIVEN_UP):
            ended = await self._end(intent)
        return ended

    async def _created(self, intent: Intent, kind: str, status: str) -> int:
        """Ports get the server's id as soon as there is one; the intent ends with the build."""
        assert intent.resource_id is not None
        if kind == "server" and intent.state != "owned":
            await self._ports.own(intent.id, intent.resource_id, intent.site, mine=set(intent.body.get("user_ports", ())))
            await self._store.intents.update(intent.id, state="owned")
        if status in ("build", "creating", "downloading", "uploading"):
            return 0
        if kind in ("volume", "snapshot"):  # the request takes the stamp away, unless it died before
            path = f"{_PATHS[kind][1]}/{intent.resource_id}/metadata/{STAMP_KEY}"
            (await self._south.call(intent.site, "volume", "DELETE", path, version="3.0", timeout=10)).expect(200, 404)
        return await self._end(intent)

    async def _withdraw(self, intent: Intent) -> int:
        """A delete whose server may not have been sent to its site yet, or only now arrives there."""
        ident = intent.resource_id or ""
        creates = [i for i in await self._store.intents.by_resource(ident) if i.verb == "server.create"]
        if any([await self.building.withdraw(i) for i in creates]):
            await self._gone("server", ident, intent.site)
            return 1
        if not any(i.state in _NOT_THERE for i in creates):
            path = f"/servers/{await self._store.pairs.at('server', ident, intent.site)}"
            (await self._south.call(intent.site, "compute", "DELETE", path, timeout=10)).expect(204, 404)
            await self._store.intents.update(intent.id, state="sent")
        return 0

    async def _end(self, intent: Intent) -> int:
        await self._store.intents.close(intent.id)
        return 1

    async def _settle(self, intent: Intent, kind: str) -> int:
        """A create that never learned its id: found by its stamp, or taken back.

        What carries no stamp is known when it is first seen (``api.adopt``); here only its reservation ends.
        """
        age = self._clock() - intent.updated
        if intent.id in self._at_work or (intent.owner == self._store.owner and age < 2.0):
            return 0
        if intent.state in _SENT:
            found = await self._stamped(intent) if kind in _STAMPED else []
            if found:
                await self.accepted(intent, found[0])
                return 0
            if age < (UNSURE if intent.state == "unsure" else LOST_AFTER):
                return 0
        await self._store.intents.advance(intent.id, "undo")  # from here on it is not to be adopted, whoever still tries
        if kind == "server":
            await self._ports.release(intent.id, intent.site, keep=set(intent.body.get("user_ports", ())))
        await self._store.ledger.release(intent.id)
        log.info("create taken back", intent=intent.id, verb=intent.verb, site=intent.site)
        return await self._end(intent)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _stamped(self, intent: Intent) -> list[str]:
        kind = intent.verb.split(".")[0]
        service, path = _PATHS[kind]
        if kind == "server":
            params = [("all_tenants", "1"), ("tags", building.stamp(intent))]
            version = "2.52"
        else:
            params, version = [("all_tenants", "1"), ("metadata", f"{{'cascade': '{intent.id}'}}")], "3.60"
        reply = await self._south.call(intent.site, service, "GET", path, params=params, version=version, timeout=10)
        return [row["id"] for row in reply.expect(200).json()[f"{kind}s"]]

    async def _status(self, kind: str, site: str, ident: str) -> str:
        """``gone``, or the thing's status in lower case."""
        service, path = _PATHS[kind]
        there = await self._store.pairs.at(kind, ident, site)
        reply = await self._south.call(
            site, service, "GET", f"{path}/{there}", version="2.52" if service == "compute" else "3.60", timeout=10
        )
        if reply.status == 404:
            return "gone"
        status = str(reply.expect(200).json()[kind].get("status", "available")).lower()  # transfers have none
        return "gone" if status in ("deleted", "soft_deleted") else status

    async def _changed(self, site: str, since: float) -> dict[str, str]:
        stamp = datetime.fromtimestamp(since - SKEW, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        params = [("all_tenants", "1"), ("changes-since", stamp), ("limit", "1000")]
        reply = await self._south.call(site, "compute", "GET", "/servers/detail", params=params, version="2.52", timeout=10)
        rows = reply.expect(200).json()["servers"]
        pairs = await self._store.pairs.to_hub(site, [r["id"] for r in rows])
        north = {r["id"]: pairs[r["id"]].hub_id if r["id"] in pairs else r["id"] for r in rows}
        return {north[r["id"]]: "gone" if r["status"] == "DELETED" else r["status"].lower() for r in rows}

    async def _gone(self, kind: str, ident: str, site: str) -> None:
        """The end of a thing: its ports, its place in the ledger and the index, its intents."""
        intents = await self._store.intents.by_resource(ident)
        if kind == "server":
            for intent in intents:  # before the server's own: a port that gets its id meanwhile is then found there
                if intent.verb == "server.create":
                    await self._ports.release(intent.id, intent.site, keep=set(intent.body.get("user_ports", ())))
            await self._ports.release(ident, site, keep=None)
        await self._store.ledger.release(ident)
        await self._store.index.tombstone(kind, ident)
        for intent in intents:
            await self._store.intents.close(intent.id)

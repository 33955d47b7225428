"""Intents: what was begun and must be ended, whatever happens to the process that began it. No secret is ever in one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict
from cascade.store.schema import intents as T
from cascade.store.session import Session

FAILED = "failed"
"""State of one that ended badly and is kept because what it stands for is still shown; nothing is left to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """One. ``verb``: ``server.create``, ``volume.delete``, ``image.born``... ``owner``: the process at work on it."""

    id: str
    verb: str
    state: str
    site: str
    project_id: str
    user_id: str
    resource_id: str | None
    request_id: str
    body: Mapping[str, Any]
    created: float
    updated: float
    owner: str
    epoch: int
    until: float
    error: str | None


class Intents:
    """Queries over intents."""

    def __init__(self, session: Session, owner: str) -> None:
        self._s, self._owner = session, owner

    def new(
        self,
        verb: str,
        *,
        site: str,
        project_id: str,
        user_id: str,
        request_id: str,
        body: Mapping[str, Any],
        resource_id: str | None = None,
        state: str = "new",
    ) -> Intent:
        """A value not yet stored."""
        now = time.time()
        return Intent(
            id=uuid.uuid4().hex, verb=verb, state=state, site=site, project_id=project_id, user_id=user_id, resource_id=resource_id,
            request_id=request_id, body=dict(body), created=now, updated=now, owner=self._owner, epoch=1, until=0.0, error=None,
        )  # fmt: skip

    async def open(
        self,
        verb: str,
        *,
        site: str,
        project_id: str,
        user_id: str,
        request_id: str,
        body: Mapping[str, Any],
        resource_id: str | None = None,
        state: str = "new",
    ) -> Intent:
        """Store a new one."""
        intent = self.new(
            verb, site=site, project_id=project_id, user_id=user_id, request_id=request_id, body=body, resource_id=resource_id,
            state=state,
        )  # fmt: skip

        async def work(c: AsyncConnection) -> None:
            await insert(c, intent)

        await self._s.write(work)
        return intent

    async def update(
        self,
        id: str,
        *,
        state: str | None = None,
        resource_id: str | None = None,
        body: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Change what is given. An intent closed meanwhile stays closed."""
        values: dict[str, Any] = {"updated": time.time()}
        for key, value in (
            ("state", state),
            ("resource_id", resource_id),
            ("error", error),
            ("body", None if body is None else dict(body)),
        ):
            if value is not None:
                values[key] = value

        async def work(c: AsyncConnection) -> None:
            await c.execute(update(T).where(T.c.id == id).values(**values))

        await self._s.write(work)

    async def advance(self, id: str, state: str) -> None:
        """The step before something outside is done in its name. Raises Conflict where it is not this process' any more."""

        async def work(c: AsyncConnection) -> None:
            await advance(c, id, self._owner, state=state)

        await self._s.write(work)

    async def swap(self, id: str, old: Collection[str], new: str, *, mine: bool = True, **values: Any) -> bool:
        """From one of the ``old`` states to ``new``, with other columns' ``values``; False where another was faster.

        ``mine``: only as the process that sees to it.
        """

        async def work(c: AsyncConnection) -> bool:
            q = update(T).where(T.c.id == id, T.c.state.in_(old)).values(state=new, updated=time.time(), **values)
            return bool((await c.execute(q.where(T.c.owner == self._owner) if mine else q)).rowcount)

        return await self._s.write(work)

    async def close(self, id: str) -> None:
        """Ended; idempotent."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.id == id))

        await self._s.write(work)

    async def get(self, id: str) -> Intent:
        """One; raises Conflict if it was closed."""
        found = await self.find(id)
        if found is None:
            raise Conflict(f"intent {id} is closed")
        return found

    async def pending(self, site: str | None = None, verb: str | None = None) -> list[Intent]:
        """Open ones, oldest first."""
        q = select(T)
        if site is not None:
            q = q.where(T.c.site == site)
        if verb is not None:
            q = q.where(T.c.verb == verb)
        return await self._rows(q.order_by(T.c.created).limit(10_000))

    async def unsettled(self, site: str) -> list[Intent]:
        """What is still to be done at a site, oldest first."""
        return await self._rows(select(T).where(T.c.site == site, T.c.state != FAILED).order_by(T.c.created).limit(10_000))

    async def find(self, id: str) -> Intent | None:
        """One, if it is open."""
        return next(iter(await self._rows(select(T).where(T.c.id == id))), None)

    async def in_state(self, verb: str, states: Collection[str], project_id: str | None) -> list[Intent]:
        """Open ones of a verb in some states, of one project (None: of all)."""
        q = select(T).where(T.c.verb == verb, T.c.state.in_(states))
        return await self._rows(q if project_id is None else q.where(T.c.project_id == project_id))

    async def by_resource(self, resource_id: str) -> list[Intent]:
        """Open ones about a thing."""
        return await self._rows(select(T).where(T.c.resource_id == resource_id).order_by(T.c.created))

    async def owners(self) -> set[tuple[str, str]]:
        """(process, site) of everything there is something left to do for."""

        async def work(c: AsyncConnection) -> set[tuple[str, str]]:
            return {(r.owner, r.site) for r in await c.execute(select(T.c.owner, T.c.site).where(T.c.state != FAILED).distinct())}

        return await self._s.read(work)

    async def claim(self, id: str, owner: str, ttl: float) -> bool:
        """Take over an intent nobody holds (any more); the epoch tells a late former owner that it is none."""
        now = time.time()

        async def work(c: AsyncConnection) -> bool:
            free = or_(T.c.until < now, T.c.owner == owner)
            done = await c.execute(update(T).where(T.c.id == id, free).values(owner=owner, epoch=T.c.epoch + 1, until=now + ttl))
            return bool(done.rowcount)

        return await self._s.write(work)

    async def _rows(self, q: Any) -> list[Intent]:
        async def work(c: AsyncConnection) -> list[Intent]:
            return [Intent(**r._mapping) for r in await c.execute(q)]

        return await self._s.read(work)


async def insert(c: AsyncConnection, intent: Intent) -> None:
    """Within somebody's transaction."""
    await c.execute(T.insert().values(**{f: getattr(intent, f) for f in Intent.__slots__}))


async def advance(c: AsyncConnection, id: str, owner: str, **values: Any) -> None:
    """Within somebody's transaction: change an intent that is ``owner``'s. Raises Conflict where it is not."""
    done = await c.execute(update(T).where(T.c.id == id, T.c.owner == owner).values(updated=time.time(), **values))
    if not done.rowcount:
        raise Conflict(f"intent {id} was taken over or is closed")

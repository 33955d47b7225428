"""The ledger: what each project uses, counted in the create's own transaction (a site's ``limits`` lag behind its 202)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict, OverQuota
from cascade.store.schema import ledger as T
from cascade.store.schema import ledger_projects as P
from cascade.store.session import Session


class Ledger:
    """Rows belong to a holder: an intent first, then the thing it made. Amounts are whole units (GB, MB of RAM...)."""

    def __init__(self, session: Session) -> None:
        self._s = session

    async def reserve(
        self, holder: str, project_id: str, user_id: str, amounts: Mapping[str, int], limits: Mapping[str, int]
    ) -> None:
        """Count, compare, write: one transaction. Raises OverQuota and writes nothing."""

        async def work(c: AsyncConnection) -> None:
            await take(c, holder, project_id, user_id, amounts, limits)

        await known(self._s, project_id)
        await self._s.write(work)

    async def assign(self, holder: str, things: Collection[str]) -> None:
        """From an intent to the one thing it made (nothing is counted twice if called again)."""
        (thing,) = things

        async def work(c: AsyncConnection) -> None:
            await give(c, holder, thing)

        await self._s.write(work)

    async def put(self, holder: str, project_id: str, user_id: str, amounts: Mapping[str, int]) -> None:
        """What a thing is known to use, no question asked (repair)."""
        await self.put_many([(holder, project_id, user_id, amounts)])

    async def put_many(self, held: Sequence[tuple[str, str, str, Mapping[str, int]]]) -> None:
        """The same for many things in one transaction (rebuild): (holder, project, user, amounts). The last of a holder counts."""
        held = list({h[0]: h for h in held}.values())
        rows = [
            {"holder": holder, "resource": resource, "project_id": project, "user_id": user, "amount": amount}
            for holder, project, user, amounts in held
            for resource, amount in amounts.items()
        ]

        async def work(c: AsyncConnection) -> None:
            for at in range(0, len(held), 200):
                await c.execute(delete(T).where(T.c.holder.in_([h[0] for h in held[at : at + 200]])))
            if rows:
                await c.execute(T.insert(), rows)

        for project in sorted({h[1] for h in held}):
            await known(self._s, project)
        await self._s.write(work)

    async def change(self, holder: str, amounts: Mapping[str, int], limits: Mapping[str, int]) -> None:
        """A thing's new amounts (resize, extend). No limits: what was is put back. Unknown holders are left alone."""

        async def work(c: AsyncConnection) -> None:
            row = (await c.execute(select(T.c.project_id, T.c.user_id).where(T.c.holder == holder).limit(1))).first()
            if row is None:
                return
            await _lock(c, row.project_id)
            held = {r.resource: r.amount for r in await c.execute(select(T.c.resource, T.c.amount).where(T.c.holder == holder))}
            await _check(c, row.project_id, {k: v - held.get(k, 0) for k, v in amounts.items() if v > held.get(k, 0)}, limits)
            await c.execute(delete(T).where(T.c.holder == holder))
            await _add(c, holder, row.project_id, row.user_id, amounts)

        await self._s.write(work)

    async def move(self, holders: Collection[str], project_id: str, user_id: str, limits: Mapping[str, int]) -> None:
        """Things given to another project, all or none. Raises OverQuota. No limits: taken back."""

        async def work(c: AsyncConnection) -> None:
            await _lock(c, project_id)
            q = select(T.c.resource, func.sum(T.c.amount)).where(T.c.holder.in_(holders), T.c.project_id != project_id)
            amounts = {r[0]: int(r[1]) for r in await c.execute(q.group_by(T.c.resource))}
            await _check(c, project_id, amounts, limits)
            await c.execute(update(T).where(T.c.holder.in_(holders)).values(project_id=project_id, user_id=user_id))

        await known(self._s, project_id)
        await self._s.write(work)

    async def release(self, holder: str) -> None:
        """Nothing is used any more; idempotent."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.holder == holder))

        await self._s.write(work)

    async def held(self, holder: str) -> dict[str, int]:
        """One holder's amounts."""

        async def work(c: AsyncConnection) -> dict[str, int]:
            return {r.resource: r.amount for r in await c.execute(select(T.c.resource, T.c.amount).where(T.c.holder == holder))}

        return await self._s.read(work)

    async def usage(self, project_id: str | None, user_id: str | None = None) -> dict[str, int]:
        """Sums per resource."""
        q = select(T.c.resource, func.sum(T.c.amount)).where(T.c.project_id == project_id).group_by(T.c.resource)
        if user_id is not None:
            q = q.where(T.c.user_id == user_id)

        async def work(c: AsyncConnection) -> dict[str, int]:
            return {r[0]: int(r[1]) for r in await c.execute(q)}

        return await self._s.read(work)


async def take(
    c: AsyncConnection,
    holder: str,
    project: str,
    user: str,
    amounts: Mapping[str, int],
    limits: Mapping[str, int],
    user_limits: Mapping[str, int] | None = None,
) -> None:
    """Within somebody's transaction. ``user_limits``: what the user alone may use of the project's. Raises OverQuota."""
    await _lock(c, project)
    await _check(c, project, amounts, limits)
    if user_limits:
        await _check(c, project, amounts, user_limits, user)
    await _add(c, holder, project, user, amounts)


async def give(c: AsyncConnection, holder: str, thing: str) -> None:
    """Within somebody's transaction: from a holder to a thing, unless the thing is counted already."""
    have = {r.resource for r in await c.execute(select(T.c.resource).where(T.c.holder == thing))}
    if have:
        await c.execute(delete(T).where(T.c.holder == holder))
    else:
        await c.execute(update(T).where(T.c.holder == holder).values(holder=thing))


async def known(session: Session, project: str) -> None:
    """The project's row, made before anybody locks it: two first inserts inside larger transactions would deadlock."""

    async def look(c: AsyncConnection) -> bool:
        return (await c.execute(select(P.c.turn).where(P.c.project_id == project))).first() is not None

    async def make(c: AsyncConnection) -> None:
        await c.execute(P.insert().values(project_id=project, turn=0))

    if not await session.read(look):
        with suppress(Conflict):  # another's first create made it
            await session.write(make)


async def _lock(c: AsyncConnection, project: str) -> None:
    """One at a time per project: the row's write lock is held to the end of the transaction."""
    await c.execute(update(P).where(P.c.project_id == project).values(turn=P.c.turn + 1))


async def _check(
    c: AsyncConnection, project: str, amounts: Mapping[str, int], limits: Mapping[str, int], user: str | None = None
) -> None:
    q = select(T.c.resource, func.sum(T.c.amount)).where(T.c.project_id == project).group_by(T.c.resource)
    if user is not None:
        q = q.where(T.c.user_id == user)
    used = {r[0]: int(r[1]) for r in await c.execute(q)}
    for resource, wanted in amounts.items():
        limit = limits.get(resource, -1)
        if 0 <= limit < used.get(resource, 0) + wanted:
            raise OverQuota(resource=resource, used=used.get(resource, 0), requested=wanted, limit=limit)


async def _add(c: AsyncConnection, holder: str, project: str, user: str, amounts: Mapping[str, int]) -> None:
    rows = [{"holder": holder, "resource": k, "project_id": project, "user_id": user, "amount": v} for k, v in amounts.items()]
    if rows:
        await c.execute(T.insert(), rows)

"""Role sets of south tokens: which application credential of a shadow user stands for which roles. No secret is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.store.schema import roles as T
from cascade.store.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleSet:
    """``user_id`` and ``project_id`` are north ids; ``version`` grows each time the credential had to be made anew."""

    site: str
    user_id: str
    project_id: str
    roles: tuple[str, ...]
    app_cred_id: str
    version: int


class Roles:
    """Queries over role sets."""

    def __init__(self, session: Session) -> None:
        self._s = session

    async def get(self, site: str, user_id: str, project_id: str, roles: tuple[str, ...]) -> RoleSet | None:
        """One, or None."""

        async def work(c: AsyncConnection) -> RoleSet | None:
            row = (await c.execute(select(T).where(_where(site, user_id, project_id, roles)))).first()
            if row is None:
                return None
            return RoleSet(
                site=site, user_id=user_id, project_id=project_id, roles=roles, app_cred_id=row.app_cred_id, version=row.version
            )

        return await self._s.read(work)

    async def put(self, role_set: RoleSet) -> None:
        """Replace."""
        r = role_set

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(_where(r.site, r.user_id, r.project_id, r.roles)))
            await c.execute(T.insert().values(
                site=r.site, user_id=r.user_id, project_id=r.project_id, roles_hash=_hash(r.roles), roles=list(r.roles),
                app_cred_id=r.app_cred_id, version=r.version,
            ))  # fmt: skip

        await self._s.write(work)

    async def drop(self, site: str, user_id: str, project_id: str, roles: tuple[str, ...]) -> None:
        """Forget one."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(_where(site, user_id, project_id, roles)))

        await self._s.write(work)

    async def forget(self, site: str, *, user_id: str | None = None, project_id: str | None = None) -> None:
        """Forget all of a user or a project that is gone from the site."""
        whose = T.c.user_id == user_id if user_id is not None else T.c.project_id == project_id

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.site == site, whose))

        await self._s.write(work)


def _hash(roles: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(roles)).encode()).hexdigest()


def _where(site: str, user_id: str, project_id: str, roles: tuple[str, ...]) -> ColumnElement[bool]:
    return and_(T.c.site == site, T.c.user_id == user_id, T.c.project_id == project_id, T.c.roles_hash == _hash(roles))

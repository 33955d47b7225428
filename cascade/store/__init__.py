"""The store: the only place that knows SQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy import exc as sqlalchemy_exc
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import column, table

from cascade.store.docs import Docs
from cascade.store.index import Index, IndexEntry, add
from cascade.store.intents import Intent, Intents, advance, insert
from cascade.store.leases import Leases
from cascade.store.ledger import Ledger, give, known, take
from cascade.store.pairs import Pairs
from cascade.store.roles import Roles
from cascade.store.session import Session
from cascade.store.settled import Settled
from cascade.store.sites import SiteRows
from cascade.store.traces import Traces


class Store:
    """One database. ``owner`` names this process in intents and leases."""

    def __init__(self, url: str) -> None:
        self.owner = uuid.uuid4().hex
        self._session = Session(url)
        self.sites = SiteRows(self._session)
        settled = Settled()
        self.index = Index(self._session, settled)
        self.pairs = Pairs(self._session, settled)
        self.intents = Intents(self._session, self.owner)
        self.ledger = Ledger(self._session)
        self.leases = Leases(self._session)
        self.roles = Roles(self._session)
        self.docs = Docs(self._session)
        self.traces = Traces(self._session)

    @classmethod
    async def open(cls, url: str) -> Store:
        """Connect. A SQLite file is brought up to date on the way; other databases by ``cascade upgrade`` alone."""
        store = cls(url)
        if store._session.sqlite:
            await store._upgrade()
        return store

    @classmethod
    def migrate(cls, url: str) -> None:
        """The schema up to date: alembic upgrade head. Not to be called on a running event loop's thread."""

        async def work() -> None:
            store = cls(url)
            await store._upgrade()
            await store.close()

        asyncio.run(work())

    async def _upgrade(self) -> None:
        folder = Path(__file__).parent / "migrations"
        if await self._newest(folder):
            return
        from alembic import command  # a seventh of what a start costs, and seldom needed
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(folder))

        def work(connection: Connection) -> None:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        async with self._session.engine.begin() as c:
            await c.run_sync(work)

    async def _newest(self, folder: Path) -> bool:
        """Whether the last of the numbered migrations has been made."""
        last = max(p.name.partition("_")[0] for p in (folder / "versions").glob("[0-9]*.py"))
        async with self._session.engine.connect() as c:
            try:
                found = (await c.execute(select(column("version_num")).select_from(table("alembic_version")))).scalar()
            except sqlalchemy_exc.DBAPIError:
                return False  # an empty database
        return bool(found == last)

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def begin_create(
        self, verb: str, *, site: str, project_id: str, user_id: str, request_id: str, body: Mapping[str, Any],
        amounts: Mapping[str, int], limits: Mapping[str, int], user_limits: Mapping[str, int] | None = None,
    ) -> Intent:  # fmt: skip
        """Intent and reservation in one transaction. Raises OverQuota and writes neither."""
        intent = self.intents.new(verb, site=site, project_id=project_id, user_id=user_id, request_id=request_id, body=body)

        async def work(c: AsyncConnection) -> None:
            if amounts:
                await take(c, intent.id, project_id, user_id, amounts, limits, user_limits)
            await insert(c, intent)

        await known(self._session, project_id)
        await self._session.write(work)
        return intent

    async def promise(self, intent: Intent, state: str, ident: str, body: Mapping[str, Any]) -> None:
        """A create is accepted before its site knows of it: intent, index and ledger under the id ``ident``, in one transaction.

        Raises Conflict where the intent is not this process' any more.
        """
        kind = intent.verb.partition(".")[0]
        entry = IndexEntry(
            kind=kind, id=ident, site=intent.site, project_id=intent.project_id, user_id=intent.user_id,
            created=float(int(intent.created)),  # as the API shows it: it is a place in lists
        )  # fmt: skip

        async def work(c: AsyncConnection) -> None:
            await advance(c, intent.id, self.owner, state=state, resource_id=ident, body=dict(body))
            await add(c, [entry])
            await give(c, intent.id, ident)

        await self._session.write(work)

"""Limits: the project's, one user's, and what a site itself is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascade.model.errors import OverQuota
from cascade.model.reply import Reply
from cascade.quota.allowance import Allowances
from cascade.quota.limits import Limits
from cascade.store import Store

HUB = {"id": "p", "instances": 10, "cores": -1, "metadata_items": 7, "fixed_ips": -1}


class South:
    """Answers quota sets; remembers what was written at sites."""

    def __init__(self) -> None:
        self.hub: dict[str, Any] = dict(HUB)
        self.user: dict[str, Any] = {}
        self.asked, self.written = 0, list[tuple[str, str, Any]]()
        self.status = 200

        async def project(site: str, project: str) -> str:
            return f"{project}-{site}"

        self.shadow = SimpleNamespace(project=project)

    async def call(self, target: str, service: str, method: str, path: str, *, json: Any = None, params: Any = ()) -> Reply:
        if method == "PUT":
            self.written.append((target, path, json["quota_set"]))
            return Reply(target, self.status, {}, b"{}")
        self.asked += 1
        return Reply(target, 200, {}, msgspec.json.encode({"quota_set": self.hub | (self.user if params else {})}))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/c.db")
    yield opened
    await opened.close()


async def test_only_counted_limits_count_and_are_believed_for_a_while() -> None:
    south = South()
    limits = Limits(south, clock=lambda: 0.0)  # type: ignore[arg-type]
    assert await limits.of("compute", "p") == await limits.of("compute", "p") == {"instances": 10}
    assert south.asked == 1
    limits.forget("p")
    await limits.of("compute", "p")
    assert south.asked == 2


async def test_a_users_own_limit(store: Store) -> None:
    south = South()
    limits = Limits(south)  # type: ignore[arg-type]
    assert await limits.of_user("compute", "p", "u") == {}
    limits.forget()
    south.user = {"instances": 1}
    assert await limits.of_user("compute", "p", "u") == {"instances": 1} and await limits.of_user("volume", "p", "u") == {}

    async def create(user: str) -> None:
        await store.begin_create(
            "server.create", site="paris", project_id="p", user_id=user, request_id="r", body={}, amounts={"instances": 1},
            limits={"instances": 10}, user_limits={"instances": 1},
        )  # fmt: skip

    await create("other")
    await create("u")
    with pytest.raises(OverQuota):
        await create("u")


async def test_a_site_is_told_once_and_again_after_a_change(store: Store) -> None:
    south = South()
    limits = Limits(south, ttl=0.0)  # type: ignore[arg-type]
    for _ in range(2):
        allowances = Allowances(store, south, limits)  # type: ignore[arg-type]
        await allowances.ensure("paris", "compute", "p")
    ((site, path, body),) = south.written
    assert (site, path) == ("paris", "/os-quota-sets/p-paris")
    assert body["instances"] == body["cores"] == -1 and body["metadata_items"] == 7 and "fixed_ips" not in body
    south.hub["metadata_items"] = 8
    await store.index.add("server", "s", site="paris", project_id="p", user_id="u")
    await allowances.follow("compute", "p")
    assert south.written[1][2]["metadata_items"] == 8


async def test_a_site_that_lets_nobody_write_is_used_as_it_is(store: Store) -> None:
    south = South()
    south.status = 403
    await Allowances(store, south, Limits(south)).ensure("paris", "volume", "p")  # type: ignore[arg-type]
    assert len(south.written) == 1

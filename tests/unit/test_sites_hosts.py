"""A site whose compute hosts are all disabled, down or silent is not where a new project begins."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from cascade.model.errors import SiteTimeout
from cascade.model.reply import Reply
from cascade.sites.hosts import BELIEVED, Hosts

UP, OFF, DOWN = ({"status": s, "state": t} for s, t in (("enabled", "up"), ("disabled", "up"), ("enabled", "down")))

LATE = SiteTimeout("paris", "hangs")


class South:
    """One site's Nova."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, 0

    async def call(self, *_: Any, **__: Any) -> Reply:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, int):
            return Reply("paris", self.answer, {}, b"")
        return Reply("paris", 200, {}, msgspec.json.encode({"services": self.answer}))


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        ([OFF, UP], 1),
        ([UP, UP], 2),
        ([OFF, DOWN], 0),
        ([], 0),
        (403, sys.maxsize),
        (500, None),
        (LATE, None),
    ],
)
async def test_ready(answer: Any, ready: int | None) -> None:
    assert await Hosts(South(answer)).ready("paris") == ready  # type: ignore[arg-type]


async def test_asked_once_until_it_may_have_changed() -> None:
    now = [100.0]
    south = South([UP])
    hosts = Hosts(south, clock=lambda: now[0])  # type: ignore[arg-type]
    assert all(await asyncio.gather(*(hosts.ready("paris") for _ in range(50)))) and south.asked == 1
    south.answer = [OFF]
    assert await hosts.ready("paris")
    hosts.forget()
    assert not await hosts.ready("paris") and south.asked == 2
    south.answer = [UP]
    now[0] += BELIEVED
    assert await hosts.ready("paris") and south.asked == 3

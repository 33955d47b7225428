"""A target that is slow: who may wait for it, who is told to come later, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from cascade import telemetry
from cascade.model.errors import SiteBusy, SiteTimeout
from cascade.model.trace import tenant
from tests.unit.sites_fake import Fake, serving
from tests.unit.test_sites_transport import Rig


def asked_by(who: str, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """The call as a part of a request of its own, made for ``who``."""
    context = contextvars.copy_context()
    context.run(telemetry.begin)
    context.run(tenant.set, who)
    return asyncio.get_running_loop().create_task(call, context=context)


async def test_a_slow_target_is_not_waited_for_by_everybody() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, concurrency=2, patience=0.2, call=3.0)
        fake.hang = True
        first = [asked_by("greedy", rig.get()) for _ in range(10)]
        await asyncio.sleep(0.3)  # those inside have been there for long enough to say it
        assert rig.transport.waiting() == {"paris": 8}
        with pytest.raises(SiteBusy) as e:
            await asked_by("greedy", rig.get())
        assert e.value.after > 0.2
        ours = asyncio.create_task(rig.get())  # no request's call, such as a reconciler's
        await asyncio.sleep(0.05)
        assert rig.transport.waiting() == {"paris": 9}
        for task in (*first, ours):
            task.cancel()
        await asyncio.gather(*first, ours, return_exceptions=True)
        assert rig.transport.waiting() == {"paris": 0}
        fake.hang = False
        assert await asked_by("greedy", rig.get()), "at once again, whatever it was like before"
        await rig.transport.close()


async def test_who_was_let_in_is_served_to_the_end() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, concurrency=1, patience=0.05, call=0.5)

        async def two_calls() -> None:
            await rig.get("/first")
            fake.hang = True
            others = [asked_by("other", rig.get()) for _ in range(3)]
            await asyncio.sleep(0.2)
            try:
                await rig.get("/second")  # waits, within its deadline
            finally:
                await asyncio.gather(*others, return_exceptions=True)

        with pytest.raises(SiteTimeout):
            await asked_by("p", two_calls())
        await rig.transport.close()


async def test_projects_take_turns() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, concurrency=1, call=5.0)
        fake.hang = True
        inside = asked_by("greedy", rig.get("/inside"))
        await asyncio.sleep(0.05)
        greedy = [asked_by("greedy", rig.get(f"/greedy-{n}")) for n in range(20)]
        modest = asked_by("modest", rig.get("/modest"))
        await asyncio.sleep(0.05)
        fake.hang = False
        await asyncio.gather(inside, *greedy, modest)
        assert [raw for _, raw, _, _ in fake.seen].index("/modest") <= 2
        await rig.transport.close()

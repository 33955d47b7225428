"""One tenant asks for more than there is, all the time: others and operators do not feel it, and he is told when to come again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.lab.gateway import Gateway
from tests.lab.rest import raw
from tests.stories.world import SITES, World, free_ports, tenant

GREEDY, MODEST = 2000, 20
FLAVORS = "/compute/v2.1/flavors"
ANSWER = 0.2
"""Seconds the hub's Nova takes. With six places that is 30 answers a second: behind the 200 that wait each would take over six."""
PLACES, MOST = 8, 6
"""What the gateway serves at once, and how many of these one project may have."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One with few places, in front of the simulated clouds."""
    if world.home is None:
        pytest.skip("only in front of the simulator")
    home = tmp_path_factory.mktemp("few-places")
    more = f"[requests]\nin_work = {PLACES}\nwaiting = 400\nwaiting_per_project = 200"
    it = Gateway(home, world.home, free_ports(1), more=more).start()
    try:
        it.join(it.cloud(world.admin), *SITES)
        yield it
    finally:
        it.stop()


def resident(gateway: Gateway) -> int:
    """Bytes of memory the process has."""
    assert gateway.process is not None
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


async def test_a_greedy_tenant_is_no_other_tenants_trouble(gateway: Gateway, world: World) -> None:
    with tenant(world, "greedy") as greedy, tenant(world, "modest") as modest:
        before = resident(gateway)
        raw(
            world.control + "/faults",
            "POST",
            body=b'{"cloud": "hub", "mode": "slow", "seconds": %.1f, "service": "compute"}' % ANSWER,
        )
        answers: Counter[int] = Counter()
        enough, refused = asyncio.Event(), asyncio.Event()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(gateway.url, connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as client:

            async def ask_on() -> None:
                """Once, and again when told to."""
                while True:
                    async with client.get(FLAVORS, headers={"X-Auth-Token": greedy.cloud.token}) as answer:
                        answers[answer.status] += 1
                        if answer.status == 200:
                            return
                        refused.set()
                        after = int(answer.headers["Retry-After"])
                        assert answer.status in (429, 503) and 1 <= after <= 60
                        fault = (await answer.json())["overLimit" if answer.status == 429 else "serviceUnavailable"]
                        assert fault["code"] == answer.status and fault.get("retryAfter", str(after)) == str(after)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(enough.wait(), after)
                        return

            crowd = [asyncio.create_task(ask_on()) for _ in range(GREEDY)]
            await asyncio.wait_for(refused.wait(), 30)
            times = []
            for _ in range(MODEST):
                began = time.monotonic()
                async with client.get(FLAVORS, headers={"X-Auth-Token": modest.cloud.token}) as answer:
                    assert answer.status == 200, await answer.text()
                times.append(time.monotonic() - began)
            began = time.monotonic()
            for path, token in (("/healthz", ""), ("/metrics", ""), ("/cascade/v1/status", world.admin.token)):
                async with client.get(path, headers={"X-Auth-Token": token}) as answer:
                    text = await answer.text()
                    assert answer.status == 200, text
                    if path == "/metrics":
                        assert f'cascade_in_work{{door="requests"}} {MOST}.0' in text
                        assert 'cascade_refused_total{door="requests",reason="project"}' in text
            looked = time.monotonic() - began
            peak = resident(gateway)
            enough.set()
            raw(world.control + "/faults", "POST", body=b'{"mode": "ok"}')
            await asyncio.gather(*crowd)
            async with client.get("/metrics") as answer:
                left = await answer.text()
        assert 'cascade_in_work{door="requests"} 0.0' in left and 'cascade_waiting{door="requests"} 0.0' in left
        assert set(answers) <= {200, 429, 503} and answers[200] > PLACES and answers[429] > 100, answers
        first_come = 200 * ANSWER / MOST
        assert sorted(times)[MODEST // 2] < first_come / 2 and sum(times) < MODEST * first_come / 2, times
        assert looked < first_come
        assert peak - before < 150 * MIB, f"{before / MIB:.0f} to {peak / MIB:.0f} MiB"
        print(
            dict(answers), [round(t, 2) for t in sorted(times)], f"{before // MIB} to {peak // MIB} MiB, operators {looked:.2f} s"
        )

"""The doors: what waits, what is refused and how it is said, before a body is read; and one validation for many requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
import pytest

from cascade import telemetry
from cascade.api.admission import Admission, Door, door, line
from cascade.api.app import NOBODY
from cascade.api.request import Request, Response
from cascade.api.tokens import Tokens
from cascade.conf import load
from cascade.model.errors import Fault, SiteUnreachable, fault_body
from cascade.model.reply import Reply
from cascade.model.trace import tenant
from tests.unit.test_front import CALLER, Front

WHO = line(CALLER, None)


def admission(**options: float) -> Admission:
    conf = load([], [])
    for name, value in options.items():
        conf.set_override(name, value, group="requests")
    return Admission(conf)


def counts(it: Admission) -> dict[str, float]:
    it.observe()
    found = {}
    for gauge in (telemetry.IN_WORK, telemetry.WAITING):
        for sample in next(iter(gauge.collect())).samples:
            found[f"{sample.name.removeprefix('cascade_')} {sample.labels['door']}"] = sample.value
    return found


async def test_an_answer_that_flows_keeps_its_place_until_it_has_flown() -> None:
    it, let_go = admission(in_work=1, waiting=0), []

    async def flowing() -> Response:
        async def release() -> None:
            let_go.append(1)

        return Response(status=200, stream=_none(), release=release)

    answer = await it.served(Door.STREAMS, "p", lambda: False, flowing)
    assert counts(it)["in_work streams"] == 1 and answer.release is not None
    await answer.release()
    assert counts(it)["in_work streams"] == 0 and let_go == [1]


async def _none() -> Any:
    return
    yield


async def test_refusals_name_a_time_and_each_its_reason() -> None:
    it, enough = admission(in_work=1, waiting=2, waiting_per_project=1), asyncio.Event()

    async def stay() -> Response:
        assert tenant.get() in ("a", "b", "c")
        await enough.wait()
        return Response(status=200)

    tasks = [asyncio.create_task(it.served(Door.REQUESTS, who, lambda: False, stay)) for who in ("a", "a", "b")]
    await asyncio.sleep(0)
    assert counts(it)["waiting requests"] == 2
    for who, status in (("a", 429), ("c", 503)):
        with pytest.raises(Fault) as e:
            await it.served(Door.REQUESTS, who, lambda: False, stay)
        assert e.value.status == status and 1 <= int(e.value.headers["Retry-After"]) <= 60
    operator = asyncio.create_task(it.served(Door.OPERATORS, "c", lambda: False, stay))
    await asyncio.sleep(0)
    assert counts(it)["in_work operators"] == 1, "who looks is let in"
    enough.set()
    assert [t.status for t in await asyncio.gather(*tasks, operator)] == [200] * 4
    assert not any(counts(it).values())


async def test_who_waits_too_long_or_has_left_is_not_served() -> None:
    it, enough, served = admission(in_work=1), asyncio.Event(), []
    it._doors[Door.REQUESTS].patience = 0.1

    async def stay() -> Response:
        served.append(1)
        await enough.wait()
        return Response(status=200)

    first = asyncio.create_task(it.served(Door.REQUESTS, "a", lambda: False, stay))
    await asyncio.sleep(0)
    with pytest.raises(Fault) as e:
        await it.served(Door.REQUESTS, "b", lambda: False, stay)
    assert e.value.status == 503
    it._doors[Door.REQUESTS].patience = 60
    gone = asyncio.create_task(it.served(Door.REQUESTS, "b", lambda: True, stay))
    await asyncio.sleep(0)
    enough.set()
    await first
    with pytest.raises(ConnectionError):
        await gone
    assert served == [1] and not any(counts(it).values())


@pytest.mark.parametrize(
    ("service", "path", "through"),
    [
        ("compute", "/v2.1/servers/file", Door.REQUESTS),
        ("image", "/v2/images/x", Door.REQUESTS),
        ("image", "/v2/images/x/file", Door.STREAMS),
        ("image", "/v2/images/x/stage", Door.STREAMS),
        ("orchestration", "/v1/p/stacks", Door.PASSED),
        ("cascade", "/v1/status", Door.OPERATORS),
    ],
)
def test_doors(service: str, path: str, through: Door) -> None:
    assert door(service, path) is through


def test_whose_share_it_is() -> None:
    assert (WHO, line(NOBODY, "10.0.0.9"), line(NOBODY, None)) == ("p", "10.0.0.9", "?")


@pytest.mark.parametrize("service", ["compute", "volume"])
def test_nova_and_cinder_say_when_in_the_body_too(service: str) -> None:
    body, kind = fault_body(service, Fault(429, "Later.", headers={"Retry-After": "7"}))
    assert json.loads(body) == {"overLimit": {"code": 429, "message": "Later.", "retryAfter": "7"}} and "json" in kind
    assert json.loads(fault_body(service, Fault(503, "No."))[0]) == {"serviceUnavailable": {"code": 503, "message": "No."}}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("network", {"NeutronError": {"type": "HTTPTooManyRequests", "message": "Later.", "detail": ""}}),
        ("identity", {"error": {"code": 429, "title": "Too Many Requests", "message": "Later."}}),
        ("metric", {"code": 429, "title": "Too Many Requests", "description": "Later."}),
    ],
)
def test_the_others_say_it_their_way(service: str, said: dict[str, Any]) -> None:
    assert json.loads(fault_body(service, Fault(429, "Later.", headers={"Retry-After": "7"}))[0]) == said


async def test_a_request_that_waits_has_read_no_body() -> None:
    """And one that is refused is told so though its body has not come."""
    inside, enough, bodies = asyncio.Event(), asyncio.Event(), []

    async def handler(core: Any, req: Request) -> Response:
        bodies.append(len(req.body))
        inside.set()
        await enough.wait()
        return Response(status=204)

    front = Front(handler)
    front.conf.set_override("call_deadline", 5.0)
    front.gateway.admission = admission(in_work=1, waiting=1, waiting_per_project=1)
    async with front.serve() as url, aiohttp.ClientSession() as client:
        first = asyncio.create_task(client.post(url, data=b"{}"))
        await inside.wait()
        second = asyncio.create_task(client.post(url, data=b"[" * 100_000))
        await asyncio.sleep(0.1)
        host, _, port = url.split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /image/v2/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).lower()
        assert b" 429 " in head and b"retry-after: " in head
        writer.close()
        assert bodies == [2]
        enough.set()
        assert [(await t).status for t in (first, second)] == [204, 204] and bodies == [2, 100_000]
        await asyncio.sleep(0.05)
        assert not any(counts(front.gateway.admission).values())


class Keystone:
    """A hub that answers about a token when told to."""

    def __init__(self) -> None:
        self.asked, self.answer, self.down = 0, asyncio.Event(), False

    async def call(self, *args: Any, **more: Any) -> Reply:
        self.asked += 1
        await self.answer.wait()
        if self.down:
            raise SiteUnreachable("hub", "down")
        token = {"user": {"id": "u", "name": "u", "domain": {"id": "d"}}, "expires_at": "2999-01-01T00:00:00Z"}
        return Reply("hub", 200, {}, json.dumps({"token": token}).encode())


async def test_a_thousand_requests_with_one_new_token_ask_once() -> None:
    """Whoever of them leaves meanwhile: the first one does."""
    keystone = Keystone()
    tokens = Tokens(keystone, ttl=60)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(tokens.validate("new")) for _ in range(1000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for n in (0, 500):
        tasks[n].cancel()
    await asyncio.sleep(0)
    keystone.answer.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert keystone.asked == 1
    assert [n for n, f in enumerate(found) if isinstance(f, asyncio.CancelledError)] == [0, 500]
    assert {f.user_id for f in found if not isinstance(f, BaseException)} == {"u"}
    assert await tokens.validate("new") and keystone.asked == 1


async def test_those_who_wait_for_keystone_are_bounded_too(caplog: pytest.LogCaptureFixture) -> None:
    keystone = Keystone()
    tokens = Tokens(keystone, ttl=60, waiting=3, each=2)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(tokens.validate(f"t{n}")) for n in (0, 0, 1, 2)]
    await asyncio.sleep(0)
    for token, status in (("one more", 503), ("t0", 429)):
        with pytest.raises(Fault) as e:
            await tokens.validate(token)
        assert e.value.status == status and "Retry-After" in e.value.headers
    keystone.down = True
    keystone.answer.set()
    assert all(isinstance(f, SiteUnreachable) for f in await asyncio.gather(*tasks, return_exceptions=True))
    left = asyncio.create_task(tokens.validate("left"))
    await asyncio.sleep(0)
    left.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await left
    for _ in range(5):
        await asyncio.sleep(0)
    keystone.down = False
    assert await tokens.validate("t0"), "an error is not kept"
    assert not caplog.records and not tokens._waiting and not tokens._asking

"""The HTTP client: every way a target can fail, and what may never pass."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohappyeyeballs
import pytest
from aiohttp import web

from cascade.model.errors import BadReply, Fault, SiteTimeout, SiteUnreachable
from cascade.model.trace import request_id
from cascade.sites.health import Monitor
from cascade.sites.transport import Transport
from tests.unit.sites_fake import QUICK, Fake, serving


class Rig:
    def __init__(self, fake: Fake, **limits: float) -> None:
        self.limits = replace(QUICK, **limits)  # type: ignore[arg-type]
        self.monitor = Monitor(self.limits)
        self.monitor.watch({"paris": ("compute",)})
        self.transport, self.fake = Transport(self.limits, self.monitor), fake

    async def get(self, path: str = "/x", method: str = "GET", **more: object) -> object:
        kwargs = {"headers": {"x-auth-token": "t"}, **more}
        return await self.transport.request("paris", "compute", method, self.fake.url + path, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with serving(Fake()) as fake:
        it = Rig(fake)
        yield it
        await it.transport.close()


def on(rig: Rig, method: str, path: str, answer: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        found: web.StreamResponse = await answer(request) if callable(answer) else answer
        return found

    rig.fake.extra[method, path] = handler


async def test_answer_and_headers(rig: Rig) -> None:
    answer = web.Response(status=418, body=b"{}", headers={"X-One": "1", "Set-Cookie": "a=b"})
    answer.headers.add("X-One", "2")
    on(rig, "POST", "/x", answer)
    token = request_id.set("req-42")
    reply = await rig.transport.request(
        "paris", "compute", "POST", rig.fake.url + "/x", body=b"{}", params=[("a", "1 &"), ("a", "2")],
        headers={"x-auth-token": "t", "Host": "evil", "x-service-token": "s", "content-length": "99", "accept": "*/*"},
    )  # fmt: skip
    request_id.reset(token)
    assert (reply.status, reply.body, reply.headers["x-one"]) == (418, b"{}", "1, 2")
    assert "set-cookie" not in reply.headers
    _, raw, sent, body = rig.fake.seen[-1]
    assert raw == "/x?a=1%20%26&a=2"
    assert sent["host"] != "evil"
    assert sent["x-openstack-request-id"] == "req-42"
    assert sent["content-length"] == "2"
    assert "x-service-token" not in sent
    assert "content-type" not in sent, "what the client did not say is not made up"
    assert body == b"{}"


async def test_redirects_are_answers(rig: Rig) -> None:
    on(rig, "GET", "/x", web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}))
    reply = await rig.transport.request("paris", "compute", "GET", rig.fake.url + "/x", headers={})
    assert reply.status == 302


async def test_path_is_sent_as_given_and_never_climbs(rig: Rig) -> None:
    await rig.get("/a%20b/c%2Fd/é\r\nX: y?q=%2f z")
    assert rig.fake.seen[-1][1] == "/a%20b/c%2Fd/%C3%A9%0D%0AX:%20y?q=%2f%20z"
    for bad in ("/a/../b", "/.."):
        with pytest.raises(Fault, match="path"):
            await rig.get(bad)


async def test_header_injection_is_refused(rig: Rig) -> None:
    with pytest.raises(Fault):
        await rig.get(headers={"x-a": "1\r\nx-b: 2"})


async def test_refused_is_unreachable(rig: Rig) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(SiteUnreachable):
        await rig.transport.request("paris", "compute", "POST", url, headers={})
    assert rig.monitor["paris"].last_error is not None


async def test_unanswering_host_is_unreachable_within_the_connect_timeout(rig: Rig) -> None:
    with socket.socket() as full:  # its backlog is full: further SYNs get no answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        with pytest.raises(SiteUnreachable):
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            await rig.transport.request("paris", "compute", "GET", url, headers={})
        assert time.monotonic() - begun < 1.5
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("stall", [0.07, 0.3])
async def test_a_process_that_is_late_itself_blames_no_target(stall: float) -> None:
    """Its loop stands still while a connection is made, for long or again and again: the target answered in time and is asked."""
    async with serving(Fake()) as fake:
        for step in range(6):
            rig = Rig(fake, connect=0.1, call=10.0)
            asked = asyncio.create_task(rig.transport.request("paris", "compute", "POST", fake.url + "/x", headers={}))
            for turn in range(12):
                if turn >= step and (turn == step or stall < 0.1):
                    time.sleep(stall)  # noqa: ASYNC251  # it is the point
                await asyncio.sleep(0)
            assert (await asked).status == 401
            await rig.transport.close()
        assert [path for method, path, _, _ in fake.seen if method == "POST"] == ["/x"] * 6


async def test_hang_ends_at_the_deadline(rig: Rig) -> None:
    rig.fake.hang = True
    begun = time.monotonic()
    with pytest.raises(SiteTimeout):
        await rig.get(timeout=0.2)
    assert time.monotonic() - begun < 0.5


async def test_dribble_ends_at_the_deadline(rig: Rig) -> None:
    async def dribble(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        while True:
            await out.write(b".")
            await asyncio.sleep(0.02)

    on(rig, "GET", "/x", dribble)
    with pytest.raises(SiteTimeout):
        await rig.get(timeout=0.2)


async def test_lost_connection_may_have_been_carried_out(rig: Rig) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    on(rig, "POST", "/x", cut)
    with pytest.raises(SiteTimeout, match="lost"):
        await rig.get(method="POST", body=b"x")


async def test_truncated_answer(rig: Rig) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Length": "100"})
        await out.prepare(request)
        await out.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return out

    on(rig, "GET", "/x", short)
    with pytest.raises(SiteTimeout):
        await rig.get()


async def test_too_large() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, reply_bytes=1000)
        on(rig, "GET", "/x", web.Response(body=b"x" * 1001))
        on(rig, "GET", "/y", web.Response(body=b"x" * 1000))
        with pytest.raises(BadReply, match="larger"):
            await rig.get("/x")
        await rig.get("/y")
        await rig.transport.close()


async def test_concurrency_cap_and_waiting_within_the_deadline() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, concurrency=2)
        rig.fake.hang = True
        calls = [asyncio.create_task(rig.get(timeout=0.4)) for _ in range(6)]
        await asyncio.sleep(0.2)
        assert fake.calls["GET /x"] == 2
        assert all(isinstance(e, SiteTimeout) for e in await asyncio.gather(*calls, return_exceptions=True))
        await rig.transport.close()


async def test_reads_are_given_up_when_the_site_goes_down_writes_are_not(rig: Rig) -> None:
    rig.fake.hang = True
    read = asyncio.create_task(rig.get(timeout=30))
    write = asyncio.create_task(rig.get(method="POST", timeout=1.0))
    await asyncio.sleep(0.05)
    for _ in range(QUICK.fail_threshold):
        rig.monitor.failed("paris", "compute", "x")
        await asyncio.sleep(0.03)
    with pytest.raises(SiteTimeout):
        await asyncio.wait_for(read, 0.5)
    assert not write.done()
    with pytest.raises(SiteUnreachable, match="counts as down"):
        await rig.get()
    with pytest.raises(SiteTimeout):
        await write


async def test_statuses_of_a_dead_service_behind_a_proxy_are_no_life(rig: Rig) -> None:
    rig.fake.status = 503
    await rig.get()
    assert rig.monitor["paris"].state == "unknown"
    rig.fake.status = 500
    await rig.get()
    assert str(rig.monitor["paris"].state) == "up"


async def test_stream_both_ways(rig: Rig) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=rig.fake.seen[-1][3], headers={"X-Size": request.headers.get("Content-Length", "chunked")})

    async def data() -> AsyncIterator[bytes]:
        for n in range(10):
            yield bytes([n]) * 100_000

    on(rig, "PUT", "/x", echo)
    for headers, size in (({}, "chunked"), ({"content-length": "1000000"}, "1000000")):
        async with rig.transport.stream("paris", "image", "PUT", rig.fake.url + "/x", headers=headers, data=data()) as reply:
            got = b"".join([c async for c in reply.chunks()])
        assert (reply.status, reply.headers["x-size"], len(got)) == (200, size, 1_000_000)


async def test_stream_that_falls_silent(rig: Rig) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        await out.write(b"some")
        await asyncio.sleep(30)
        return out

    on(rig, "GET", "/x", stall)
    begun = time.monotonic()
    with pytest.raises(SiteTimeout):
        async with rig.transport.stream("paris", "image", "GET", rig.fake.url + "/x", headers={}) as reply:
            async for _ in reply.chunks():
                pass
    assert time.monotonic() - begun < 1.5


async def test_upload_into_a_frozen_site_ends(rig: Rig) -> None:
    """It accepts the connection and reads nothing: the socket fills up, then no progress is made."""
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen(5)

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        begun = time.monotonic()
        with pytest.raises(SiteTimeout):
            url = f"http://127.0.0.1:{frozen.getsockname()[1]}/"
            async with rig.transport.stream("paris", "image", "PUT", url, headers={}, data=endless()):
                pass
        assert time.monotonic() - begun < 2


async def test_a_client_that_breaks_off_its_upload_is_not_the_sites_fault(rig: Rig) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionResetError("client gone")

    with pytest.raises(ConnectionResetError, match="client gone"):
        async with rig.transport.stream("paris", "compute", "PUT", rig.fake.url + "/x", headers={}, data=breaks()):
            pass
    assert rig.monitor["paris"].last_error is None


async def test_a_consumer_that_leaves_frees_its_place() -> None:
    async with serving(Fake()) as fake:
        rig = Rig(fake, streams=1)

        async def much(_: web.Request) -> web.StreamResponse:
            return web.Response(body=b"x" * 1_000_000)

        on(rig, "GET", "/x", much)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="client gone"):
                async with rig.transport.stream("paris", "image", "GET", fake.url + "/x", headers={}) as reply:
                    async for _chunk in reply.chunks():
                        raise RuntimeError("client gone")
        await rig.transport.close()


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_write_waits_for_the_verdict_about_a_silent_site(rig: Rig, comes_back: bool) -> None:
    """Sent into a silence it would hang for its whole deadline; it is sent, or refused unsent, once probes know."""
    answers = asyncio.Event()

    async def probe(target: str, service: str) -> None:
        if not answers.is_set():
            raise SiteUnreachable(target, "silent")

    on(rig, "POST", "/x", web.Response(status=202))
    rig.monitor._limits = replace(rig.limits, probe_gap=1.0)
    rig.monitor.start(probe)
    while not rig.monitor._suspect("paris", "compute"):  # noqa: ASYNC110 - one probe has failed, the second is due
        await asyncio.sleep(0.01)
    assert rig.monitor.allows("paris", "compute")
    if comes_back:
        answers.set()
        assert (await rig.get(method="POST")).status == 202  # type: ignore[attr-defined]
    else:
        with pytest.raises(SiteUnreachable):
            await rig.get(method="POST")
        assert not rig.fake.calls
    await rig.monitor.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="of Linux alone")
async def test_a_connection_on_which_nothing_is_heard_is_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that are dropped are no slow site: the kernel says so after ``fail_seconds``, whatever the deadline of a write is.
    A stream may be silent for longer."""
    found: list[int] = []
    real = aiohappyeyeballs.start_connection

    async def noted(*args: Any, **more: Any) -> socket.socket:
        made = await real(*args, **more)
        found.append(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return made

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", noted)
    await rig.get(method="POST")
    async with rig.transport.stream("paris", "image", "GET", rig.fake.url + "/x", headers={}) as reply:
        await reply.read()
    assert found == [round(QUICK.fail_seconds * 1000), round(QUICK.stream_idle * 1000)]

"""The front door: what is let in, and what becomes of a client, or a service, that leaves in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cascade.api.app import Gateway
from cascade.api.identity import filtered
from cascade.api.request import Request, Response
from cascade.api.sanitise import all_headers, clean_headers, split_target
from cascade.conf import load
from cascade.model.caller import Caller
from cascade.model.errors import Fault, NativeFault, SiteTimeout
from cascade.model.reply import Reply
from cascade.model.table import Kind, Row

CALLER = Caller(
    token="t", user_id="u", user_name="u", user_domain_id="d", project_id="p", project_name="p", project_domain_id="d",
    roles=frozenset({"member"}), expires_at=2e10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/network/v2.0/networks/%ff", 400),
        ("/network/v2.0/networks/%", 400),
        ("/network/v2.0/networks/%z1", 400),
        ("/network/v2.0/networks/%4", 400),
        ("/network/v2.0/networks/%2e%2e", 404),
        ("/network/v2.0/networks/a%2Fb", 404),
        ("/network/v2.0//networks", 404),
        ("http://elsewhere/network/v2.0/networks", 400),
        ("/network/" + "a" * 5000, 400),
    ],
)
def test_paths_that_are_none(target: str, status: int) -> None:
    with pytest.raises(Fault) as e:
        split_target(target)
    assert e.value.status == status


def test_a_path_has_one_spelling() -> None:
    assert split_target("/network/v2.0/n%65tworks/%C3%A9%20%3A")[1] == "/v2.0/networks/%C3%A9%20%3A"


def test_gnocchi_skips_what_is_empty() -> None:
    """gnocchiclient changes archive policies and their rules under such paths."""
    assert split_target("/metric/v1/archive_policy//low")[:2] == ("metric", "/v1/archive_policy/low")


def test_a_thousand_filters() -> None:
    assert len(split_target("/network/v2.0/ports?" + "&".join(f"id={n}" for n in range(1500)))[2]) == 1500


def test_headers_a_service_would_believe() -> None:
    sent = [
        ("X-Roles", "admin"),
        ("X_Roles", "admin"),
        ("X_Auth_Token", "t"),
        ("X-Forwarded-Host", "h"),
        ("Accept", "a"),
        ("accept", "b"),
    ]
    assert clean_headers([*sent, ("OpenStack-System-Scope", "all"), ("X-Service-Token", "t")]) == {"accept": "a,b"}
    assert all_headers([("X-Auth-Token", "one"), ("x-auth-token", "two")])["x-auth-token"] == "one,two"


class Front:
    """A gateway whose one image path is served by ``handler``."""

    def __init__(self, handler: Any) -> None:
        row = Row(pattern="/v2/x{rest:*}", kind=Kind.HUB, handler="it")
        self.conf = load([], [])
        self.conf.set_override("call_deadline", 0.3)
        core: Any = SimpleNamespace(conf=self.conf)
        tokens: Any = SimpleNamespace(validate=lambda token: _now(CALLER))
        self.gateway = Gateway(core, tokens, {"image": (row,)}, {"it": handler})

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(self.gateway.server(), shutdown_timeout=1.0)  # as cascade.cmd does
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/image/v2/x"
        finally:
            await runner.cleanup()


async def _now(value: Any) -> Any:
    return value


def streaming(chunks: Any, released: asyncio.Event, length: int = 1 << 40) -> Any:
    """A handler whose answer is a stream of ``length`` promised bytes."""

    async def handler(core: Any, req: Request) -> Response:
        async def release() -> None:
            released.set()

        return Response(status=200, headers={"Content-Length": str(length)}, stream=chunks(), release=release)

    return handler


async def test_a_service_that_breaks_off_does_not_end_in_other_bytes() -> None:
    released = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise SiteTimeout("hub", "broke off")

    async with Front(streaming(half, released, 1000)).serve() as url, aiohttp.ClientSession() as client, client.get(url) as got:
        assert got.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()
    assert released.is_set()


@pytest.mark.parametrize("leaves", [True, False], ids=["client leaves", "client never reads"])
async def test_what_a_client_holds_is_let_go(leaves: bool, caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * (1 << 18)

    async with Front(streaming(endless, released)).serve() as url:
        host, _, port = url.split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /image/v2/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(10)
        if leaves:
            writer.transport.abort()
        await asyncio.wait_for(released.wait(), 5)
        writer.close()
    assert not [r for r in caplog.records if r.exc_info]


async def test_a_body_that_never_comes() -> None:
    async def handler(core: Any, req: Request) -> Response:
        raise AssertionError("not reached")

    async with Front(handler).serve() as url:
        host, _, port = url.split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /image/v2/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_a_client_that_leaves_while_it_uploads(caplog: pytest.LogCaptureFixture) -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def handler(core: Any, req: Request) -> Response:
        assert req.stream is not None
        try:
            async for _ in req.stream:
                pass
        except BaseException as e:
            ended.set_result(e)
            raise
        ended.set_result(None)
        return Response(status=204)

    async with Front(handler).serve() as url:
        host, _, port = url.split("/")[2].partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = b"PUT /image/v2/x/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 99\r\n\r\nab"
        writer.write(head)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert isinstance(await asyncio.wait_for(ended, 5), ConnectionError)
        await asyncio.sleep(0.05)
    assert not [r for r in caplog.records if r.exc_info]


@pytest.mark.parametrize("path", ["/", "/v3/", "/v3"])
def test_the_slash_of_a_root_is_kept(path: str) -> None:
    assert split_target("/volume" + path)[1] == path
    assert split_target("/network/v2.0/networks/")[1] == "/v2.0/networks"
    assert split_target("/volume/v3/volumes/")[1] == "/v3/volumes/"  # unknown to Cinder, as to Nova and Glance


@pytest.mark.parametrize("shape", ["token", "bare"])
def test_a_catalogue_is_cut_down_wherever_it_stands(shape: str) -> None:
    rows = [{"type": "compute", "endpoints": [{"region_id": r, "url": f"http://{r}"} for r in ("cascade", "osaka")]}]
    doc = {"token": {"catalog": rows}} if shape == "token" else {"catalog": rows}
    reply = Reply("hub", 200, {"content-type": "application/json"}, json.dumps(doc).encode())
    core: Any = SimpleNamespace(conf=SimpleNamespace(region="cascade"))
    assert b"osaka" not in filtered(core, reply) and b"http://cascade" in filtered(core, reply)


async def test_a_sites_refusal_names_no_address() -> None:
    async def handler(core: Any, req: Request) -> Response:
        raise NativeFault(409, b'{"message": "see http://10.0.0.7:9292/v2/images/x"}', {}, "paris")

    front = Front(handler)
    front.gateway.core.south = SimpleNamespace(base_urls=lambda target: {"image": "http://10.0.0.7:9292"})  # type: ignore[assignment]
    async with front.serve() as url, aiohttp.ClientSession() as client, client.get(url) as got:
        assert got.status == 409 and "10.0.0.7" not in await got.text()


class Heat:
    """A hub that has Heat, or not; what it was asked is written down."""

    def __init__(self, *services: str) -> None:
        self.services, self.asked = services, list[tuple[str, str, dict[str, str]]]()

    def base_urls(self, target: str) -> dict[str, str]:
        return {s: f"http://south/{s}/v1/project" for s in self.services}

    async def anonymous(self, target: str, service: str, method: str, path: str, *, headers: dict[str, str], **_: Any) -> Reply:
        self.asked.append((target, path, headers))
        return Reply("hub", 302, {"location": f"http://south/{service}/v1/p/stacks/a/b"}, b"")


async def test_a_service_that_is_the_hubs_alone_judges_the_token_itself() -> None:
    """Validated nowhere else; and links are the gateway's."""
    front, heat = Front(None), Heat("identity", "orchestration")
    front.gateway.core.south = heat  # type: ignore[assignment]
    async with front.serve() as url, aiohttp.ClientSession() as client:
        stack = url.replace("/image/v2/x", "/orchestration/v1/p/stacks/a")
        async with client.get(stack, headers={"X-Auth-Token": "mine", "X-Roles": "admin"}, allow_redirects=False) as got:
            assert got.status == 302
            assert got.headers["location"] == f"{front.conf.public_url}/orchestration/v1/p/stacks/a/b"
        async with client.post(stack, data=b"x" * 200_000, allow_redirects=False) as got:
            assert got.status == 302  # larger than any other service takes
        async with client.post(stack, data=b"x" * (2**20 + 1)) as got:
            assert got.status == 413
        async with client.get(url.replace("/image/v2/x", "/")) as got:
            assert "orchestration" in (await got.json())["services"]
        heat.services = ("identity",)
        async with client.get(stack) as got:
            assert got.status == 404
    (target, path, headers), _ = heat.asked
    assert (target, path, headers["x-auth-token"]) == ("hub", "/v1/p/stacks/a", "mine") and "x-roles" not in headers

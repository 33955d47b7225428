"""Consoles by relay: the instance's own screen and line are at the end, no site's address is seen on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import pytest

from tests.lab.rest import Cloud, raw

TYPES = {"novnc": "vnc", "spice-html5": "spice", "serial": "serial"}
OLD = {"novnc": "os-getVNCConsole", "spice-html5": "os-getSPICEConsole", "serial": "os-getSerialConsole"}


@pytest.fixture(scope="module", params=["paris", "tokyo"])
def server(clouds: dict[str, Cloud], request: pytest.FixtureRequest) -> Iterator[str]:
    """A server without networks in each zone."""
    c = clouds["cascade"]
    image = c("image", "POST", "/v2/images", {"name": "console", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    c("image", "PUT", f"/v2/images/{image}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    body = {"name": "console", "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": request.param}
    made = c("compute", "POST", "/servers", {"server": body}, version="2.60")
    assert made.status == 202, made.body
    ident: str = made.json()["server"]["id"]
    c.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    yield ident
    c("compute", "DELETE", f"/servers/{ident}")
    c("image", "DELETE", f"/v2/images/{image}")


def address(c: Cloud, server: str, kind: str) -> str:
    """The console's address, checked for naming nobody but the gateway."""
    body = {"remote_console": {"protocol": TYPES[kind], "type": kind}}
    got = c("compute", "POST", f"/servers/{server}/remote-consoles", body, version="2.8")
    assert got.status == 200, got.body
    doc = got.json()["remote_console"]
    assert (doc["protocol"], doc["type"]) == (TYPES[kind], kind)
    url: str = doc["url"]
    assert urlsplit(url).netloc == urlsplit(c.endpoints["compute"]).netloc
    return url


def socket_url(url: str) -> str:
    """Where the console's page would connect to."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if parts.scheme == "ws":
        return url
    path = query["path"][0]
    more = "" if "?" in path else f"?token={query['token'][0]}"
    return f"ws://{parts.netloc}/{path}{more}"


async def _talk(url: str, send: list[tuple[bytes, int]], **headers: str) -> bytes:
    """Open a websocket; after each piece sent, read so many bytes. What came in all."""
    out = b""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers, protocols=["binary"]) as ws:
        for data, size in send:
            if data:
                await ws.send_bytes(data)
            piece = b""
            while len(piece) < size:
                message = await ws.receive(10)
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return out + piece
                piece += message.data
            out += piece
    return out


def test_screen(clouds: dict[str, Cloud], server: str) -> None:
    """VNC to its end: the screen is named after this very server."""
    hello = [(b"", 12), (b"RFB 003.008\n", 2), (b"\x01", 4), (b"\x01", 24 + 36)]
    got = asyncio.run(_talk(socket_url(address(clouds["cascade"], server, "novnc")), hello))
    assert got.startswith(b"RFB 003.008\n")
    assert got.endswith(server.encode())


def test_serial_line(clouds: dict[str, Cloud], server: str) -> None:
    """The line answers."""
    banner = len(f"serial line of {server}\r\n")
    got = asyncio.run(_talk(socket_url(address(clouds["cascade"], server, "serial")), [(b"", banner), (b"hello", 5)]))
    assert got == f"serial line of {server}\r\nhello".encode()


@pytest.mark.parametrize("kind", ["novnc", "spice-html5"])
def test_page(clouds: dict[str, Cloud], server: str, kind: str) -> None:
    """The console's page and what it loads, for who holds the address; for nobody else."""
    url = address(clouds["cascade"], server, kind)
    page = raw(url, "GET")
    assert page.status == 200 and b"<html" in page.body.lower()
    script = {"novnc": "core/rfb.js", "spice-html5": "spiceconn.js"}[kind]
    part = urljoin(url, script)
    cookie = page.headers["set-cookie"].partition(";")[0]
    assert raw(part, "GET", headers={"Cookie": cookie}).status == 200
    assert raw(part, "GET").status == 403
    assert raw(urljoin(url, "no-such-page.html"), "GET", headers={"Cookie": cookie}).status == 404
    assert raw(part.replace("/console/", "/console/../console/x/..%2f"), "GET", headers={"Cookie": cookie}).status in (403, 404)
    assert raw(url, "POST").status == 405


def test_tunnel_of_spice(clouds: dict[str, Cloud], server: str) -> None:
    """Bytes pass both ways."""
    got = asyncio.run(_talk(socket_url(address(clouds["cascade"], server, "spice-html5")), [(b"REDQ", 20)]))
    assert len(got) >= 20


def test_wrong_token(clouds: dict[str, Cloud], server: str) -> None:
    """A console is closed at once for who has no valid token, and is not opened by a page of another host."""
    url = socket_url(address(clouds["cascade"], server, "novnc"))
    bad = url.replace("token=", "token=bad")
    assert asyncio.run(_talk(bad, [(b"", 12)])) == b""
    with pytest.raises(aiohttp.WSServerHandshakeError) as e:
        asyncio.run(_talk(url, [(b"", 12)], Origin="http://elsewhere.example"))
    assert e.value.status == 403


def test_as_administrators_see_it(clouds: dict[str, Cloud], server: str) -> None:
    """os-console-auth-tokens says which server it is."""
    token = parse_qs(urlsplit(socket_url(address(clouds["cascade"], server, "novnc"))).query)["token"][0]
    got = clouds["cascade-admin"]("compute", "GET", f"/os-console-auth-tokens/{token}", version="2.31")
    assert got.status == 200, got.body
    assert got.json()["console"]["instance_uuid"] == server
    assert clouds["cascade"]("compute", "GET", f"/os-console-auth-tokens/{token}", version="2.31").status == 403


def test_others(clouds: dict[str, Cloud], server: str) -> None:
    """Nobody else's, and not the reader's."""
    for kind, old in OLD.items():
        body: dict[str, Any] = {"remote_console": {"protocol": TYPES[kind], "type": kind}}
        path = f"/servers/{server}/remote-consoles"
        assert clouds["cascade-other"]("compute", "POST", path, body, version="2.8").status == 404
        assert clouds["cascade-reader"]("compute", "POST", path, body, version="2.8").status == 403
        got = clouds["cascade"]("compute", "POST", f"/servers/{server}/action", {old: {"type": kind}}, version="2.1")
        assert got.status == 200, got.body
        assert urlsplit(got.json()["console"]["url"]).netloc == urlsplit(clouds["cascade"].endpoints["compute"]).netloc

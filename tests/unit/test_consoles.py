"""A site's console address becomes one of ours, or nothing; every other answer of the site passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.api import actions, consoles
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from cascade.model.reply import Reply
from cascade.sites.grants import Grant, Grants
from tests.unit.admin_fake import caller

GRANTS = Grants(b"k" * 32)


def core(**options: str) -> Any:
    south = SimpleNamespace(grants=GRANTS, base_urls=lambda site: {"compute": "https://paris.example:8774/v2.1"})
    sites = SimpleNamespace(get=lambda site: SimpleNamespace(options=options))
    return SimpleNamespace(south=south, sites=sites, conf=SimpleNamespace(public_url="https://cloud.example"))


def request(body: bytes) -> Request:
    return Request(service="compute", method="POST", path="/servers/s/x", params=[], headers={}, body=body, caller=caller("member"),
                   request_id="r", match={"id": "s"})  # fmt: skip


async def answer(monkeypatch: pytest.MonkeyPatch, body: bytes, url: str, status: int = 200, **options: str) -> Response:
    """What a tenant gets where the site answers ``url``."""

    async def found(*_: Any) -> Any:
        return SimpleNamespace(site="paris")

    async def reply(*_: Any) -> Reply:
        return Reply("paris", status, {"content-type": "application/json"}, b'{"remote_console": {"url": "%s"}}' % url.encode())

    async def passed(_: Any, __: Any, ___: str, r: Reply) -> Response:
        return Response.passed(r)

    for module in (actions, consoles):
        monkeypatch.setattr(module, "locate", found)
    monkeypatch.setattr(consoles, "site_reply", reply)
    monkeypatch.setattr(consoles, "from_site", passed)
    handler = actions.server_action if body.startswith(b'{"os-') else consoles.remote_console
    return await handler(core(**options), request(body))


NOVNC = b'{"remote_console": {"protocol": "vnc", "type": "novnc"}}'
SERIAL = b'{"os-getSerialConsole": {"type": "serial"}}'
SPICE = b'{"remote_console": {"protocol": "spice", "type": "spice-html5"}}'


@pytest.mark.parametrize(
    ("body", "url", "north", "grant"),
    [
        (NOVNC, "http://paris.example:6080/vnc_auto.html?path=%3Ftoken%3Dabc",
         "https://cloud.example/console/paris/vnc_auto.html?path=console%2Fparis%2F%3Ftoken%3D",
         ("http://paris.example:6080/", "ws://paris.example:6080/?token=abc")),
        (NOVNC, "https://paris.example/novnc/vnc.html?path=novnc/websockify%3Ftoken%3Dabc",
         "https://cloud.example/console/paris/vnc.html?path=console%2Fparis%2F%3Ftoken%3D",
         ("https://paris.example/novnc/", "wss://paris.example/novnc/websockify?token=abc")),
        (SERIAL, "ws://paris.example:6083/?token=abc", "wss://cloud.example/console/paris/?token=",
         ("", "ws://paris.example:6083/?token=abc")),
        (SPICE, "http://paris.example:6082/spice_auto.html?token=abc", "https://cloud.example/console/paris/spice_auto.html?token=",
         ("http://paris.example:6082/", "ws://paris.example:6082/websockify?token=abc")),
    ],
)  # fmt: skip
async def test_exchanged(monkeypatch: pytest.MonkeyPatch, body: bytes, url: str, north: str, grant: tuple[str, str]) -> None:
    got = await answer(monkeypatch, body, url)
    assert b"paris.example" not in got.body and b"abc" not in got.body
    shown = got.body.decode().partition('"url":"')[2].partition('"')[0]
    assert shown.startswith(north)
    opened = GRANTS.open(shown.removeprefix(north).partition("&")[0])
    assert opened is not None
    assert (opened.site, opened.pages, opened.socket) == ("paris", *grant)


@pytest.mark.parametrize(
    ("body", "url", "kind"),
    [
        (NOVNC, "http://169.254.169.254/vnc.html?path=%3Ftoken%3Dabc", "novnc"),  # a host that is none of the site's
        (NOVNC, "file:///etc/passwd?path=%3Ftoken%3Dabc", "novnc"),
        (NOVNC, "http://paris.example:6080/vnc_auto.html", "novnc"),
        (b'{"os-getVNCConsole": {"type": "xvpvnc"}}', "http://paris.example:6081/console?token=abc", "xvpvnc"),
        (b'{"os-getMKSConsole": {}}', "http://paris.example/mks?token=abc", "webmks"),
    ],
)
async def test_not_relayed(monkeypatch: pytest.MonkeyPatch, body: bytes, url: str, kind: str) -> None:
    with pytest.raises(Fault, match=f"Unavailable console type {kind}") as e:
        await answer(monkeypatch, body, url)
    assert e.value.status == 400


async def test_host_by_option(monkeypatch: pytest.MonkeyPatch) -> None:
    got = await answer(monkeypatch, SERIAL, "ws://10.0.0.9:6083/?token=abc", console_hosts="10.0.0.8, 10.0.0.9")
    assert got.status == 200


async def test_refused_by_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await answer(monkeypatch, NOVNC, "", status=409)).status == 409


@given(st.builds(Grant, st.text(), st.text(), st.text(), st.text()), st.text())
def test_grants(grant: Grant, other: str) -> None:
    """Only what was sealed with the key opens, and it is a word of a URL."""
    text = GRANTS.seal(grant)
    assert GRANTS.open(text) == grant
    assert urlsplit(f"http://h/?token={text}").query == f"token={text}"
    assert Grants(b"x" * 32).open(text) is None
    assert GRANTS.open(other) is None
    assert GRANTS.open(text[:-2]) is None

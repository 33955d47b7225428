"""What is refused for how it is written, as each service does it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascade.api.app import _below_version, _unreadable
from cascade.api.boot import read
from cascade.api.forward import from_site
from cascade.api.request import Request
from cascade.api.sanitise import split_target, undecodable
from cascade.api.versions import requested
from cascade.model.errors import WEBOB, BadReply, Fault, fault_body
from cascade.model.reply import Reply
from cascade.sites.wire import address
from tests.unit.sites_fake import caller

WINDOW = ("2.1", "2.100")


def request(service: str = "compute", path: str = "/", body: bytes = b"", **headers: str) -> Request:
    return Request(
        service=service, method="POST", path=path, params=[], headers={k.replace("_", "-"): v for k, v in headers.items()},
        body=body, caller=caller("member", project="a" * 32), request_id="r",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("service", "header", "version"),
    [
        ("compute", "compute 2.96", "2.96"), ("compute", "COMPUTE\t2.96", "2.96"), ("compute", "compute latest", "2.100"),
        ("compute", "compute LATEST", None), ("compute", "compute 2.01", None), ("compute", "compute", "2.1"),
        ("compute", "compute 2.5, compute 2.6", "2.6"), ("compute", "identity 3.1", "2.1"), ("compute", "compute 2.1 2.2", None),
        ("volume", "volume 3.60", "3.60"), ("volume", "volume\t3.60", "3.60"), ("volume", "VOLUME 3.60", None),
        ("volume", "identity 3.1", None), ("volume", "volume 3.5, volume 3.6", "3.5"), ("volume", "volume", None),
        ("placement", "placement 1.5", "1.5"), ("placement", "compute 2.1", "1.0"), ("network", "network 1.0", None),
    ],
)  # fmt: skip
def test_microversions_as_each_service_reads_them(service: str, header: str, version: str | None) -> None:
    window = {"compute": WINDOW, "volume": ("3.0", "3.71")}.get(service, ("1.0", "1.39"))
    assert requested({"openstack-api-version": header}, service, window) == version


def test_novas_older_header_and_none() -> None:
    assert requested({"x-openstack-nova-api-version": "2.5, 2.6"}, "compute", WINDOW) == "2.6"
    assert requested({}, "volume", ("3.0", "3.71")) == "3.0"
    with pytest.raises(Fault) as caught:
        requested({"openstack-api-version": "placement x"}, "placement", ("1.0", "1.39"))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("service", "media", "refused"),
    [
        ("compute", "application/json; charset=x", False), ("compute", "text/plain", False), ("compute", "banana", True),
        ("volume", "application/json", False), ("volume", "text/plain", True),
    ],
)  # fmt: skip
def test_media_types(service: str, media: str, refused: bool) -> None:
    assert _unreadable(request(service, body=b"{}", content_type=media)) is refused
    assert not _unreadable(request(service, content_type="banana")) and not _unreadable(request(service, body=b"{}"))


def test_a_query_that_is_no_utf8_goes_on_as_it_is() -> None:
    _, _, params = split_target("/compute/v2.1/servers?name=%FF&ok=%C3%AB")
    assert undecodable(params) and not undecodable([("ok", "ë")])
    assert str(address("http://site/servers", params)).endswith("?name=%FF&ok=%C3%AB")
    with pytest.raises(Fault) as caught:
        address("http://site/flavors/" + "x" * 70_000, None)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"{", b""])
def test_a_body_that_cannot_be_decoded_is_none(body: bytes) -> None:
    assert request(body=body).json() is None


async def test_a_refusal_that_quotes_half_a_character_passes() -> None:
    async def none(*_: Any) -> dict[str, Any]:
        return {}

    core: Any = SimpleNamespace(
        conf=SimpleNamespace(public_url="http://cloud"), south=SimpleNamespace(base_urls=lambda site: {}),
        store=SimpleNamespace(pairs=SimpleNamespace(to_hub=none)),
    )  # fmt: skip
    body = b'{"badRequest": {"code": 400, "message": "Value: a\\ud800b"}}'
    headers = {"content-type": "application/json"}
    answer = await from_site(core, request(), "paris", Reply("paris", 400, headers, body))
    assert (answer.status, answer.body) == (400, body)
    with pytest.raises(BadReply):
        await from_site(core, request(), "paris", Reply("paris", 200, headers, body))


@pytest.mark.parametrize(
    ("path", "below"),
    [("/v3/volumes.json", "/volumes"), ("/v3/scheduler-stats/get_pools.json", "/scheduler-stats/get_pools"),
     ("/v3/os-services.json", "/os-services.json")],
)  # fmt: skip
def test_cinders_formats(path: str, below: str) -> None:
    assert _below_version(request("volume", path)) == below


@pytest.mark.parametrize(
    ("value", "judged", "reservation"),
    [(True, False, True), ("False", False, False), ("on", False, True), ("nonesuch", True, False), (5, True, False),
     ([], True, None)],
)  # fmt: skip
def test_return_reservation_id(value: Any, judged: bool, reservation: bool | None) -> None:
    boot = read({"server": {"name": "n", "flavorRef": "1", "return_reservation_id": value}}, "2.1")
    assert boot is not None and boot.suspicious is judged
    assert judged or boot.reservation is reservation


def test_a_front_refuses_in_each_services_shape() -> None:
    fault = Fault(405, "no", kind=WEBOB)
    shapes = {
        s: msgspec.json.decode(fault_body(s, fault, accept="application/json")[0]).keys() for s in ("image", "identity", "volume")
    }
    webob = {"message", "code", "title"}
    assert shapes == {"image": webob, "identity": {"message"}, "volume": webob}
    assert fault_body("image", fault, accept="*/*")[1].startswith("text/html")

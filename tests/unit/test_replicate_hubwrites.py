"""Hub writes north: what is told to the sites, and who is asked first. The hub and the sites are stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascade.api import hubwrites, images
from cascade.api.request import Request
from cascade.model.errors import Fault, SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.table import find
from cascade.tables import compute, image, volume
from tests.unit.replicas_fake import caller

TABLES = {"compute": compute.ROWS, "volume": volume.ROWS, "image": image.ROWS}


class Core:
    """As much of ``Core`` as these handlers touch; ``told`` is what the sites hear."""

    def __init__(self, status: int = 202, answer: Any = None, in_use: str | Exception | None = None) -> None:
        self.told: list[Any] = []
        self.asked: list[str] = []
        self._status, self._answer, self._in_use = status, answer, in_use
        self.conf = SimpleNamespace(public_url="http://n")
        self.south = SimpleNamespace(call=self._call, base_urls=lambda _: {})
        self.replicas = SimpleNamespace(changed=lambda kind, ident: self.told.append((kind, ident)))
        self.volumes = SimpleNamespace(in_use=self._use)
        self.images = SimpleNamespace(changed=self._changed)

    async def _call(self, *_: Any, **__: Any) -> Reply:
        self.asked.append("hub")
        return Reply("hub", self._status, {}, msgspec.json.encode(self._answer) if self._answer else b"")

    async def _use(self, kind: str, ident: str) -> str | None:
        self.asked.append(f"sites {kind} {ident}")
        if isinstance(self._in_use, Exception):
            raise self._in_use
        return self._in_use

    async def _changed(self, ident: str, *, deleted: bool) -> None:
        self.told.append((ident, deleted))


def request(method: str, service: str, path: str, body: Any = None, *, admin: bool = True, query: str = "") -> Request:
    found = find(TABLES[service], method, path)
    assert found is not None, path
    params = [(k, v) for k, _, v in (q.partition("=") for q in query.split("&") if q)]
    return Request(
        service=service, method=method, path=path, params=params, headers={}, caller=caller(admin=admin), request_id="r",
        body=b"" if body is None else msgspec.json.encode(body), row=found[0], match=found[1],
    )  # fmt: skip


@pytest.mark.parametrize(("method", "service", "path", "answer", "told"), [
    ("POST", "compute", "/flavors", {"flavor": {"id": "m1"}}, [("flavor", "m1")]),
    ("DELETE", "compute", "/flavors/m1%20x", None, [("flavor", "m1 x")]),
    ("POST", "compute", "/flavors/m1/os-extra_specs", {"extra_specs": {}}, [("flavor", "m1")]),
    ("DELETE", "compute", "/flavors/m1/os-extra_specs/a:b", None, [("flavor", "m1")]),
    ("POST", "compute", "/flavors/m1/action", {"flavor_access": []}, [("flavor", "m1")]),
    ("DELETE", "compute", "/os-keypairs/my%20key", None, [("keypair", "u-ann/my key")]),
    ("POST", "volume", "/types", {"volume_type": {"id": "t"}}, [("volume_type", "t")]),
    ("PUT", "volume", "/types/t", {"volume_type": {"id": "t"}}, [("volume_type", "t")]),
    ("POST", "volume", "/types/t/action", None, [("volume_type", "t")]),
    ("POST", "volume", "/types/t/encryption", {"encryption": {}}, [("volume_type", "t")]),
    ("POST", "volume", "/group_types/g/group_specs", {"group_specs": {}}, [("group_type", "g")]),
    ("POST", "volume", "/qos-specs", {"qos_specs": {"id": "q"}}, [("qos_spec", "q")]),
    ("GET", "volume", "/qos-specs/q", {"qos_specs": {"id": "q"}}, []),
    ("GET", "volume", "/qos-specs/q/disassociate_all", None, [("qos_spec", "q"), ("volume_type", "*")]),
    ("DELETE", "volume", "/qos-specs/q", None, [("qos_spec", "q"), ("volume_type", "*")]),
])  # fmt: skip
async def test_sites_hear_what_changed(method: str, service: str, path: str, answer: Any, told: list[tuple[str, str]]) -> None:
    core = Core(answer=answer)
    await hubwrites.hub_write(core, request(method, service, path))  # type: ignore[arg-type]
    assert core.told == told


async def test_keypair_of_another_user_and_association_of_one_type() -> None:
    core = Core()
    await hubwrites.hub_write(core, request("DELETE", "compute", "/os-keypairs/k", query="user_id=u-bob"))  # type: ignore[arg-type]
    await hubwrites.hub_write(core, request("GET", "volume", "/qos-specs/q/associate", query="vol_type_id=t"))  # type: ignore[arg-type]
    assert core.told == [("keypair", "u-bob/k"), ("qos_spec", "q"), ("volume_type", "t")]


async def test_refused_by_the_hub_is_told_to_nobody() -> None:
    core = Core(status=403)
    answer = await hubwrites.hub_write(core, request("DELETE", "compute", "/flavors/m1", admin=False))  # type: ignore[arg-type]
    assert answer.status == 403 and core.told == []


@pytest.mark.parametrize(("method", "path", "words"), [
    ("DELETE", "/types/t", "Target volume type is still in use."),
    ("PUT", "/types/t/extra_specs/k", "Volume Type is currently in use."),
    ("DELETE", "/types/t/encryption/provider", "Cannot delete encryption specs. Volume type in use."),
    ("DELETE", "/group_types/t", "Target group type is still in use."),
])  # fmt: skip
async def test_sites_are_heard_first(method: str, path: str, words: str) -> None:
    core = Core(in_use="tokyo")
    with pytest.raises(Fault, match=words) as e:
        await hubwrites.hub_write(core, request(method, "volume", path))  # type: ignore[arg-type]
    assert e.value.status == 400 and "hub" not in core.asked
    core = Core(in_use=SiteUnreachable("tokyo", "down"))
    with pytest.raises(Fault) as e:
        await hubwrites.hub_write(core, request(method, "volume", path))  # type: ignore[arg-type]
    assert e.value.status == 503 and "hub" not in core.asked


@pytest.mark.parametrize(
    ("method", "path", "admin"), [("PUT", "/types/t", True), ("DELETE", "/types/t", False), ("POST", "/types", True)]
)
async def test_sites_are_not_asked_in_vain(method: str, path: str, admin: bool) -> None:
    core = Core(in_use="tokyo")
    await hubwrites.hub_write(core, request(method, "volume", path, admin=admin))  # type: ignore[arg-type]
    assert core.asked == ["hub"]


@pytest.mark.parametrize(("method", "path", "told"), [
    ("DELETE", "/v2/images/i", [("i", True)]),
    ("DELETE", "/v2/images/i/members/m", [("i", False)]),
    ("POST", "/v2/images/i/actions/deactivate", [("i", False)]),
    ("DELETE", "/v2/images/i/tags/t", [("i", False)]),
    ("POST", "/v2/images", []),
])  # fmt: skip
async def test_image_writes(method: str, path: str, told: list[tuple[str, bool]]) -> None:
    core = Core()
    await images.image_write(core, request(method, "image", path))  # type: ignore[arg-type]
    assert core.told == told


@pytest.mark.parametrize(("method", "path", "body"), [
    ("POST", "/v2/images", {"name": "x", "cascade_image": "y"}),
    ("POST", "/v2/images", {"tags": ["a", "cascade_image:y"]}),
    ("PATCH", "/v2/images/i", [{"op": "add", "path": "/cascade_image", "value": "y"}]),
    ("PATCH", "/v2/images/i", [{"add": "/cascade_image", "value": "y"}]),
    ("PATCH", "/v2/images/i", [{"op": "replace", "path": "/tags", "value": ["cascade_image:y"]}]),
    ("PUT", "/v2/images/i/tags/cascade_image%3Ay", None),
])  # fmt: skip
async def test_our_stamps_are_nobody_elses(method: str, path: str, body: Any) -> None:
    core = Core()
    with pytest.raises(Fault, match="reserved") as e:
        await images.image_write(core, request(method, "image", path, body))  # type: ignore[arg-type]
    assert e.value.status == 403 and core.asked == []

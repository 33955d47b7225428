"""Build requests as Nova shows them: fields by microversion, filters, order, markers."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.api.handlers import HANDLERS
from cascade.routing.building import Held, page, show
from cascade.sites.buildrequest import BuildRequest
from cascade.tables.compute import ROWS

PUBLIC = "http://cloud/compute"
TIES = ROWS[0].ties


def held(number: int, fault: dict[str, Any] | None = None, deleting: bool = False, **server: Any) -> Held:
    ident = f"00000000-0000-4000-8000-{number:012d}"
    server = {"name": f"n{number}", "imageRef": "i", **server}
    request = BuildRequest(
        user_id="u", user_name="ann", user_domain_id="d", project_id="p", project_name="p", project_domain_id="d", roles=[],
        version="2.90", body={"server": server}, images=["i"], server=server, description="why", hints={"group": "g"}, group="g",
        flavor={"id": "42", "name": "m1.nano", "vcpus": 1, "ram": 64, "disk": 1, "swap": ""}, properties={"hw_vif_model": "e1000"},
    )  # fmt: skip
    return Held(
        id=ident, intent=ident.replace("-", ""), site="paris", project_id="p", user_id="u", created=1_700_000_000.0 + number,
        deleting=deleting, fault=fault, request=request,
    )  # fmt: skip


def shown(h: Held, version: str = "2.100", admin: bool = False) -> dict[str, Any]:
    return show(h, version=version, admin=admin, public=PUBLIC)


@pytest.mark.parametrize(
    ("since", "field", "value"),
    [
        ("2.9", "locked", False), ("2.19", "description", "why"), ("2.26", "tags", ["blue"]), ("2.73", "locked_reason", None),
        ("2.63", "trusted_image_certificates", None), ("2.71", "server_groups", ["g"]), ("2.90", "OS-EXT-SRV-ATTR:hostname", "n1"),
        ("2.96", "pinned_availability_zone", "paris"), ("2.100", "scheduler_hints", {"group": "g"}),
    ],
)  # fmt: skip
def test_fields_by_microversion(since: str, field: str, value: Any) -> None:
    one = held(1, tags=["blue"], availability_zone="paris:cmp1.paris")
    before = f"2.{int(since[2:]) - 1}"
    assert field not in shown(one, before) and shown(one, since)[field] == value


def test_what_only_administrators_see() -> None:
    one = held(1, user_data="c2VjcmV0")
    assert "OS-EXT-SRV-ATTR:user_data" not in shown(one) and "OS-EXT-SRV-ATTR:host" not in shown(one)
    assert shown(one, admin=True)["OS-EXT-SRV-ATTR:user_data"] == "c2VjcmV0"
    assert "OS-EXT-SRV-ATTR:user_data" not in shown(one, "2.2", admin=True)


def test_flavor_and_image() -> None:
    assert shown(held(1), "2.46")["flavor"]["id"] == "42"
    assert shown(held(1), "2.47")["flavor"]["original_name"] == "m1.nano" and "id" not in shown(held(1), "2.47")["flavor"]
    assert "properties" not in shown(held(1), "2.97")["image"] and shown(held(1), "2.98")["image"]["properties"]
    assert shown(held(1, imageRef=""))["image"] == ""


def test_states() -> None:
    building, going = shown(held(1)), shown(held(1, deleting=True))
    failed = shown(held(1, fault={"code": 400, "message": "no", "at": 1_700_000_100.0}))
    assert (building["status"], building["OS-EXT-STS:task_state"], building["progress"]) == ("BUILD", "scheduling", 0)
    assert (going["status"], going["OS-EXT-STS:task_state"]) == ("BUILD", "deleting")
    assert (failed["status"], failed["OS-EXT-STS:vm_state"], failed["OS-EXT-STS:task_state"]) == ("ERROR", "error", None)
    assert failed["fault"] == {"code": 400, "message": "no", "created": "2023-11-14T22:15:00Z"} and "progress" not in failed


@pytest.mark.parametrize(
    ("name", "hostname"),
    [("My server_1", "my-server-1"), ("a.b", "a-b"), ("..", "server-00000000-0000-4000-8000-000000000001"), ("x" * 70, "x" * 63)],
)
def test_host_name(name: str, hostname: str) -> None:
    assert shown(held(1, name=name))["OS-EXT-SRV-ATTR:hostname"] == hostname


THREE = [
    held(1, name="b", tags=["blue", "red"], key_name="k"),
    held(2, name="c", metadata={"a": "1"}, availability_zone="paris"),
    held(3, name="a", tags=["red"], fault={"code": 500, "message": "", "at": 1_700_009_000.0}),
]


def names(*params: tuple[str, str], version: str = "2.90", admin: bool = True) -> list[str] | None:
    docs = [show(h, version=version, admin=admin, public=PUBLIC, alone=False) for h in THREE]
    rows = page(THREE, docs, params, version=version, admin=admin, ties=TIES)
    return None if rows is None else [d["name"] for d in rows]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("name", "[bc]", "cb"), ("status", "error", "a"), ("status", "ACTIVE", ""), ("image", "i", "acb"), ("image", "j", ""),
        ("flavor", "42", "acb"), ("key_name", "k", "b"), ("availability_zone", "paris", "c"), ("uuid", THREE[1].id, "c"),
        ("tags", "blue,red", "b"), ("tags-any", "blue,red", "ab"), ("not-tags", "blue,red", "ac"), ("not-tags-any", "red", "c"),
        ("vm_state", "building", "cb"), ("task_state", "scheduling", "cb"), ("ip", "10.", ""), ("host", "h", ""),
        ("locked", "false", "acb"), ("locked", "true", ""), ("deleted", "true", ""), ("user_id", "u", "acb"), ("user_id", "v", ""),
        ("changes-since", "2023-11-14T23:00:00Z", "a"), ("changes-before", "2023-11-14T23:00:00", "cb"),
        ("description", "w.y", "acb"), ("hostname", "^a$", "a"), ("limit", "2", "ac"), ("name", "[", "acb"),
    ],
)  # fmt: skip
def test_filters(name: str, value: str, found: str) -> None:
    """In the default order: the newest first."""
    assert names((name, value)) == list(found)


def test_filters_that_only_administrators_have() -> None:
    """Nova leaves out what a user may not filter by."""
    assert names(("availability_zone", "paris"), version="2.82", admin=False) == list("acb")
    assert names(("availability_zone", "paris"), version="2.83", admin=False) == ["c"]
    assert names(("uuid", THREE[1].id), admin=False) == list("acb")


def test_order_and_marker() -> None:
    by_name = (("sort_key", "display_name"), ("sort_dir", "asc"))
    assert names(*by_name) == list("abc")
    assert names(*by_name, ("marker", THREE[0].id)) == ["c"]
    assert names(*by_name, ("marker", THREE[2].id), ("limit", "1")) == ["b"]
    assert names(("marker", THREE[1].id)) == ["b"]
    assert names(("marker", "unknown")) is None
    assert names(("marker", THREE[0].id), ("status", "ERROR")) == []  # a marker need not be among what is shown


def test_whatever_is_asked_of_a_server_may_be_asked_of_a_build_request() -> None:
    """Every path below a server goes through ``unless_building``: at the site nobody knows its id."""
    asked = {r.handler or r.kind.value for r in ROWS if r.resource == "server" and "{id}" in r.pattern}
    assert "server_delete" in asked
    assert {name for name in asked if HANDLERS[name].__qualname__ != "unless_building.<locals>.serve"} == set()

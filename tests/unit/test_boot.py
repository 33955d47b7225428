"""What a POST /servers names."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.api.boot import Boot, read


def boot(**server: Any) -> Boot:
    got = read({"server": {"name": "n", "flavorRef": "42", **server}}, "2.90")
    assert got is not None
    return got


@pytest.mark.parametrize(
    ("zone", "name", "hosts"),
    [
        ("paris", "paris", []),
        ("paris:cmp1.paris", "paris", ["cmp1.paris"]),
        ("paris::cmp1.paris", "paris", ["cmp1.paris"]),
        ("paris:cmp1.paris:cmp1.paris", "paris", ["cmp1.paris", "cmp1.paris"]),
        ("paris:nonsense", "paris", []),
        (":cmp1.tokyo", None, ["cmp1.tokyo"]),
        ("", None, []),
    ],
)
def test_zone_and_forced_host(zone: str, name: str | None, hosts: list[str]) -> None:
    got = boot(availability_zone=zone)
    assert (got.zone, got.hosts) == (name, hosts)


def test_requested_hosts_are_known_even_where_nobody_has_them() -> None:
    assert boot(host="cmp1.paris", hypervisor_hostname="nonsense").hosts == ["cmp1.paris", "nonsense"]


@pytest.mark.parametrize("ref", ["42", 42, "http://cloud/compute/v2.1/flavors/42"])
def test_flavor_by_id_or_address(ref: Any) -> None:
    assert boot(flavorRef=ref).flavor == "42"


@pytest.mark.parametrize("body", [None, [], {}, {"server": None}, {"server": {"name": 1, "flavorRef": "1"}}])
def test_what_is_no_boot(body: Any) -> None:
    assert read(body, "2.1") is None


@pytest.mark.parametrize(
    ("devices", "sizes"),
    [
        ([{"source_type": "image", "destination_type": "volume", "uuid": "i", "volume_size": 3}], [3]),
        ([{"source_type": "image", "destination_type": "local", "uuid": "i"}], []),
        (
            [{"source_type": "blank", "destination_type": "volume", "volume_size": "2"}, {"source_type": "snapshot", "uuid": "s"}],
            [2, 0],
        ),
        ([{"source_type": "volume", "destination_type": "volume", "uuid": "v"}], []),
        ("nonsense", []),
    ],
)
def test_volumes_nova_will_make(devices: Any, sizes: list[int]) -> None:
    assert boot(block_device_mapping_v2=devices).new_volumes == sizes


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, (1, 1)),
        ({"min_count": 2}, (2, 2)),
        ({"min_count": "2", "max_count": 3}, (2, 3)),
        ({"max_count": 3}, (1, 3)),
        ({"min_count": 3, "max_count": 2}, (0, 0)),
        *(({key: wrong}, (0, 0)) for key in ("min_count", "max_count") for wrong in (2.5, "2.5", True, None, 0, -1, "x", [])),
    ],
)
def test_how_many_and_what_is_no_number(asked: dict[str, Any], count: tuple[int, int]) -> None:
    assert boot(**asked).count == count

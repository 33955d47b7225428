"""Quota over sites: what is counted, by whom, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.rest import Cloud


@pytest.fixture(scope="module")
def c(clouds: dict[str, Cloud], admin: Cloud) -> Iterator[Cloud]:
    """A tenant whose quota nobody else depends on."""
    other = clouds["cascade-other"].login()
    yield other
    for service in ("compute", "volume"):
        admin(service, "DELETE", f"/os-quota-sets/{other.project_id}")


@pytest.fixture(scope="module")
def image(c: Cloud) -> Iterator[str]:
    body = {"name": "counted", "disk_format": "raw", "container_format": "bare"}
    made = c("image", "POST", "/v2/images", body).json()["id"]
    c("image", "PUT", f"/v2/images/{made}/file", b"x" * 64, headers={"Content-Type": "application/octet-stream"})
    yield made
    c("image", "DELETE", f"/v2/images/{made}")


def limit(admin: Cloud, c: Cloud, service: str, user: str = "", **limits: int) -> None:
    who: dict[str, Any] = {"user_id": user} if user else {}
    assert admin(service, "PUT", f"/os-quota-sets/{c.project_id}", {"quota_set": limits}, **who).status == 200


def used(c: Cloud) -> dict[str, int]:
    rows = c("volume", "GET", f"/os-quota-sets/{c.project_id}", usage="true").json()["quota_set"]
    rows |= c("compute", "GET", f"/os-quota-sets/{c.project_id}/detail").json()["quota_set"]
    return {k: v["in_use"] for k, v in rows.items() if isinstance(v, dict)}


def soon(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


def boot(c: Cloud, **more: Any) -> Any:
    server = {"name": "counted", "flavorRef": "42", "networks": "none", "availability_zone": "paris", **more}
    return c("compute", "POST", "/servers", {"server": server}, version="2.90")


def gone(c: Cloud, server: str) -> None:
    assert c("compute", "DELETE", f"/servers/{server}").status == 204
    c.until("compute", f"/servers/{server}", lambda a: a.status == 404)


def test_a_boot_volume_counts_as_long_as_it_lives(c: Cloud, image: str) -> None:
    before = used(c)
    device = {"boot_index": 0, "source_type": "image", "destination_type": "volume", "uuid": image, "volume_size": 1,
              "delete_on_termination": True}  # fmt: skip
    made = boot(c, block_device_mapping_v2=[device])
    assert made.status == 202, made.body
    server = made.json()["server"]["id"]
    c.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
    soon(lambda: (used(c)["volumes"], used(c)["gigabytes"]) == (before["volumes"] + 1, before["gigabytes"] + 1))
    gone(c, server)
    soon(lambda: used(c) == before)


def test_no_room_for_a_boot_volume(c: Cloud, admin: Cloud, image: str) -> None:
    limit(admin, c, "volume", volumes=used(c)["volumes"])
    device = {"boot_index": 0, "source_type": "image", "destination_type": "volume", "uuid": image, "volume_size": 1}
    refused = boot(c, block_device_mapping_v2=[device])
    limit(admin, c, "volume", volumes=100)
    assert refused.status == 403 and "VolumeLimitExceeded" in refused.json()["forbidden"]["message"]


def test_what_only_a_site_counts(c: Cloud, admin: Cloud, image: str) -> None:
    limit(admin, c, "compute", metadata_items=2)
    refused = boot(c, imageRef=image, metadata={"a": "1", "b": "2", "c": "3"})
    limit(admin, c, "compute", metadata_items=128)
    assert refused.status == 403 and "metadata items exceeds 2" in refused.json()["forbidden"]["message"]
    limit(admin, c, "volume", per_volume_gigabytes=1)
    large = c("volume", "POST", "/volumes", {"volume": {"size": 2, "availability_zone": "paris"}}, version="3.60")
    limit(admin, c, "volume", per_volume_gigabytes=-1)
    assert large.status in (400, 413), large.body


def test_one_users_limit_and_a_reservation(c: Cloud, admin: Cloud, image: str) -> None:
    limit(admin, c, "compute", user=c.user_id, instances=used(c)["instances"])
    refused = boot(c, imageRef=image)
    admin("compute", "DELETE", f"/os-quota-sets/{c.project_id}", user_id=c.user_id)
    assert refused.status == 403 and refused.json()["forbidden"]["message"].startswith("Quota exceeded for instances")
    limit(admin, c, "compute", instances=used(c)["instances"] + 2)
    made = boot(c, imageRef=image, min_count=1, max_count=5, return_reservation_id=True)
    limit(admin, c, "compute", instances=200)
    assert made.status == 202, made.body
    asked = made.json()["reservation_id"]
    rows = c("compute", "GET", "/servers", reservation_id=asked, version="2.90").json()["servers"]
    assert sorted(s["name"] for s in rows) == ["counted-1", "counted-2"]
    for server in rows:
        gone(c, server["id"])


def test_rules_of_a_server_group(c: Cloud) -> None:
    group = {"name": "counted", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}
    made = c("compute", "POST", "/os-server-groups", {"server_group": group}, version="2.64").json()["server_group"]
    shown = c("compute", "GET", f"/os-server-groups/{made['id']}", version="2.64").json()["server_group"]
    assert made["rules"] == shown["rules"] == {"max_server_per_host": 2}
    assert c("compute", "DELETE", f"/os-server-groups/{made['id']}").status == 204
    assert c("compute", "GET", "/os-server-groups").json() == {"server_groups": []}

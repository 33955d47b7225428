"""One id from the client's call to every call at hub and sites, and what was done for it, looked up afterwards."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.lab.rest import Cloud
from tests.stories.world import World, tenant


def looked_up(world: World, ident: str, *, until: str = "") -> dict[str, Any]:
    """The request as the admin API tells it, once it is written down (and ``until`` is among its calls' methods)."""
    end = time.monotonic() + 30
    while True:
        got = world.admin("cascade", "GET", f"/requests/{ident}")
        if got.status == 200:
            request: dict[str, Any] = got.json()["request"]
            if request["status"] is not None and (not until or until in {c["method"] for c in request["calls"]}):
                return request
        assert time.monotonic() < end, got.body
        time.sleep(0.3)


@pytest.mark.parametrize("given", [True, False])
def test_what_a_boot_did(world: World, given: bool) -> None:
    with tenant(world, "trace") as someone:
        cloud: Cloud = someone.cloud
        image = cloud("image", "POST", "/v2/images", {"name": "t", "disk_format": "raw", "container_format": "bare"}).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        assert cloud("image", "PUT", f"/v2/images/{image}/file", b"few", headers=octets).status == 204
        own = f"req-{uuid.uuid4()}"
        boot = {"name": "traced", "flavorRef": "42", "imageRef": image, "networks": "none", "availability_zone": "paris"}
        headers = {"X-Openstack-Request-Id": own} if given else {}
        made = cloud("compute", "POST", "/servers", {"server": boot}, version="2.60", headers=headers)
        assert made.status == 202, made.body
        ident = made.headers["x-openstack-request-id"]
        assert ident != own
        request = looked_up(world, own if given else ident)
        assert request["id"] == ident and request["global_id"] == (own if given else None)
        assert (request["method"], request["service"], request["status"]) == ("POST", "compute", "202")
        assert request["project_id"] == cloud.project_id and request["path"].endswith("/servers")
        calls = request["calls"]
        assert [c["offset"] for c in calls] == sorted(c["offset"] for c in calls)
        (post,) = [c for c in calls if c["target"] == "paris" and c["method"] == "POST" and c["path"].endswith("/servers")]
        assert post["result"] == "202" and post["request_id"].startswith("req-") and 0 < post["seconds"] < 30
        assert {c["target"] for c in calls} <= {"hub", "paris"}
        assert cloud.token not in str(request) and "traced" not in str(request)
        server = made.json()["server"]["id"]
        cloud.until("compute", f"/servers/{server}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        gone = cloud("compute", "DELETE", f"/servers/{server}")
        calls = looked_up(world, gone.headers["x-openstack-request-id"], until="DELETE")["calls"]
        assert next(c["target"] for c in calls if c["method"] == "DELETE" and server in c["path"]) == "paris"
        cloud.endpoints["cascade"] = world.url + "/cascade/v1"
        assert cloud("cascade", "GET", f"/requests/{ident}").status in (403, 404), "a tenant"
    assert world.admin("cascade", "GET", "/requests/req-none").status == 404

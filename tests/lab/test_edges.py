"""The gateway's edges: no address of hub or site gets out, and a client that behaves badly hurts only itself."""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.lab.rest import Answer, Cloud, raw

INSIDE = re.compile(r"127\.0\.0\.1:2\d{4}")
"""The lab's hub and sites listen on ports from 20000 on, the gateway below."""
DOCUMENTS = [
    "/", "/identity", "/identity/v3", "/identity/v3/auth/tokens", "/identity/v3/auth/catalog", "/identity/v3/regions", "/compute",
    "/compute/v2.1", "/compute/v2.1/", "/compute/v2.1/servers/detail", "/compute/v2.1/flavors/detail", "/compute/v2.1/extensions",
    "/volume", "/volume/v3", "/volume/v3/", "/volume/v3/{project}/volumes/detail", "/volume/v3/{project}/limits", "/network",
    "/network/v2.0/", "/network/v2.0/ports?limit=1", "/network/v2.0/extensions", "/image", "/image/versions", "/image/v2",
    "/image/v2/images", "/image/v2/info/stores", "/cascade/v1",
]  # fmt: skip


def ask(cloud: Cloud, path: str, *, token: bool, method: str = "GET") -> Answer:
    """A path of the gateway, whatever service it is of."""
    cloud.token or cloud.login()
    parts = urlsplit(cloud.endpoints["compute"])
    headers = {"X-Auth-Token": cloud.token, "X-Subject-Token": cloud.token} if token else {}
    return raw(f"{parts.scheme}://{parts.netloc}{path.replace('{project}', cloud.project_id)}", method, headers=headers)


@pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])
@pytest.mark.parametrize("path", DOCUMENTS)
def test_no_address_gets_out(clouds: dict[str, Cloud], path: str, token: bool) -> None:
    """Neither in a body nor in a header."""
    got = ask(clouds["cascade"], path, token=token)
    assert got.status < 500
    assert not INSIDE.search(got.body.decode(errors="replace")), got.body
    assert not INSIDE.search(str(got.headers))


@pytest.mark.parametrize("path", ["/compute/v2.1/", "/volume/v3/", "/network/v2.0/"])
def test_roots_of_versions_answer(clouds: dict[str, Cloud], path: str) -> None:
    """Some only with a token, and with the slash."""
    assert ask(clouds["cascade"], path, token=True).status == 200


@pytest.mark.parametrize("path", ["/image/v2/images/%ff/file", "/network/v2.0/networks/%", "/compute/v2.1/servers/%zz"])
def test_escapes_that_are_none(clouds: dict[str, Cloud], path: str) -> None:
    """Glance's worker drops the connection at the first, and its breaker must not open for everybody."""
    for _ in range(3):
        assert ask(clouds["cascade"], path, token=True).status == 400
    assert ask(clouds["cascade"], "/image/v2/images", token=True).status == 200


def test_readers_that_do_not_read(clouds: dict[str, Cloud]) -> None:
    """Twelve of them keep nobody from reading."""
    c = clouds["cascade"]
    image = c("image", "POST", "/v2/images", {"name": "unread", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    path, kind = f"/v2/images/{image}/file", {"Content-Type": "application/octet-stream"}
    assert c("image", "PUT", path, b"x" * 20_000_000, headers=kind).status == 204
    parts = urlsplit(c.endpoints["image"])
    head = f"GET {parts.path}{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {c.token}\r\n\r\n".encode()
    idle = [socket.create_connection((parts.hostname, parts.port), timeout=10) for _ in range(12)]
    try:
        for one in idle:
            one.sendall(head)
        time.sleep(1)
        got = c("image", "GET", path, timeout=20)
        assert got.status == 200 and len(got.body) == 20_000_000
    finally:
        for one in idle:
            one.close()
    assert c("image", "DELETE", f"/v2/images/{image}").status == 204


@pytest.mark.parametrize("kind", ["networks", "routers"])
def test_nobody_writes_zone_hints_as_tags(clouds: dict[str, Cloud], kind: str) -> None:
    """They are the gateway's notes."""
    c, one = clouds["cascade"], kind.removesuffix("s")
    made = c("network", "POST", f"/v2.0/{kind}", {one: {"name": "tagged"}}).json()[one]["id"]
    path = f"/v2.0/{kind}/{made}"
    assert c("network", "PUT", f"{path}/tags", {"tags": ["cascade.az.0=paris"]}).status == 400
    assert c("network", "GET", f"{path}.json").json()[one]["tags"] == []
    assert c("network", "DELETE", path + ".json").status == 204


@pytest.mark.parametrize(
    ("service", "path"),
    [("compute", "/servers/"), ("compute", "/servers/detail/"), ("compute", "/flavors/"), ("compute", "/os-aggregates/"),
     ("volume", "/volumes/"), ("volume", "/types/"), ("network", "/v2.0/networks/"), ("image", "/v2/images/"),
     ("identity", "/users/")],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_slash_at_the_end(clouds: dict[str, Cloud], method: str, service: str, path: str) -> None:
    """To some services it is another path, to some it is not."""
    here, there = (clouds[name](service, method, path) for name in ("cascade-admin", "paris-admin"))
    assert here.status == there.status


@pytest.mark.parametrize(
    ("service", "version", "path"),
    [("compute", None, "/limits"), ("compute", "2.60", "/servers/detail"), ("compute", "2.60", "/os-availability-zone"),
     ("compute", "2.40", "/os-simple-tenant-usage/{project}"), ("compute", "2.1", "/os-quota-sets/{project}"),
     ("volume", "3.12", "/volumes/summary"), ("volume", None, "/limits"), ("volume", "3.60", "/volumes/detail"),
     ("volume", "3.60", "/os-availability-zone"), ("volume", "3.60", "/os-quota-sets/{project}?usage=true")],
)  # fmt: skip
def test_answers_say_their_version(clouds: dict[str, Cloud], service: str, version: str | None, path: str) -> None:
    """Also those that no one service gave."""
    headers = []
    for name in ("cascade", "paris-demo"):
        c = clouds[name]
        got = (c if c.token else c.login())(service, "GET", path.format(project=c.project_id), version=version)
        assert got.status == 200, got.body
        headers.append({k: v for k, v in got.headers.items() if k in ("openstack-api-version", "x-openstack-nova-api-version")})
    assert headers[0] == headers[1]

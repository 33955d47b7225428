"""One stack of a hundred servers over two sites. It takes minutes of both cores: only where ``CASCADE_LAB_LONG`` is set."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab import heat
from tests.lab.conftest import GATEWAY
from tests.lab.rest import Cloud, raw

HALF = int(os.environ.get("CASCADE_LAB_LONG", "0") or 0)
"""Servers in each zone; documented figures are of 50."""
SECONDS = 1500.0
pytestmark = pytest.mark.skipif(not HALF, reason="takes minutes: CASCADE_LAB_LONG=50 runs it")


@pytest.fixture
def tenant(clouds: dict[str, Cloud]) -> Iterator[Cloud]:
    """A tenant who may have so many."""
    tenant, admin = clouds["cascade-other"].login(), clouds["cascade-admin"]
    if "orchestration" not in tenant.endpoints or tenant("orchestration", "GET", "/stacks").status != 200:
        pytest.skip("Heat is not up (bin/lab up --with heat)")
    path, much = f"/os-quota-sets/{tenant.project_id}", {"instances": 2 * HALF + 10, "cores": 2 * HALF + 10}
    assert admin("compute", "PUT", path, {"quota_set": much}).status == 200
    yield tenant
    admin("compute", "DELETE", path)


@pytest.fixture
def image(tenant: Cloud) -> Iterator[str]:
    """An image's id."""
    ident = tenant("image", "POST", "/v2/images", {"name": "many", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    octets = {"Content-Type": "application/octet-stream"}
    assert tenant("image", "PUT", f"/v2/images/{ident}/file", b"\0" * 4096, headers=octets).status == 204
    yield ident
    tenant("image", "DELETE", f"/v2/images/{ident}")


def test_one_stack_of_a_hundred_servers(tenant: Cloud, clouds: dict[str, Cloud], image: str) -> None:
    """All become ACTIVE, half of them in each zone, and nothing stays of them."""
    begun, calls = time.monotonic(), _calls()
    name = f"many-{uuid.uuid4().hex[:8]}"
    stack = heat.create(tenant, name, "many.yaml", minutes=40, image=image, half=HALF)
    try:
        stack.ended("CREATE_COMPLETE", SECONDS)
        created, made = time.monotonic() - begun, _calls() - calls
        ids = {ident for kind, ident in stack.seen if kind == "OS::Nova::Server"}
        rows = [row for row in tenant("compute", "GET", "/servers/detail", limit=1000).json()["servers"] if row["id"] in ids]
        found = Counter((row["OS-EXT-AZ:availability_zone"], row["status"]) for row in rows)
        assert found == {("paris", "ACTIVE"): HALF, ("tokyo", "ACTIVE"): HALF}
    finally:
        begun, calls = time.monotonic(), _calls()
        stack.delete(SECONDS)
        deleted, gone = time.monotonic() - begun, _calls() - calls
    assert heat.left(stack, clouds) == []
    for what, seconds, asked in (("made", created, made), ("deleted", deleted, gone)):
        print(f"\n{2 * HALF} servers {what} in {seconds:.0f} s, {asked.total()} calls to the gateway:")
        print("\n".join(f"  {count} {service} {method} {row}" for (service, method, row), count in asked.most_common(12)))


def _calls() -> Counter[tuple[str, str, str]]:
    """What the gateway has been asked until now, by whomever: service, method, row of the table."""
    text = raw(f"http://127.0.0.1:{GATEWAY}/metrics", "GET").body.decode()
    found: Counter[tuple[str, str, str]] = Counter()
    for labels, count in re.findall(r"^cascade_requests_total\{(.*)\} (\S+)$", text, re.M):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found[named["service"], named["method"], named["row"]] += int(float(count))
    return found

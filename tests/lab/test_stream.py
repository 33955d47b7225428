"""Two gibibytes through the gateway, in and out, without its memory growing by the image; and a boot nobody waits for."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab.conftest import STATE
from tests.lab.rest import Cloud

SIZE = 2 << 30
GROWTH = 64 << 20
"""Bytes the gateway's resident memory may grow by, at its highest."""
BLOCK = 1 << 20
ANSWERED = 5.0
"""Seconds a client waits for the answer to a boot from an image whose bits are not at the site."""
COPIED = 300.0


class Memory:
    """The most resident memory the gateway has had while the block ran, above what it had before."""

    def __init__(self) -> None:
        self._status = Path(f"/proc/{(STATE / 'cascade' / 'run' / 'cascade.pid').read_text().split()[0]}/status")
        self._end = threading.Event()
        self.growth = 0

    def __enter__(self) -> Memory:
        self._before = self._now()
        self._watch = threading.Thread(target=self._run)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._end.wait(0.05):
            self.growth = max(self.growth, self._now() - self._before)

    def _now(self) -> int:
        line = next(x for x in self._status.read_text().splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) << 10


def blocks(seen: hashlib._Hash) -> Iterator[bytes]:
    """Not all the same: a block that is lost, doubled or moved changes the hash."""
    body = bytes(range(256)) * (BLOCK // 256 - 1)
    for n in range(SIZE // BLOCK):
        block = n.to_bytes(256, "big") + body
        seen.update(block)
        yield block


@pytest.fixture
def image(demo: Cloud) -> Iterator[str]:
    body = {"name": "two-gibibytes", "disk_format": "raw", "container_format": "bare"}
    made = demo("image", "POST", "/v2/images", body).json()["id"]
    yield made
    assert demo("image", "DELETE", f"/v2/images/{made}").status == 204


@pytest.fixture
def flavor(admin: Cloud) -> Iterator[str]:
    """A disk that takes it."""
    wanted = {"name": "two-gibibytes", "ram": 64, "vcpus": 1, "disk": 2}
    made = admin("compute", "POST", "/flavors", {"flavor": wanted}).json()["flavor"]["id"]
    yield made
    assert admin("compute", "DELETE", f"/flavors/{made}").status == 202


def test_two_gibibytes(demo: Cloud, image: str, flavor: str) -> None:
    url = urlsplit(f"{demo.endpoints['image']}/v2/images/{image}/file")
    sent, got = hashlib.sha512(), hashlib.sha512()
    connection = http.client.HTTPConnection(url.netloc, timeout=600)
    headers = {"X-Auth-Token": demo.token, "Content-Type": "application/octet-stream"}
    with Memory() as memory:
        connection.request("PUT", url.path, body=blocks(sent), headers=headers, encode_chunked=True)
        assert connection.getresponse().status == 204
    assert memory.growth <= GROWTH, f"upload: {memory.growth >> 20} MiB"
    connection = http.client.HTTPConnection(url.netloc, timeout=600)
    with Memory() as memory:
        connection.request("GET", url.path, headers={"X-Auth-Token": demo.token})
        answer = connection.getresponse()
        assert answer.status == 200
        while block := answer.read(BLOCK):
            got.update(block)
    assert memory.growth <= GROWTH, f"download: {memory.growth >> 20} MiB"
    shown = demo("image", "GET", f"/v2/images/{image}").json()
    assert (shown["size"], shown["os_hash_value"]) == (SIZE, sent.hexdigest()) and got.digest() == sent.digest()
    boot(demo, image, flavor)


def boot(demo: Cloud, image: str, flavor: str) -> None:
    """Its first boot at a site: the answer does not wait for two gibibytes, the server does."""
    server = {"name": "heavy", "flavorRef": flavor, "imageRef": image, "networks": "none", "availability_zone": "tokyo"}
    asked = time.monotonic()
    made = demo("compute", "POST", "/servers", {"server": server}, version="2.60")
    took = time.monotonic() - asked
    assert made.status == 202, made.body
    path = f"/servers/{made.json()['server']['id']}"
    try:
        assert took <= ANSWERED
        assert demo("compute", "GET", path).json()["server"]["status"] == "BUILD"
        while (shown := demo("compute", "GET", path).json()["server"])["status"] == "BUILD":
            assert time.monotonic() < asked + COPIED
            time.sleep(1)
        assert shown["status"] == "ACTIVE", shown.get("fault")
    finally:
        assert demo("compute", "DELETE", path).status == 204

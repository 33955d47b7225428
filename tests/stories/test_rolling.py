"""Several processes on one socket: replaced one after another while clients work, and after one of them was killed."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.gateway import Gateway
from tests.stories.world import SITES, World, free_ports


@dataclass
class Client(threading.Thread):
    """Lists servers in a loop, on one connection or on one each time, and keeps what went wrong."""

    port: int
    token: str
    keeps: bool
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.enough = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.enough.is_set():
            try:
                connection.request("GET", "/compute/v2.1/servers", headers={"X-Auth-Token": self.token})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.wrong.append(str(answer.status))
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
                connection.close()
            self.answers += 1
            if not self.keeps:
                connection.close()


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Two processes and their parent, in front of the simulated sites."""
    if world.home is None:
        pytest.skip("only in front of the simulator")
    home = tmp_path_factory.mktemp("workers")
    it = Gateway(home, world.home, free_ports(1), more="workers = 2\ndrain_time = 3").start()
    try:
        it.join(it.cloud(world.admin), *SITES)
        yield it
    finally:
        it.stop()


def children(gateway: Gateway) -> set[int]:
    """Process ids of those who serve."""
    assert gateway.process is not None
    pid = gateway.process.pid
    return {int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()}


def until(true: object, seconds: float = 40) -> None:
    """Wait for ``true()``."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


def test_replaced_one_by_one_without_a_failed_request(gateway: Gateway, world: World) -> None:
    assert gateway.process is not None
    before = children(gateway)
    assert len(before) == 2
    token = gateway.cloud(world.admin).token
    clients = [Client(gateway.port, token, keeps) for keeps in (True, True, False, False)]
    for client in clients:
        client.start()
    time.sleep(1)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(gateway)) == 2 and not children(gateway) & before)
    time.sleep(1)
    for client in clients:
        client.enough.set()
        client.join(30)
    assert [c.wrong for c in clients] == [[], [], [], []]
    assert all(c.answers > 5 for c in clients)


def test_one_that_dies_is_replaced(gateway: Gateway, world: World) -> None:
    before = children(gateway)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(children(gateway)) == 2 and len(children(gateway) & before) == 1)
    cloud = gateway.cloud(world.admin)
    assert all(cloud("compute", "GET", "/servers").status == 200 for _ in range(20))


def test_told_to_stop_it_leaves_nothing(gateway: Gateway) -> None:
    assert gateway.process is not None
    served = children(gateway)
    gateway.process.terminate()
    assert gateway.process.wait(30) == 0
    assert not [p for p in served if Path(f"/proc/{p}").exists()]

"""The real lab as a fixture. Skipped in so many words where it is not up: ``bin/lab up`` brings it up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lab.data import GATEWAY_PORT
from tests.lab.rest import Cloud

STATE = Path(os.environ.get("CASCADE_LAB_STATE", Path(__file__).parents[2] / ".lab"))
GATEWAY = int(os.environ.get("CASCADE_LAB_GATEWAY_PORT", GATEWAY_PORT))


def _up(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything in this folder needs the lab."""
    here = Path(__file__).parent
    need_lab([i for i in items if here in Path(str(i.path)).parents])


def need_lab(mine: list[pytest.Item]) -> None:
    """Mark tests as the lab's, and skip them (or end the run, where the lab is required) when it is not up."""
    for item in mine:
        item.add_marker(pytest.mark.lab)
    if mine and not ((STATE / "clouds.yaml").exists() and _up(GATEWAY)):
        if os.environ.get("CASCADE_REQUIRE_LAB"):
            pytest.exit("the lab is not up, and CASCADE_REQUIRE_LAB is set", returncode=3)
        for item in mine:
            item.add_marker(pytest.mark.skip(reason="the lab is not up (bin/lab up)"))


@pytest.fixture(scope="session")
def clouds() -> dict[str, Cloud]:
    """Clouds of the lab's clouds.yaml by name, each with a token when first used.

    ``CASCADE_LAB_THROUGH``: the URL of another gateway before the same hub and sites, to be tried instead of the lab's.
    """
    found = Cloud.load(STATE / "clouds.yaml")
    if other := os.environ.get("CASCADE_LAB_THROUGH"):
        found |= {n: c.through(other) for n, c in found.items() if n.startswith("cascade")}
    return found


@pytest.fixture(scope="session")
def demo(clouds: dict[str, Cloud]) -> Cloud:
    """The tenant ``demo`` through the gateway."""
    return clouds["cascade"]


@pytest.fixture(scope="session")
def admin(clouds: dict[str, Cloud]) -> Cloud:
    """The administrator through the gateway."""
    return clouds["cascade-admin"]

"""Which world the stories play in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import need_lab
from tests.stories.world import World, lab_world, sim_world


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the lab they are the lab's tests."""
    if config.getoption("--world") == "lab":
        need_lab([i for i in items if Path(__file__).parent in Path(str(i.path)).parents])


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world asked for, until the last story is told."""
    chosen = request.config.getoption("--world")
    with lab_world() if chosen == "lab" else sim_world(tmp_path_factory.mktemp("sim")) as it:
        yield it

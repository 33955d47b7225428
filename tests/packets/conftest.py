"""What needs wires: skipped in so many words where the lab is not up or carries no packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import wires
from lab.paths import state
from tests.lab.conftest import admin, clouds, demo, need_lab
from tests.lab.rest import Cloud
from tests.lab.test_groups import bootable
from tests.packets.stage import SITES, Stage

__all__ = ["admin", "clouds", "demo"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything in this folder needs a lab whose chassis have wires."""
    mine = [i for i in items if Path(__file__).parent in Path(str(i.path)).parents]
    need_lab(mine)
    for item in mine:
        item.add_marker(pytest.mark.packets)
        if not wires.real(state()):
            item.add_marker(pytest.mark.skip(reason="the lab carries no packets (bin/lab up says why)"))


@pytest.fixture(scope="session")
def image(demo: Cloud) -> Iterator[str]:
    """Something to boot."""
    with bootable(demo) as ident:
        yield ident


@pytest.fixture(scope="session")
def others_image(clouds: dict[str, Cloud]) -> Iterator[str]:
    """Something the tenant ``other`` can boot."""
    with bootable(clouds["cascade-other"]) as ident:
        yield ident


@pytest.fixture(scope="module")
def stage(demo: Cloud, clouds: dict[str, Cloud], image: str) -> Iterator[Stage]:
    """The tenant ``demo`` with guests; all is gone when the module is over."""
    with Stage.open(demo, clouds, image) as found:
        yield found


@pytest.fixture(scope="module")
def others(clouds: dict[str, Cloud], others_image: str) -> Iterator[Stage]:
    """The tenant ``other``."""
    with Stage.open(clouds["cascade-other"], clouds, others_image) as found:
        yield found


@pytest.fixture
def whole() -> Iterator[None]:
    """The WAN is whole again after a test that cuts it."""
    yield
    for site in SITES:
        wires.mend(site)

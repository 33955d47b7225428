"""A seeded choice of wrong requests over all services: paris and Cascade refuse alike. `bin/lab parity wrong` sends them all."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.parity import run as runs
from lab.parity.sides import DEFAULT_DIRECT
from lab.parity.wrong import verdict
from lab.parity.wrong.run import NAME, chosen_cases, compared
from lab.parity.wrong.seeds import SEEDS
from lab.parity.wrong.stage import Stage, stages
from lab.paths import State
from tests.lab.conftest import STATE

PLACE = State(STATE)
SEED = os.environ.get("CASCADE_WRONG_SEED", "ci")
EACH = 30


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Stage, Stage]]:
    """The site and the gateway, with a project of its own on either."""
    (PLACE.root / "parity").mkdir(exist_ok=True)
    with (
        runs.alone(runs.workspace(PLACE, NAME)),
        stages(PLACE, DEFAULT_DIRECT, os.environ.get("CASCADE_LAB_THROUGH"), sweep=False) as both,
    ):
        yield both


@pytest.mark.parametrize("service", SEEDS)
def test_refused_alike(sides: tuple[Stage, Stage], service: str) -> None:
    """Status and fault shape, but for the differences that have a reason."""
    direct, ours = sides
    rows = list(compared(direct, ours, chosen_cases(PLACE, direct, service, SEED, EACH)))
    different = [r for r in rows if not r.same and not verdict.reason(r)]
    assert not different, "\n".join(f"{r.case.name}\n  directly {r.direct}\n  Cascade  {r.ours}" for r in different)
    assert sum(400 <= r.direct.status < 500 for r in rows) > EACH / 3  # most are wrong indeed

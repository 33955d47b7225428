"""The simulator answers as the real lab does: the same calls of both, and no difference in status, keys or types."""

from __future__ import annotations

import asyncio

import pytest

from sim.compare import compare


@pytest.mark.parametrize("site", ["paris", "tokyo"])
def test_the_simulator_answers_as_the_site_does(site: str) -> None:
    """Both releases; two minutes each."""
    found: list[str] = []
    asyncio.run(compare(site, say=found.append))
    assert found == []

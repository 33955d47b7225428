"""The simulator answers as the real lab does: the same calls of both, and no difference in status, keys or types."""

from __future__ import annotations

import asyncio

from sim.compare import compare


def test_the_simulator_answers_as_paris_does() -> None:
    found: list[str] = []
    asyncio.run(compare("paris", say=found.append))
    assert found == []

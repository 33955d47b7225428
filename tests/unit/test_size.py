"""Small stays small: a module that outgrows one sitting is two modules."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 400
"""Lines. Modules of the gateway aim at 80-300."""


@pytest.mark.parametrize("package", ["cascade", "osc_cascade", "sim", "lab", "tests"])
def test_no_long_module(package: str) -> None:
    lengths = {p: len(p.read_text().splitlines()) for p in (ROOT / package).rglob("*.py")}
    assert lengths and {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MOST} == {}

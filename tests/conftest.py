"""Options of the whole test suite."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--world``: what stands behind the gateway while the stories are told."""
    parser.addoption(
        "--world",
        choices=("sim", "lab"),
        default=os.environ.get("CASCADE_WORLD", "sim"),
        help="where tests/stories play: the fake OpenStack of sim/, or the real one of the lab (default: CASCADE_WORLD or sim)",
    )

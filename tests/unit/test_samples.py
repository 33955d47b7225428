"""The operator guide's generators print every option and every rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cascade.api.policy import list_rules
from cascade.conf import list_opts


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("oslo-config-generator", [o.name for _, opts in list_opts() for o in opts]),
        ("oslopolicy-sample-generator", [r.name for r in list_rules()]),
    ],
)
def test_sample_is_whole(program: str, names: list[str]) -> None:
    """What the operator gets to edit."""
    done = subprocess.run(
        [Path(sys.executable).parent / program, "--namespace", "cascade"], check=True, capture_output=True, text=True
    )
    assert names and [n for n in names if n not in done.stdout] == []

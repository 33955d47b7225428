"""Site tokyo's release replaced while tenants work in paris. It changes the lab for good, and takes minutes of both cores: only
where ``CASCADE_LAB_UPGRADE`` names the release to go to, as in ``CASCADE_LAB_UPGRADE=2026.1 pytest tests/lab/test_upgrade.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab.data import SITES
from lab.paths import state
from tests.lab.rest import Cloud

LAB = Path(__file__).parents[2] / "bin" / "lab"
TO = os.environ.get("CASCADE_LAB_UPGRADE", "")
pytestmark = pytest.mark.skipif(not TO, reason="it changes the lab for good: CASCADE_LAB_UPGRADE names the release wanted")


def test_tokyo_is_upgraded_under_load(clouds: dict[str, Cloud]) -> None:
    """Nobody in paris notices, what is in tokyo is there afterwards, and the cloud offers what both sites honour now."""
    if state().release(SITES["tokyo"]) == TO:
        pytest.skip(f"tokyo runs {TO} already: bin/lab upgrade tokyo --back, or bin/lab reset")
    direct, paris = clouds["tokyo-admin"], clouds["paris-admin"]
    servers = {row["id"] for row in direct("compute", "GET", "/servers", all_tenants=1).json()["servers"]}
    done = subprocess.run(
        [LAB, "upgrade", "tokyo", "--to", TO, "--prove"], capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = [tuple(map(int, found)) for found in re.findall(r"(\d+) requests in \d+ s, (\d+) failed", done.stdout)]
    assert len(counted) == 3 and all(made > 20 and failed == 0 for made, failed in counted), done.stdout
    highest = [_highest(cloud.login()) for cloud in (direct, paris)]
    north = clouds["cascade"].login()("compute", "GET", "/").json()["version"]["version"]
    assert north == f"2.{min(highest)}"
    assert servers <= {row["id"] for row in direct("compute", "GET", "/servers", all_tenants=1).json()["servers"]}


def _highest(cloud: Cloud) -> int:
    version: str = cloud("compute", "GET", "/").json()["version"]["version"]
    return int(version.split(".")[1])

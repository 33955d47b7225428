"""Of openstacksdk only what reads clouds.yaml is loaded; whoever needs the rest still gets it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from cascade.sites import clouds
assert "openstack.connection" not in sys.modules and "openstack.compute" not in sys.modules
import openstack
from openstack import utils
assert callable(openstack.connect) and openstack.connection.Connection
assert openstack.config.OpenStackConfig is clouds.OpenStackConfig
try:
    openstack.nonsense
except AttributeError:
    print("ok")
"""


def test_the_sdk_is_loaded_in_parts() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr

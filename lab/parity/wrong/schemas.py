"""The JSON schemas the services themselves check requests with, loaded as data from a cloud's virtual environment."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from lab.paths import State
from lab.report import LabError
from lab.shell import run

_DUMP = Path(__file__).with_name("dump.py")
_KEYSTONE = ("resource", "identity", "assignment", "auth", "catalog", "credential", "trust", "application_credential")
_MODULES: dict[str, tuple[str, ...]] = {
    "compute": ("nova.api.openstack.compute.schemas",),
    "volume": ("cinder.db.api", "cinder.api.schemas"),
    "network": ("neutron_lib.api.definitions",),
    "image": (),  # Glance tells its own (``stage``)
    "identity": tuple(f"keystone.{name}.schema" for name in _KEYSTONE),
}


@cache
def schemas(place: State, service: str, release: str) -> dict[str, Any]:
    """Name -> schema. Raises LabError where the environment has them elsewhere."""
    if not _MODULES[service]:
        return {}
    python = place.venv(release) / "bin" / "python"
    said = run([python, "-W", "ignore", _DUMP, *_MODULES[service]])
    try:
        found: dict[str, Any] = json.loads(said[said.index("{") :])
    except ValueError as error:
        raise LabError(f"{service}: its schemas could not be read: {error}") from None
    return found

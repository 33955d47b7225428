"""openstacksdk as far as it is used here: what reads clouds.yaml.

``import openstack`` loads the client of every service there is, a sixth of the time a gateway takes to start, and before the
first request can be answered. Nothing of that is used. So the package stands here as a module that loads its parts as they are
asked for; whoever asks for something that is not a part gets the whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError:
            pass
        spec = self.__spec__
        if spec is None or spec.loader is None or "__all__" in vars(self):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec.loader.exec_module(self)
        return getattr(self, name)


def _install(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    package = _Package(name)
    package.__spec__, package.__file__, package.__path__ = spec, spec.origin, list(spec.submodule_search_locations)
    sys.modules[name] = package


_install("openstack")

from openstack import exceptions  # noqa: E402 - after what it is loaded by
from openstack.config import OpenStackConfig  # noqa: E402

__all__ = ["OpenStackConfig", "exceptions"]

"""What an add-on is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.data import GATEWAY_PORT, HUB, PORT_OFFSET, Release
from lab.paths import Place, State
from lab.procs import Proc

PORTS = {
    "heat-api": HUB.base_port + PORT_OFFSET + 6,  # behind the gateway
    "aodh-api": HUB.base_port + PORT_OFFSET + 7,
    "heat-api-cfn": GATEWAY_PORT + 7,  # beside it, for users
    "horizon": GATEWAY_PORT + 8,
    "skyline-api": HUB.base_port + PORT_OFFSET + 8,  # behind its nginx
    "skyline": GATEWAY_PORT + 9,
}


@dataclass(frozen=True)
class AddOn:
    """One program, or some that belong together, beside the clouds."""

    release: Release
    """What is installed; its name is the add-on's."""
    prepare: Callable[[State], bool]
    """Write configuration, make databases, accounts and catalogue entries as far as they are missing; the hub answers by
    then. Gives back whether the catalogue was changed."""
    procs: Callable[[State], list[Proc]]

    @property
    def name(self) -> str:
        """What `up --with`, `start` and `stop` call it."""
        return self.release.name

    def place(self, state: State) -> Place:
        """Its folders."""
        return place(state, self.name)

    def venv(self, state: State) -> Path:
        """Its virtual environment."""
        return venv(state, self.name)


def place(state: State, name: str) -> Place:
    """The folders of an add-on."""
    return Place(state.root / "addons" / name)


def venv(state: State, name: str) -> Path:
    """The virtual environment of an add-on."""
    return state.root / "venvs" / name


def port(program: str) -> int:
    """The port a program listens on."""
    return PORTS[program]


def url(program: str) -> str:
    """Where a program is reached."""
    return f"http://127.0.0.1:{port(program)}"

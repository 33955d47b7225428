"""The suites of tests that others wrote, what to install for each, and how it is told where to go."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import yaml

from lab.addons.heat import RELEASE as HEAT_RELEASE
from lab.config.ini import render
from lab.data import PASSWORD, Release
from lab.parity import conf, heat
from lab.parity.resources import Resources
from lab.parity.sides import Ability, Side
from lab.paths import State

CLOUDS = {
    # what openstacksdk's tests call an account: who it is
    "devstack": {"username": "demo", "project_name": "demo"},
    "devstack-alt": {"username": "other", "project_name": "other"},
    "devstack-admin": {"username": "admin", "project_name": "admin"},
    "devstack-system-admin": {"username": "admin", "system_scope": "all"},
}


@dataclass(frozen=True)
class Suite:
    """Tests of upstream's, unchanged."""

    release: Release
    begins: str | tuple[str, ...]
    """What the names of its tests begin with."""
    discover: str
    """Where its tests are, below the installed libraries."""
    file: str
    """Its configuration, in the folder of a run."""
    empty: str
    """As much of it as lets its tests be listed."""
    configure: Callable[["Run"], str]
    """All of it, for a run."""
    without: str = ""
    """A folder of tests that cannot be loaded: they are about files that are not installed."""
    env: Callable[["Run"], dict[str, str]] = lambda run: {}
    """What else it is told by its environment."""
    group: str = r"([^\.]*\.)*"
    """Tests in whose names this finds the same belong together: one process runs them, in their order."""
    standing: Callable[[State, Side, str], AbstractContextManager[None]] = lambda place, side, prefix: nullcontext()
    """What must stand while it runs, of a run with a prefix."""


@dataclass(frozen=True)
class Run:
    """What a suite has to know of a run."""

    side: Side
    ability: Ability
    resources: Resources
    prefix: str
    """Starts the name of everything the run makes, where the suite lets it be chosen."""
    folder: Path
    web: str
    """A web server with images to fetch."""


def _tempest(run: Run) -> str:
    return render(conf.tempest(run.side, run.ability, run.resources, prefix=run.prefix, folder=run.folder, web=run.web))


def _heat(run: Run) -> str:
    tempest = conf.tempest(run.side, run.ability, run.resources, prefix=run.prefix, folder=run.folder, web=run.web)
    return render(tempest | heat.options(run.side, run.resources, run.prefix))


def _clouds(run: Run) -> str:
    clouds = {
        name: {
            "auth": {
                "auth_url": run.side.auth_url, "password": PASSWORD, "user_domain_id": "default",
                **who, **({"project_domain_id": "default"} if "project_name" in who else {}),
            },
            "region_name": run.side.region,
        }
        for name, who in CLOUDS.items()
    }  # fmt: skip
    return yaml.safe_dump({"clouds": clouds})


TEMPEST = Suite(
    Release("tempest", ("tempest==47.0.0",), "2026-11-23"),
    begins="tempest.",
    discover="tempest/test_discover",
    file="tempest.conf",
    empty="",
    configure=_tempest,
)
SDK = Suite(
    # what its tests import is in its test requirements only, which a wheel does not carry
    Release(
        "openstacksdk",
        ("openstacksdk==4.22.0", "stestr", "fixtures", "oslotest", "testscenarios", "testtools"),
        "2026-11-23",
    ),
    begins="openstack.tests.functional.",
    discover="openstack/tests/functional",
    without="openstack/tests/functional/examples",
    file="clouds.yaml",
    empty="clouds: {devstack-admin: {auth: {auth_url: 'http://127.0.0.1'}}}\n",
    configure=_clouds,
    env=lambda run: {
        "OPENSTACKSDK_FLAVOR": run.resources.flavor_name,
        "OPENSTACKSDK_IMAGE": run.resources.image_name,
        "OPENSTACKSDK_FUNC_TEST_TIMEOUT": str(conf.TIMEOUT),
    },
)
HEAT = Suite(
    # the plugin has the tests of the API and a part of the functional ones; the others are in Heat itself
    Release("heat-tempest", ("heat-tempest-plugin==3.0.0", "tempest==47.0.0", HEAT_RELEASE.requirements[0]), "2026-11-23"),
    begins=("heat_tempest_plugin.", "heat_integrationtests."),
    discover="heat_integrationtests",
    file="tempest.conf",
    empty="",
    configure=_heat,
    # gabbi makes a class of each request of a file, and these build upon one another
    group=r"heat_tempest_plugin\.tests\.api\.test_heat_api\.[^_]*|([^\.]*\.)*",
    standing=heat.standing,
)
ADOPTION = replace(HEAT, standing=partial(heat.standing, adopts=True))

"""What Heat's own tests need: a Heat on the side that is asked, an account of the run's own, and a network in its project.

Through Cascade it is the Heat of the lab. Directly it is a second one that knows the site alone, and runs for as long as it is
measured.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from lab import bootstrap, procs
from lab.addons import heat
from lab.config.ini import Ini
from lab.data import PASSWORD, SITES
from lab.parity.resources import PUBLIC, Resources
from lab.parity.sides import CASCADE, Side
from lab.paths import State
from lab.report import LabError, console, step
from lab.rest import Rest
from lab.wait import answers, ready

NETWORK = "heat-net"
SUBNET = "heat-subnet"
BUILD_TIMEOUT = 300
"""Seconds to wait for a stack."""
LEAVE_TIMEOUT = 120.0
"""Seconds to wait until stacks that tests left behind are deleted."""


def account(prefix: str) -> str:
    """What the run's user and its project are called."""
    return f"{prefix}-heat"


def options(side: Side, resources: Resources, prefix: str) -> Ini:
    """What tempest.conf says of Heat."""
    return {
        "heat_plugin": {
            "auth_url": side.auth_url,
            "region": side.region,
            "username": account(prefix),
            "password": PASSWORD,
            "project_name": account(prefix),
            "user_domain_id": "default",
            "user_domain_name": "Default",
            "project_domain_id": "default",
            "project_domain_name": "Default",
            "admin_username": "admin",
            "admin_password": PASSWORD,
            "admin_project_name": "admin",
            "image_ref": resources.image_name,
            "minimal_image_ref": resources.image_name,
            "instance_type": resources.flavor_alt_name,
            "minimal_instance_type": resources.flavor_name,
            "fixed_network_name": NETWORK,
            "fixed_subnet_name": SUBNET,
            "network_for_ssh": NETWORK,
            "floating_network_name": PUBLIC,
            "hidden_stack_tag": "data-processing-cluster",
            "build_interval": 1,
            "build_timeout": BUILD_TIMEOUT,
            # no guest answers: who asks one all the same should learn it soon
            "connectivity_timeout": 5,
            "ssh_timeout": 5,
        },
        "heat_features_enabled": {"stack_cancel": True, "multi_cloud": False},
    }


@contextmanager
def standing(place: State, side: Side, prefix: str, *, adopts: bool = False) -> Iterator[None]:
    """For the length of a run: Heat (``adopts``: that can adopt stacks), and an account with a network.

    The account itself goes with all that has the prefix.
    """
    stand = heat.AT_HUB if side.name == CASCADE else heat.at_site(SITES[side.name])
    with _heat(place, stand), heat.adopting(place, stand) if adopts else nullcontext():
        with step(f"{side.name}: a project for Heat's tests"):
            user = _account(side, account(prefix))
        try:
            yield
        finally:
            _leave(user)


@contextmanager
def _heat(place: State, stand: heat.Stand) -> Iterator[None]:
    if stand == heat.AT_HUB:
        if not answers(stand.ports["heat-api"]):
            raise LabError("Heat does not run: bin/lab up --with heat")
        yield
        return
    stand.place(place).make()
    heat.prepare(place, stand)
    running = heat.procs(place, stand)
    try:
        with step(f"{stand.name}: start {len(running)} processes"):
            for proc in running:
                proc.start()
            ready(running)
        yield
    finally:
        procs.stop(running)


def _account(side: Side, name: str) -> Any:
    """Make a project, a user in it and a network; a connection as this user."""
    admin, url = Rest(side.auth_url, "admin", "admin"), side.auth_url
    project = bootstrap.collection(admin, f"{url}/projects", "project")(name, domain_id="default")["id"]
    user = bootstrap.collection(admin, f"{url}/users", "user")(name, password=PASSWORD, domain_id="default")["id"]
    role = bootstrap.collection(admin, f"{url}/roles", "role")("member")["id"]
    admin.put(f"{url}/projects/{project}/users/{user}/roles/{role}")
    connection = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth={"auth_url": url, "username": name, "password": PASSWORD, "project_name": name,
              "user_domain_id": "default", "project_domain_id": "default"},
        region_name=side.region,
    )  # fmt: skip
    network = connection.network.create_network(name=NETWORK)
    connection.network.create_subnet(name=SUBNET, network_id=network.id, ip_version=4, cidr="10.77.0.0/24")
    return connection


def _leave(user: Any) -> None:
    """Delete the stacks that tests left behind: what they hold would be found at the clouds, they themselves only here."""
    end = time.monotonic() + LEAVE_TIMEOUT
    try:
        while (stacks := list(user.orchestration.stacks())) and time.monotonic() < end:
            for stack in stacks:
                if stack.status != "DELETE_IN_PROGRESS":
                    user.orchestration.delete_stack(stack.id)
            time.sleep(2)
    except (SDKException, ClientException) as error:
        console.print(f"stacks: {error}"[:300], markup=False, style="yellow")
        return
    if stacks:
        console.print(f"stacks that do not go: {', '.join(stack.name for stack in stacks)}", markup=False, style="yellow")

"""The ordinary ``openstack`` client: what a tenant types day by day, and what an administrator types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import STATE

OPENSTACK = Path(sys.executable).parent / "openstack"


class Cli:
    """``openstack --os-cloud X ...``; remembers ids by name so that later steps can use them."""

    def __init__(self, cloud: str) -> None:
        self.env = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(STATE / "clouds.yaml"), "OS_CLOUD": cloud}

    def __call__(self, command: str, *, ok: bool = True) -> Any:
        """Run one command; its JSON where it prints any."""
        done = subprocess.run([OPENSTACK, *command.split()], env=self.env, capture_output=True, text=True, timeout=180)
        assert (done.returncode == 0) == ok, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        try:
            return json.loads(done.stdout) if "-f json" in command else done.stdout
        except ValueError:
            return done.stdout


TENANT = """
availability zone list
flavor list
flavor show m1.nano
keypair create --private-key {tmp}/key cli
keypair list
keypair show cli
image create --disk-format raw --container-format bare --file {tmp}/image cli
image list
image show cli
image set --property os_type=linux cli
network create cli
subnet create --network cli --subnet-range 10.44.0.0/24 cli
network list
network show cli
subnet list
subnet show cli
subnet set --name cli2 cli
subnet set --name cli cli2
security group create cli
security group rule create --protocol tcp --dst-port 22 cli
security group rule list cli
security group list
router create cli
router add subnet cli cli
router set --external-gateway public cli
router show cli
port create --network cli --security-group cli cli
port list
port show cli
server create --flavor m1.nano --image cli --port cli --key-name cli --availability-zone paris --property a=b --user-data {tmp}/image --wait cli-1
server create --flavor m1.nano --image cli --network cli --security-group cli --availability-zone tokyo --config-drive True --wait cli-2
server create --flavor m1.nano --image cli --nic none --wait cli-3
server list --long
server show cli-1
server show cli-2
server set --name cli-1b cli-1
server set --name cli-1 cli-1b
server set --property c=d cli-1
server unset --property c cli-1
server stop cli-2
server start cli-2
server reboot --hard --wait cli-1
server pause cli-1
server unpause cli-1
server suspend cli-1
server resume cli-1
server lock cli-1
server unlock cli-1
server resize --flavor m1.micro --wait cli-3
server resize confirm cli-3
server rebuild --image cli --wait cli-3
console log show cli-1
server event list cli-1
server group create --policy anti-affinity cli
server group list
server group show cli
server group delete cli
server add security group cli-2 default
server remove security group cli-2 default
volume create --size 1 --availability-zone tokyo cli-t
volume create --size 1 --availability-zone paris cli-p
volume create --size 1 cli
volume list
volume show cli
volume set --name cli-x --property k=v cli
volume set --name cli cli-x
volume type list
server add volume cli-1 cli-p
server add volume cli-2 cli-t
server volume list cli-1
server remove volume cli-1 cli-p
server remove volume cli-2 cli-t
volume set --size 2 cli
volume snapshot create --volume cli cli
volume snapshot list
volume snapshot show cli
volume snapshot delete cli
server image create --name cli-shot --wait cli-1
server create --flavor m1.nano --image cli-shot --nic none --availability-zone tokyo --wait cli-4
floating ip create public
floating ip list
limits show --absolute
quota show
usage show
server delete --wait cli-1 cli-2 cli-3 cli-4
volume delete cli cli-p cli-t
port delete cli
router unset --external-gateway cli
router remove subnet cli cli
router delete cli
security group delete cli
subnet delete cli
network delete cli
image delete cli cli-shot
keypair delete cli
"""
ADMIN = """
hypervisor list
hypervisor stats show
compute service list
volume service list
server list --all-projects
volume list --all-projects
availability zone list --long
quota show demo
quota set --instances 150 demo
quota set --instances 200 demo
volume type create --property a=b cli-type
volume type list --long
volume type show cli-type
volume type delete cli-type
flavor create --ram 64 --vcpus 1 --disk 1 cli-flavor
flavor set --property x=y cli-flavor
flavor show cli-flavor
flavor delete cli-flavor
aggregate create cli
aggregate list
aggregate delete cli
project create cli
user create --password secret --project cli cli
role add --project cli --user cli member
role assignment list --project cli --names
user delete cli
project delete cli
network agent list
usage list
endpoint list
catalog list
cascade site list
cascade site show paris
cascade status
"""


def _run(cli: Cli, script: str, **facts: Any) -> None:
    lines = [line.format(**facts) for line in script.strip().splitlines()]
    for number, line in enumerate(lines, 1):
        print(f"[{number}/{len(lines)}] openstack {line}", flush=True)
        print(cli(line), flush=True)


def test_tenant(tmp_path: Path) -> None:
    """A tenant's day, in both sites."""
    (tmp_path / "image").write_bytes(b"x" * 2048)
    cli = Cli("cascade")
    _run(cli, TENANT, tmp=tmp_path)
    left = cli("server list -f json") + cli("volume list -f json") + cli("network list -f json")
    assert not [row for row in left if str(row["Name"]).startswith("cli")]


def test_floating_ips_go() -> None:
    """What the day left behind in addresses."""
    cli = Cli("cascade")
    for row in cli("floating ip list -f json"):
        cli(f"floating ip delete {row['ID']}")


def test_administrator() -> None:
    """An administrator's."""
    _run(Cli("cascade-admin"), ADMIN)


@pytest.mark.parametrize(
    "command", ["server show nonesuch", "server delete nonesuch", "volume show nonesuch", "image show nonesuch", "network show nonesuch",
                "server create --flavor nonesuch --image nonesuch --nic none x", "hypervisor list", "server list --all-projects"],
)  # fmt: skip
def test_wrong_words(command: str) -> None:
    """Wrong names and missing rights end in the client's own error, never in a traceback."""
    assert "Traceback" not in Cli("cascade")(command, ok=False)

"""A network whose zone hints name one site: on that site's own tunnels, and nowhere else."""

from __future__ import annotations

from lab import wires
from lab.endpoints import capture
from tests.lab.test_network import copy
from tests.packets.stage import Stage, reaches

CIDR = "10.46.0.0/24"


def test_it_stays_in_its_site(stage: Stage) -> None:
    """Guests on two hosts talk through the site's own tunnel; the WAN sees nothing of it; no server of another site can have it."""
    tenant = stage.tenant
    net = tenant.make("networks", "network", name="lab-packets", availability_zone_hints=["paris"])["id"]
    tenant.make("subnets", "subnet", network_id=net, ip_version=4, cidr=CIDR)
    group = stage.group("icmp", "tcp")
    one, two = stage.leased(net, "paris", "paris", groups=[group])
    here = copy(stage.clouds["paris-admin"], "networks", net)
    assert here is not None and here["provider:network_type"] == "geneve"
    with capture(wires.WAN, "trunk") as seen:
        assert one.end.ping(two.address) == 64
        heard = reaches(one, two)
    assert heard is not None and (heard.peer, heard.size) == (one.address, 1_000_000)
    assert not [line for line in seen if one.address in line or two.address in line]
    server = {"name": "lab-packets", "flavorRef": "42", "imageRef": tenant.image, "networks": [{"uuid": net}]}
    refused = tenant.cloud("compute", "POST", "/servers", {"server": server | {"availability_zone": "tokyo"}}, version="2.60")
    assert refused.status == 409 and "paris" in refused.json()["conflictingRequest"]["message"], refused.body
    assert copy(stage.clouds["tokyo-admin"], "networks", net) is None
    made = tenant.cloud("compute", "POST", "/servers", {"server": server}, version="2.60")
    assert made.status == 202, made.body
    ident = made.json()["server"]["id"]
    tenant.undo.append(f"/servers/{ident}")
    shown = tenant.cloud.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE").json()
    assert shown["server"]["OS-EXT-AZ:availability_zone"] == "paris"

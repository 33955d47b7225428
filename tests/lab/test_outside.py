"""Servers on an external network itself."""

from __future__ import annotations

import pytest

from tests.lab.rest import Cloud
from tests.lab.test_groups import bootable
from tests.lab.test_network import SITES, copy, rows, until

NAME = "lab-outside"


@pytest.mark.parametrize("site", SITES)
def test_on_the_external_network(demo: Cloud, admin: Cloud, clouds: dict[str, Cloud], site: str) -> None:
    """Nova lets an administrator put a server there, and nobody else; its address is the hub's, on the site's own network."""
    outside = rows(admin, "networks", name="public")[0]["id"]
    with bootable(admin) as image, bootable(demo) as theirs:
        boot = {"name": NAME, "flavorRef": "42", "networks": [{"uuid": outside}], "availability_zone": site}
        refused = demo("compute", "POST", "/servers", {"server": boot | {"imageRef": theirs}}, version="2.60")
        assert refused.status == 403 and "external network" in refused.json()["forbidden"]["message"], refused.body
        made = admin("compute", "POST", "/servers", {"server": boot | {"imageRef": image}}, version="2.60")
        assert made.status == 202, made.body
        ident = made.json()["server"]["id"]
        admin.until("compute", f"/servers/{ident}", lambda a: a.json()["server"]["status"] == "ACTIVE")
        (port,) = rows(admin, "ports", device_id=ident)
        there = copy(clouds[f"{site}-admin"], "ports", port["id"])
        assert there is not None and there["network_id"] == rows(clouds[f"{site}-admin"], "networks", name="public")[0]["id"]
        assert [f["ip_address"] for f in there["fixed_ips"]] == [f["ip_address"] for f in port["fixed_ips"]]
        assert admin("compute", "DELETE", f"/servers/{ident}").status == 204
        assert until(lambda: admin("compute", "GET", f"/servers/{ident}").status == 404)
        assert until(lambda: copy(clouds[f"{site}-admin"], "ports", port["id"]) is None)

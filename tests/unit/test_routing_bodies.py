"""Zones, hosts, links, integers and stamps, both ways."""

from __future__ import annotations

import pytest

from cascade.model.site import Site
from cascade.routing import bodies

PARIS = Site(name="paris", number=1, cloud="paris", zones={"ssd": "paris-ssd"})
TOKYO = Site(name="tokyo", number=2, cloud="tokyo", options={"default_zone": "az1"})
URLS = {
    "http://10.0.0.1:8774": "https://api/compute",
    "http://10.0.0.1:877": "https://api/wrong",
    "http://10.0.0.1/volume": "https://api/volume",
}
STAMP = "0123456789abcdef0123456789abcdef"


def test_a_server_goes_north() -> None:
    server = {
        "id": "1", "OS-EXT-AZ:availability_zone": "nova", "OS-EXT-SRV-ATTR:host": "cmp1", "name": "http://10.0.0.1:8774/x",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": "cmp1.dc.example",
        "hostId": "abc", "tags": ["cascade.mine", f"cascade.{STAMP}", "b"],
        "links": [{"rel": "self", "href": "http://10.0.0.1:8774/v2.1/servers/1"},
                  {"rel": "bookmark", "href": "http://10.0.0.1:8774/servers/1"}],
        "fault": {"message": "see (http://10.0.0.1:8774/v2.1), it failed"},
    }  # fmt: skip
    out = bodies.to_north({"server": server}, site=PARIS, service="compute", urls=URLS)["server"]
    assert out["OS-EXT-AZ:availability_zone"] == "paris"
    assert out["OS-EXT-SRV-ATTR:host"] == "cmp1.paris"
    assert out["OS-EXT-SRV-ATTR:hypervisor_hostname"] == "cmp1.dc.example.paris"
    assert out["tags"] == ["cascade.mine", "b"]
    assert [link["href"] for link in out["links"]] == ["https://api/compute/v2.1/servers/1", "https://api/compute/servers/1"]
    assert out["fault"]["message"] == "see (https://api/compute/v2.1), it failed"
    assert out["name"] == server["name"]
    assert server["OS-EXT-SRV-ATTR:host"] == "cmp1", "the document given is not changed"


@pytest.mark.parametrize(
    ("href", "north"),
    [
        ("https://10.0.0.1:8774/v2.1/servers/1", "https://api/compute/v2.1/servers/1"),
        ("http://nova.paris.example:8774/v2.1/servers/1?x=1", "https://api/compute/v2.1/servers/1?x=1"),
        ("http://vip.example/compute/servers/1", "https://api/compute/servers/1"),
        ("https://api/compute/v2.1/servers/1", "https://api/compute/v2.1/servers/1"),
        ("http://10.0.0.1:87741/v2.1/servers", "https://api/compute/v2.1/servers"),
    ],
)
def test_links_by_other_names(href: str, north: str) -> None:
    assert bodies.to_north({"href": href}, site=PARIS, service="compute", urls=URLS) == {"href": north}


def test_volumes_go_north() -> None:
    volume = {"availability_zone": "ssd", "os-vol-host-attr:host": "st1@lvm#pool", "metadata": {"cascade": STAMP, "k": "v"},
              "attachments": [{"host_name": None}], "links": [{"href": "http://10.0.0.1/volume/v3/p/volumes/1"}]}  # fmt: skip
    out = bodies.to_north({"volumes": [volume]}, site=PARIS, service="volume", urls=URLS)["volumes"][0]
    assert out["availability_zone"] == "paris-ssd" and out["os-vol-host-attr:host"] == "st1.paris@lvm#pool"
    assert out["metadata"] == {"k": "v"} and out["attachments"] == [{"host_name": None}]
    assert out["links"][0]["href"] == "https://api/volume/v3/p/volumes/1"
    mine = bodies.to_north({"metadata": {"cascade": "waterfall"}}, site=PARIS, service="volume")
    assert mine == {"metadata": {"cascade": "waterfall"}}


def test_host_maps_and_lists() -> None:
    doc = {"zoneName": "az1", "hosts": {"c1": {"nova-compute": {}}}}
    assert bodies.to_north(doc, site=TOKYO, service="compute") == {"zoneName": "tokyo", "hosts": {"c1.tokyo": {"nova-compute": {}}}}
    assert bodies.to_north({"hosts": ["c1", "c2"]}, site=TOKYO, service="compute") == {"hosts": ["c1.tokyo", "c2.tokyo"]}


def test_requests_go_south() -> None:
    doc = {"server": {"availability_zone": "tokyo:c1.tokyo:n.dc.tokyo", "name": "tokyo", "metadata": {"host": "c1.tokyo"}}}
    out = bodies.to_south(doc, site=TOKYO, service="compute")["server"]
    assert out == {"availability_zone": "az1:c1:n.dc", "name": "tokyo", "metadata": {"host": "c1.tokyo"}}
    move = {"os-migrateLive": {"host": "c2.tokyo", "block_migration": "auto"}}
    assert bodies.to_south(move, site=TOKYO, service="compute") == {"os-migrateLive": {"host": "c2", "block_migration": "auto"}}
    assert bodies.to_south(move, site=PARIS, service="compute") == move, "a host of another site stays unknown"
    params = [("availability_zone", "paris-ssd"), ("host", "c1.paris"), ("name", "paris")]
    assert bodies.params_to_south(params, site=PARIS, service="compute") == [
        ("availability_zone", "ssd"), ("host", "c1"), ("name", "paris")]  # fmt: skip


def test_integer_ids_carry_the_site() -> None:
    doc = {"migrations": [{"id": 7, "uuid": "x", "ok": True}]}
    north = bodies.to_north(doc, site=TOKYO, service="compute", ints={"id", "ok"})
    assert north == {"migrations": [{"id": 2 + (7 << 12), "uuid": "x", "ok": True}]}
    assert bodies.to_south(north, site=TOKYO, service="compute", ints={"id"}) == doc
    assert bodies.to_south({"id": str(2 + (7 << 12))}, site=TOKYO, service="compute", ints={"id"}) == {"id": "7"}
    assert bodies.to_south(north, site=PARIS, service="compute", ints={"id"}) == north

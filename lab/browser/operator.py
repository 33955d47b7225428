"""An administrator at Horizon, while a tenant has instances in two zones: each step on pages and by the API, at sites too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import expect

from lab.browser.horizon import Horizon
from lab.browser.tenant import FLAVOR, ZONES, Day
from lab.raw import Cloud


@dataclass
class Office:
    """The administrator, at the screen and by the API; the tenant whose day it is; and the sites without Cascade."""

    screen: Horizon
    api: Cloud
    tenant: Day
    sites: dict[str, Cloud]
    """An administrator of each site's own, by zone."""

    def get(self, path: str) -> Any:
        """Ask Nova, as it is through Cascade."""
        return self.api("compute", "GET", path).json()


def hypervisors(office: Office) -> None:
    """Those of all sites, and what they run."""
    rows = office.get("/os-hypervisors/detail")["hypervisors"]
    office.screen.shows("/admin/hypervisors/", *(row["hypervisor_hostname"] for row in rows))
    for zone in ZONES:
        own = [row["hypervisor_hostname"] for row in office.sites[zone]("compute", "GET", "/os-hypervisors").json()["hypervisors"]]
        assert {f"{name}.{zone}" for name in own} <= {row["hypervisor_hostname"] for row in rows}, (zone, own)
    expect(office.screen.page.locator("#hypervisors tbody tr")).to_have_count(len(rows))
    office.screen.picture("horizon-hypervisors", "#hypervisors")


def all_instances(office: Office) -> None:
    """The tenant's, of both zones, with their project and host."""
    path, names = "/admin/instances/", [office.tenant.name + end for end in ("-paris", "-tokyo", "-copy")]
    office.screen.shows(path, *names)
    for name in names:
        server = office.get(f"/servers/{office.tenant.ids[name]}")["server"]
        assert server["OS-EXT-SRV-ATTR:host"].startswith(server["OS-EXT-AZ:availability_zone"]), server
        office.screen.sees(name, office.tenant.api.auth["project_name"], server["OS-EXT-SRV-ATTR:host"], "Active")


def zones(office: Office) -> None:
    """Every site is a zone with its hosts; the services of all are listed."""
    office.screen.shows("/admin/aggregates/", *ZONES)
    for zone in office.get("/os-availability-zone/detail")["availabilityZoneInfo"]:
        if zone["hosts"] and zone["zoneName"] in office.sites:
            row = office.screen.page.locator("#availability_zones tbody tr").filter(has=office.screen.cell(zone["zoneName"]))
            for host in zone["hosts"]:
                expect(row).to_contain_text(host)
    office.screen.visit("/admin/info/?tab=system_info__nova_services")
    listed = office.screen.page.locator("#nova_services tbody tr")
    for service in office.get("/os-services")["services"]:
        if service["binary"] == "nova-compute":
            expect(listed.filter(has=office.screen.cell(service["host"]))).to_contain_text(service["zone"])


def aggregate(office: Office) -> None:
    """A host aggregate is made with a host of a site, which then has it too."""
    name, zone = office.tenant.name, ZONES[0]
    host = next(s["host"] for s in office.get("/os-services?binary=nova-compute")["services"] if s["zone"] == zone)
    office.screen.visit("/admin/aggregates/")
    office.screen.page.click("#host_aggregates__action_create")
    office.screen.fill({"name": name})
    office.screen.dialogue.locator(".nav-pills a", has_text="Manage Hosts").click()
    _move(office, host)
    office.screen.send()
    office.screen.sees(name, host)
    made = next(a for a in office.get("/os-aggregates")["aggregates"] if a["name"] == name)
    assert made["hosts"] == [host]
    own = office.sites[zone]("compute", "GET", "/os-aggregates").json()["aggregates"]
    assert [a["name"] for a in own if a["hosts"] and a["name"] == name] == [name], own
    office.screen.picture("horizon-zones")
    office.screen.do(office.screen.row(name), "Manage Hosts")
    _move(office, host)
    office.screen.send()
    office.screen.delete(name, "Delete Host Aggregate")
    office.api.until("compute", f"/os-aggregates/{made['id']}", lambda got: got.status == 404)


def _move(office: Office, host: str) -> None:
    """From one list of a dialogue's two to the other."""
    item = office.screen.dialogue.locator("ul.btn-group:visible").filter(has=office.screen.page.get_by_text(host, exact=True))
    item.locator("a[href='#add_remove']").click()


def flavor(office: Office) -> None:
    """A flavor is made, is the same in every site, and goes from all of them."""
    name = office.tenant.api.auth["project_name"]
    office.screen.visit("/admin/flavors/")
    office.screen.create("Create Flavor", {"name": name, "vcpus": "1", "memory_mb": "64", "disk_gb": "1"})
    office.screen.sees(name, "64MB", "1 GB")
    made = next(f for f in office.get("/flavors/detail?is_public=None")["flavors"] if f["name"] == name)
    for site in office.sites.values():
        there = site.until("compute", f"/flavors/{made['id']}", lambda got: got.status == 200).json()["flavor"]
        assert (there["name"], there["ram"], there["vcpus"], there["disk"]) == (name, 64, 1, 1)
    office.screen.delete(name, "Delete Flavor")
    for cloud in (office.api, *office.sites.values()):
        cloud.until("compute", f"/flavors/{made['id']}", lambda got: got.status == 404)


def default_quotas(office: Office) -> None:
    """A default is changed and is in force; then it is put back, by the page too."""
    before = office.get("/os-quota-class-sets/default")["quota_class_set"]["metadata_items"]
    for wanted in (before + 1, before):
        office.screen.visit("/admin/defaults/")
        office.screen.page.click("#compute_quotas__action_update_compute_defaults")
        office.screen.fill({"metadata_items": str(wanted)})
        office.screen.send()
        office.screen.sees("Metadata Items", str(wanted))
        assert office.get("/os-quota-class-sets/default")["quota_class_set"]["metadata_items"] == wanted
        limits = office.tenant.api("compute", "GET", "/limits").json()["limits"]["absolute"]
        assert limits["maxServerMeta"] == wanted


def project_quota(office: Office) -> None:
    """The tenant may have no more instances than he has: his page says so, and the API holds it."""
    used = office.tenant.api("compute", "GET", "/limits").json()["limits"]["absolute"]["totalInstancesUsed"]
    project = office.tenant.api.auth["project_name"]
    office.screen.shows("/identity/", project)
    office.screen.do(office.screen.row(project), "Modify Quotas")
    now = office.api("network", "GET", f"/v2.0/quotas/{office.tenant.api.project_id}").json()["quota"]
    network = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
    for tab, fields in (
        # Horizon 27 forgets these before it shows them (it says so), and saves nothing without them
        ("Network", {name: str(now[name]) for name in network}),
        ("Compute", {"instances": str(used)}),
    ):
        office.screen.dialogue.locator(".nav-pills a, .nav-tabs a", has_text=tab).click()
        office.screen.fill({**fields})
    office.screen.send()
    assert office.get(f"/os-quota-sets/{office.tenant.api.project_id}")["quota_set"]["instances"] == used
    office.tenant.screen.visit("/project/instances/")
    expect(office.tenant.screen.page.locator("#instances__action_launch-ng")).to_contain_text("Quota exceeded")
    flavors = {f["name"]: f["id"] for f in office.get("/flavors")["flavors"]}
    for zone in ZONES:
        wish = {"name": "more", "flavorRef": flavors[FLAVOR], "imageRef": office.tenant.ids["images"], "availability_zone": zone}
        got = office.tenant.api("compute", "POST", "/servers", {"server": wish})
        assert got.status == 403 and "Quota exceeded for instances" in got.json()["forbidden"]["message"], got.body


STEPS: tuple[Callable[[Office], None], ...] = (
    hypervisors, all_instances, zones, aggregate, flavor, default_quotas, project_quota
)  # fmt: skip


def sweep(api: Cloud, *names: str) -> None:
    """Delete the aggregates and flavors of these names that a failed step left."""
    for path, key in (("/os-aggregates", "aggregates"), ("/flavors", "flavors")):
        for row in api("compute", "GET", path).json()[key]:
            if row["name"] in names:
                for host in row.get("hosts", ()):
                    api("compute", "POST", f"{path}/{row['id']}/action", {"remove_host": {"host": host}})
                api("compute", "DELETE", f"{path}/{row['id']}")

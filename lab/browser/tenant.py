"""A tenant's day in Horizon: each step is done on pages, seen on pages, and asked of the API."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import expect

from lab.browser.crawl import crawl
from lab.browser.horizon import Horizon
from lab.browser.screen import PATIENCE
from lab.data import EXTERNAL_CIDR
from lab.raw import Answer, Cloud

ZONES = ("paris", "tokyo")
FLAVOR = "m1.nano"
BITS = 1 << 20
"""Octets of the image."""


@dataclass
class Day:
    """One tenant, at the screen and by the API."""

    screen: Horizon
    api: Cloud
    name: str
    """What all that is made is called, or begins with."""
    folder: Path
    """For the file of the image."""
    ids: dict[str, str] = field(default_factory=dict)

    def find(self, service: str, path: str, key: str, name: str) -> dict[str, Any]:
        """The one thing of this name, by the API, where a busy site may miss from a list for once."""
        doc = self.api.until(service, path, lambda got: any(row["name"] == name for row in _rows(got, key))).json()
        found = [row for row in doc[key] if row["name"] == name]
        assert len(found) == 1, (path, name, found)
        self.ids.setdefault(name if key == "servers" else key, found[0]["id"])
        row: dict[str, Any] = found[0]
        return row

    def server(self, zone: str) -> str:
        """The id of the server launched in a zone."""
        return self.ids[f"{self.name}-{zone}"]

    def until(self, service: str, path: str, key: str, status: str) -> dict[str, Any]:
        """Wait until something stands like this; what it is then, by the API."""
        shown = self.api.until(
            service, path, lambda got: got.status == 200 and got.json()[key]["status"] in (status, "ERROR")
        ).json()
        row: dict[str, Any] = shown[key]
        assert row["status"] == status, row
        return row

    def gone(self, service: str, path: str) -> None:
        """It is no more, by the API."""
        self.api.until(service, path, lambda got: got.status == 404)

    def launch(self, name: str, zone: str, source: str, kind: str = "Image", picture: str = "") -> None:
        """Launch an instance through the wizard; in the end it is ACTIVE, in that zone."""
        page = self.screen
        page.visit("/project/instances/")
        page.page.click("#instances__action_launch-ng")
        wizard = page.dialogue
        wizard.locator("input#name").fill(name)
        wizard.locator("#availability-zone").select_option(label=zone)
        if picture:
            page.picture(picture)
        for step, form, choice in (
            ("Source", "Source", source), ("Flavor", "Flavor", FLAVOR), ("Networks", "Network", self.name),
            ("Security Groups", "AccessAndSecurity", self.name), ("Key Pair", "Keypair", self.name),
        ):  # fmt: skip
            wizard.locator("li a", has_text=step).first.click()
            pane = wizard.locator(f"[ng-form='launchInstance{form}Form']")  # those of other steps have rows of this name too
            if step == "Source":  # boot from the image itself, not from a volume made of it
                pane.locator("#boot-source-type").select_option(label=kind)
                pane.locator("label:has-text('No'):visible").first.click()
            chosen = pane.locator(".transfer-allocated tr:visible", has_text=choice)
            free = pane.locator(".transfer-available tr:visible", has_text=choice)
            expect(chosen.or_(free).first).to_be_visible(timeout=PATIENCE)
            if not chosen.count():  # the only network and the only key pair are chosen already
                free.locator("button:visible").last.click()
            expect(chosen.first).to_be_visible()
        wizard.locator("button.finish").click()
        expect(page.dialogue).to_have_count(0, timeout=2 * PATIENCE)
        made = self.find("compute", f"/servers/detail?name={name}", "servers", name)
        server = self.until("compute", f"/servers/{made['id']}", "server", "ACTIVE")
        assert server["OS-EXT-AZ:availability_zone"] == zone, server
        assert server["key_name"] == self.name and {g["name"] for g in server["security_groups"]} >= {self.name}, server


def key_pair(day: Day) -> None:
    """A key pair is made, its private half comes as a file."""
    day.screen.visit("/project/key_pairs/")
    with day.screen.page.expect_download() as private:
        day.screen.create("Create Key Pair", {"name": day.name, "key_type": "SSH Key"})
    assert "PRIVATE KEY" in Path(private.value.path()).read_text()
    assert day.api("compute", "GET", f"/os-keypairs/{day.name}").json()["keypair"]["public_key"].startswith("ssh-")


def image(day: Day) -> None:
    """A file is uploaded."""
    file = day.folder / f"{day.name}.raw"
    file.write_bytes(b"\0" * BITS)
    page = day.screen
    page.visit("/project/images")
    page.page.get_by_role("button", name="Create Image").click()
    page.dialogue.locator("#imageForm-name").fill(day.name)
    page.dialogue.locator("input[type=file]").set_input_files(file)
    page.dialogue.locator("#imageForm-format").select_option(label="Raw")
    page.dialogue.locator("button.finish").click()
    page.said()
    expect(page.row(day.name)).to_contain_text("Active", timeout=PATIENCE)
    made = day.find("image", f"/v2/images?name={day.name}", "images", day.name)
    assert (made["status"], made["size"], made["disk_format"]) == ("active", BITS, "raw"), made


def network(day: Day) -> None:
    """A network with a subnet, and a router that leads out."""
    page = day.screen
    page.visit("/project/networks/")
    page.page.click("#networks__action_create")
    page.fill({"net_name": day.name})
    page.dialogue.locator(".button-next").click()
    page.fill({"subnet_name": day.name, "cidr": "10.94.0.0/24"})
    page.dialogue.locator(".button-next").click()
    page.dialogue.locator(".button-final").click()
    page.said()
    expect(page.row(day.name)).to_contain_text("10.94.0.0/24")
    made = day.find("network", f"/v2.0/networks?name={day.name}", "networks", day.name)
    page.visit("/project/routers/")
    page.create("Create Router", {"name": day.name, "external_network": "public"})
    router = day.find("network", f"/v2.0/routers?name={day.name}", "routers", day.name)
    assert router["external_gateway_info"]["network_id"]
    page.visit(f"/project/routers/{router['id']}/?tab=router_details__interfaces")
    page.create("Add Interface", {"subnet_id": day.name})
    ports = day.api("network", "GET", f"/v2.0/ports?device_id={router['id']}&network_id={made['id']}").json()["ports"]
    assert [ip["ip_address"] for port in ports for ip in port["fixed_ips"]] == ["10.94.0.1"]


def security_group(day: Day) -> None:
    """A security group with a rule."""
    page = day.screen
    page.visit("/project/security_groups/")
    page.create("Create Security Group", {"name": day.name})
    group = day.find("network", f"/v2.0/security-groups?name={day.name}", "security_groups", day.name)
    page.visit(f"/project/security_groups/{group['id']}/")
    page.create("Add Rule", {"rule_menu": "Custom TCP Rule", "port": "22", "cidr": "192.0.2.0/24"})
    page.sees("192.0.2.0/24", "Ingress", "TCP", "22")
    rules = day.api("network", "GET", f"/v2.0/security-group-rules?security_group_id={group['id']}&direction=ingress").json()
    assert [(r["remote_ip_prefix"], r["port_range_min"]) for r in rules["security_group_rules"]] == [("192.0.2.0/24", 22)]


def instances(day: Day) -> None:
    """An instance in each zone, both in one table."""
    for zone in ZONES:
        day.launch(f"{day.name}-{zone}", zone, day.name, picture="horizon-launch" if zone == "tokyo" else "")
    day.screen.shows("/project/instances/", *(f"{day.name}-{zone}" for zone in ZONES))
    for zone in ZONES:
        day.screen.sees(f"{day.name}-{zone}", zone, "Active", "Running")
    day.screen.picture("horizon-instances")


def overview(day: Day) -> None:
    """The overview's charts are the API's limits."""
    day.screen.visit("/project/")
    limits = day.api("compute", "GET", "/limits").json()["limits"]["absolute"]
    for title, used, of in (
        ("Instances", limits["totalInstancesUsed"], limits["maxTotalInstances"]),
        ("vCPUs", limits["totalCoresUsed"], limits["maxTotalCores"]),
    ):
        chart = day.screen.page.locator(".d3_quota_bar", has_text=re.compile(rf"^\s*{title}\b"))
        expect(chart).to_contain_text(f"Used {used} of {of}")
        expect(chart.locator("svg")).to_be_visible()
    day.screen.picture("horizon-overview")


def volume(day: Day) -> None:
    """A volume is made in a zone, attached to the instance there, snapshotted."""
    page = day.screen
    page.visit("/project/volumes/")
    page.create("Create Volume", {"name": day.name, "size": "1", "availability_zone": "tokyo"})
    made = day.find("volume", f"/volumes/detail?name={day.name}", "volumes", day.name)
    day.until("volume", f"/volumes/{made['id']}", "volume", "available")
    page.shows("/project/volumes/", day.name)
    page.do(page.row(day.name), "Manage Attachments")
    page.fill({"instance": f"{day.name}-tokyo"})
    page.send()
    day.until("volume", f"/volumes/{made['id']}", "volume", "in-use")
    page.shows("/project/volumes/", day.name)
    expect(page.row(day.name)).to_contain_text(f"on {day.name}-tokyo")
    page.picture("horizon-volumes")
    attached = day.api("compute", "GET", f"/servers/{day.server('tokyo')}/os-volume_attachments").json()["volumeAttachments"]
    assert [a["volumeId"] for a in attached] == [made["id"]]


def floating_ip(day: Day) -> None:
    """An address of the outside, for the instance in the other zone."""
    page = day.screen
    page.visit("/project/floating_ips/")
    page.create("Allocate IP To Project", {"description": day.name})
    mine = day.api("network", "GET", f"/v2.0/floatingips?description={day.name}").json()["floatingips"]
    address = mine[0]["floating_ip_address"]
    day.ids["floatingips"] = mine[0]["id"]
    page.visit("/project/floating_ips/")
    page.do(page.row(address), "Associate")
    page.fill({"port_id": f"{day.name}-tokyo"})
    page.send()
    expect(page.row(address)).to_contain_text(f"{day.name}-tokyo")
    page.shows("/project/instances/", f"{day.name}-tokyo")
    expect(page.row(f"{day.name}-tokyo")).to_contain_text(address)
    assert address.startswith(EXTERNAL_CIDR.rpartition(".")[0])
    where = f"/servers/{day.server('tokyo')}"  # it is told when its site's copy of the address is there
    day.api.until("compute", where, lambda got: got.status == 200 and address in _addresses(got, day.name))


def topology(day: Day) -> None:
    """The network with its router and the instances of both zones."""
    day.screen.visit("/project/network_topology/")
    day.screen.page.locator("ul.nav-tabs a", has_text="Topology").click()
    day.screen.settle()
    canvas = day.screen.page.locator("#topology_canvas")
    for text in (day.name, *(f"{day.name}-{zone}"[:9] for zone in ZONES)):
        expect(canvas).to_contain_text(text)
    day.screen.picture("horizon-topology")
    drawn = day.screen.page.request.get(f"{day.screen.url}/project/network_topology/json").json()
    assert {s["id"] for s in drawn["servers"]} >= {day.server(zone) for zone in ZONES}
    assert day.ids["routers"] in {r["id"] for r in drawn["routers"]}


def console(day: Day) -> None:
    """The console tab of the instance in the other zone: its screen is there, by way of the gateway."""
    day.screen.visit(f"/project/instances/{day.server('tokyo')}/?tab=instance_details__console")
    address = day.screen.page.locator("#console_embed").get_attribute("src") or ""
    assert urlsplit(address).netloc == urlsplit(day.api.auth["auth_url"]).netloc, address
    frame = day.screen.page.frame_locator("#console_embed")
    expect(frame.locator("#status")).to_contain_text("Connected", timeout=PATIENCE)
    expect(frame.locator("canvas")).to_be_visible()
    day.screen.picture("horizon-console")


def snapshot(day: Day) -> None:
    """An image is made of the instance in one zone, and booted in the other."""
    name = f"{day.name}-copy"
    day.screen.shows("/project/instances/", f"{day.name}-paris")
    day.screen.do(day.screen.row(f"{day.name}-paris"), "Create Snapshot")
    day.screen.fill({"name": name})
    day.screen.send()
    made = day.api.until(
        "image", f"/v2/images?name={name}", lambda got: any(i["status"] == "active" for i in _rows(got, "images"))
    ).json()
    day.ids["snapshot"] = made["images"][0]["id"]
    expect(day.screen.row(name)).to_contain_text("Snapshot", timeout=PATIENCE)
    day.launch(name, "tokyo", name, "Instance Snapshot")
    server = day.api("compute", "GET", f"/servers/{day.ids[name]}").json()["server"]
    assert server["image"]["id"] == day.ids["snapshot"]


def panels(day: Day) -> None:
    """Every panel, tab and first thing of a list, while there is something in them."""
    crawl(day.screen)


def give_back_volume(day: Day) -> None:
    """The volume is detached and deleted."""
    page, path = day.screen, f"/volumes/{day.ids['volumes']}"
    page.shows("/project/volumes/", day.name)
    page.do(page.row(day.name), "Manage Attachments")
    page.dialogue.locator("button", has_text="Detach Volume").last.click()
    page.agree()
    day.until("volume", path, "volume", "available")
    page.shows("/project/volumes/", day.name)
    page.delete(day.name, "Delete Volume")
    day.gone("volume", path)


def give_back_address(day: Day) -> None:
    """The floating IP is released."""
    page, path = day.screen, f"/v2.0/floatingips/{day.ids['floatingips']}"
    address = day.api("network", "GET", path).json()["floatingip"]["floating_ip_address"]
    page.visit("/project/floating_ips/")
    page.delete(address, "Disassociate")
    assert day.api("network", "GET", path).json()["floatingip"]["port_id"] is None
    page.delete(address, "Release Floating IP")
    day.gone("network", path)


def delete_instances(day: Day) -> None:
    """All instances of both zones go at one stroke."""
    names = [f"{day.name}-{zone}" for zone in ZONES] + [f"{day.name}-copy"]
    day.screen.shows("/project/instances/", *names)
    for name in names:
        day.screen.row(name).locator(".multi_select_column label").click()
    day.screen.page.click("#instances__action_delete")
    day.screen.agree()
    for name in names:
        day.gone("compute", f"/servers/{day.ids[name]}")
    day.screen.visit("/project/instances/")
    expect(day.screen.page.locator("td.empty, tr.empty").first).to_be_visible()


def delete_the_rest(day: Day) -> None:
    """Images, router, network, security group and key pair."""
    group = day.ids["security_groups"]
    for path, name, action, service, gone in (
        ("/project/images", f"{day.name}-copy", "Delete Image", "image", f"/v2/images/{day.ids['snapshot']}"),
        ("/project/images", day.name, "Delete Image", "image", f"/v2/images/{day.ids['images']}"),
        ("/project/routers/", day.name, "Delete Router", "network", f"/v2.0/routers/{day.ids['routers']}"),
        ("/project/networks/", day.name, "Delete Network", "network", f"/v2.0/networks/{day.ids['networks']}"),
        ("/project/security_groups/", day.name, "Delete Security Group", "network", f"/v2.0/security-groups/{group}"),
        ("/project/key_pairs/", day.name, "Delete Key Pair", "compute", f"/os-keypairs/{day.name}"),
    ):  # fmt: skip
        day.screen.shows(path, name)
        day.screen.delete(name, action)
        day.gone(service, gone)


MORNING: tuple[Callable[[Day], None], ...] = (
    key_pair, image, network, security_group, instances, volume, floating_ip, overview, topology, console, snapshot, panels
)  # fmt: skip
EVENING: tuple[Callable[[Day], None], ...] = (give_back_volume, give_back_address, delete_instances, delete_the_rest)


def _rows(got: Answer, key: str) -> list[dict[str, Any]]:
    """Of a list; none where the answer is none, as on a machine that has too much to do."""
    rows: list[dict[str, Any]] = got.json()[key] if got.status == 200 else []
    return rows


def _addresses(got: Answer, network: str) -> set[str]:
    return {each["addr"] for each in got.json()["server"]["addresses"].get(network, ())}

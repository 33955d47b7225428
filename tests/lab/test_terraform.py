"""What Terraform's OpenStack provider sends for one plan in each zone: create, poll, read back, change, destroy backwards.

The provider remembers what it wrote and compares it with what it reads: an answer that says anything else is a change it
wants to make at every run. It waits for states within its timeouts, and for 404 after a delete.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.rest import Answer, Cloud

TIMEOUT = 120.0
USER_DATA = base64.b64encode(b"#!/bin/sh\ntrue\n").decode()
Doc = dict[str, Any]


class Provider:
    """The provider's three habits: what was written reads back, states are waited for, destroy is the reverse of create."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._undo: list[Callable[[], None]] = []

    def __call__(self, service: str, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        got = self.cloud(service, method, path, body, **more)
        assert got.status < 300, (method, path, got.status, got.body)
        return got

    def create(
        self, service: str, path: str, kind: str, wanted: Doc, *, ready: tuple[str, ...] = (), tags: list[str] | None = None
    ) -> Doc:
        """Make it, wait until it is ready, tag it, read it: nothing differs from what was asked for."""
        made: Doc = self(service, "POST", path, {kind: wanted}).json()[kind]
        at = f"{path}/{made['id']}"
        self._undo.append(lambda: self.destroy(service, at))
        if ready:
            self.wait(service, at, kind, ready)
        if tags is not None:
            self(service, "PUT", f"{at}/tags", {"tags": tags})
            wanted = wanted | {"tags": tags}
        return self.same(service, at, kind, wanted)

    def same(self, service: str, at: str, kind: str, wanted: Doc) -> Doc:
        """No difference between the plan and the cloud."""
        read: Doc = self(service, "GET", at).json()[kind]
        differs = {k: (v, read[k]) for k, v in wanted.items() if k in read and read[k] != v}
        assert not differs, (at, differs)
        return read

    def wait(self, service: str, at: str, kind: str, ready: tuple[str, ...]) -> None:
        """StateChangeConf: until one of the states, never over an error."""
        end = time.monotonic() + TIMEOUT
        while (state := self(service, "GET", at).json()[kind]["status"]) not in ready:
            assert time.monotonic() < end and state.lower() != "error", (at, state)
            time.sleep(0.5)

    def destroy(self, service: str, at: str) -> None:
        """Delete, again where something is still in use, and wait for the 404."""
        end = time.monotonic() + TIMEOUT
        while (status := self.cloud(service, "DELETE", at).status) in (400, 409):
            assert time.monotonic() < end, (at, status)
            time.sleep(0.5)
        assert status in (202, 204), (at, status)
        while (status := self.cloud(service, "GET", at).status) != 404:
            assert time.monotonic() < end and status == 200, (at, status)
            time.sleep(0.5)

    def undo(self, step: Callable[[], None]) -> None:
        """What ``destroy`` has to do before all that was made so far."""
        self._undo.append(step)

    def end(self) -> None:
        """``terraform destroy``."""
        while self._undo:
            self._undo.pop()()


@pytest.fixture
def terraform(demo: Cloud) -> Iterator[Provider]:
    provider = Provider(demo)
    yield provider
    provider.end()


@pytest.mark.parametrize("zone", ["paris", "tokyo"])
def test_plan(terraform: Provider, zone: str) -> None:
    t = terraform
    tags = ["managed-by=terraform", zone]
    net = t.create(
        "network", "/v2.0/networks", "network", {"name": f"tf-{zone}", "admin_state_up": True}, ready=("ACTIVE",), tags=tags
    )
    subnet = t.create(
        "network", "/v2.0/subnets", "subnet",
        {"name": "tf", "network_id": net["id"], "ip_version": 4, "cidr": "10.99.0.0/24", "dns_nameservers": ["192.0.2.53"],
         "allocation_pools": [{"start": "10.99.0.10", "end": "10.99.0.99"}]}, tags=tags,
    )  # fmt: skip
    router = t.create("network", "/v2.0/routers", "router", {"name": "tf", "admin_state_up": True}, ready=("ACTIVE",), tags=tags)
    joined = t("network", "PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}).json()
    t.undo(lambda: leave(t, router["id"], subnet["id"], joined["port_id"]))
    t.wait("network", f"/v2.0/ports/{joined['port_id']}", "port", ("ACTIVE", "DOWN"))
    group = t.create("network", "/v2.0/security-groups", "security_group", {"name": "tf", "description": "of a plan"}, tags=tags)
    for rule in group["security_group_rules"]:  # delete_default_rules
        assert t.cloud("network", "DELETE", f"/v2.0/security-group-rules/{rule['id']}").status == 204
    rule = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
            "remote_ip_prefix": "0.0.0.0/0", "security_group_id": group["id"]}  # fmt: skip
    t.create("network", "/v2.0/security-group-rules", "security_group_rule", rule)
    fixed = [{"subnet_id": subnet["id"], "ip_address": "10.99.0.42"}]
    port = t.create(
        "network", "/v2.0/ports", "port",
        {"name": "tf", "network_id": net["id"], "admin_state_up": True, "fixed_ips": fixed, "security_groups": [group["id"]]},
        tags=tags,
    )  # fmt: skip
    volume = t.create(
        "volume",
        "/volumes",
        "volume",
        {"name": "tf", "size": 1, "availability_zone": zone, "metadata": {"tf": "1"}},
        ready=("available",),
    )
    server = boot(t, zone, port["id"])
    at = f"/servers/{server['id']}"
    assert [a["addr"] for a in server["addresses"][f"tf-{zone}"]] == ["10.99.0.42"]
    attach(t, at, volume["id"])

    t("compute", "PUT", at, {"server": {"name": "tf-renamed"}})
    t("compute", "POST", f"{at}/metadata", {"metadata": {"role": "db"}})
    assert t.cloud("compute", "DELETE", f"{at}/metadata/plan").status == 204
    t.same("compute", at, "server", {"name": "tf-renamed", "metadata": {"role": "db"}})
    t("compute", "POST", f"{at}/action", {"resize": {"flavorRef": "84"}})
    t.wait("compute", at, "server", ("VERIFY_RESIZE",))
    assert t.cloud("compute", "POST", f"{at}/action", {"confirmResize": None}).status == 204
    t.wait("compute", at, "server", ("ACTIVE", "SHUTOFF"))
    assert t("compute", "GET", at).json()["server"]["flavor"]["id"] == "84"
    t("network", "PUT", f"/v2.0/networks/{net['id']}/tags", {"tags": [*tags, "changed"]})
    found = t("network", "GET", "/v2.0/networks", tags="changed," + zone).json()["networks"]  # a data source
    assert [n["id"] for n in found] == [net["id"]]
    t.end()


def boot(t: Provider, zone: str, port: str) -> Doc:
    """openstack_compute_instance_v2 with tags, which need a microversion; the image by name, as a data source finds it."""
    upload(t, f"tf-{zone}")
    (image,) = t("image", "GET", "/v2/images", name=f"tf-{zone}", limit=1).json()["images"]
    wanted = {"name": "tf", "flavorRef": "42", "imageRef": image["id"], "availability_zone": zone, "networks": [{"port": port}],
              "metadata": {"plan": "1"}, "user_data": USER_DATA, "config_drive": True}  # fmt: skip
    made = t("compute", "POST", "/servers", {"server": wanted | {"tags": ["tf"]}}, version="2.52").json()["server"]
    at = f"/servers/{made['id']}"
    t.undo(lambda: t.destroy("compute", at))
    t.wait("compute", at, "server", ("ACTIVE",))
    assert t("compute", "GET", f"{at}/tags", version="2.26").json() == {"tags": ["tf"]}
    server = t.same("compute", at, "server", {"name": "tf", "metadata": {"plan": "1"}, "config_drive": "True"})
    assert server["OS-EXT-AZ:availability_zone"] == zone and server["image"]["id"] == image["id"]
    assert [i["port_id"] for i in t("compute", "GET", f"{at}/os-interface").json()["interfaceAttachments"]] == [port]
    return server


def upload(t: Provider, name: str) -> None:
    """openstack_images_image_v2: the bits, wait for ``active``, the properties by JSON patch. Images have no envelope."""
    wanted = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private", "tags": ["tf"]}
    made = t("image", "POST", "/v2/images", wanted).json()
    at = f"/v2/images/{made['id']}"
    t.undo(lambda: t.destroy("image", at))
    t("image", "PUT", f"{at}/file", b"bits" * 512, headers={"Content-Type": "application/octet-stream"})
    assert t("image", "GET", at).json()["status"] == "active"
    patch = [{"op": "add", "path": "/os_distro", "value": "debian"}]
    t("image", "PATCH", at, patch, headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})
    read = t("image", "GET", at).json()
    assert {k: read[k] for k in wanted} == wanted and read["os_distro"] == "debian"


def attach(t: Provider, at: str, volume: str) -> None:
    """openstack_compute_volume_attach_v2."""
    made = t("compute", "POST", f"{at}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume}}).json()[
        "volumeAttachment"
    ]
    there = f"{at}/os-volume_attachments/{made['id']}"
    t.undo(lambda: t.destroy("compute", there))
    t.wait("volume", f"/volumes/{volume}", "volume", ("in-use",))
    t.same("compute", there, "volumeAttachment", {"volumeId": volume, "device": made["device"]})


def leave(t: Provider, router: str, subnet: str, port: str) -> None:
    """openstack_networking_router_interface_v2, destroyed."""
    t("network", "PUT", f"/v2.0/routers/{router}/remove_router_interface", {"subnet_id": subnet})
    end = time.monotonic() + TIMEOUT
    while t.cloud("network", "GET", f"/v2.0/ports/{port}").status != 404:
        assert time.monotonic() < end
        time.sleep(0.5)

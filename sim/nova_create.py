"""Nova: making servers. What a request must have, what is checked before the 202, and what happens after."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from typing import Any

from sim.faults import Refused
from sim.hosts import DEFAULT_ZONE, hosts, place, zone_of, zones
from sim.neutron import create_one
from sim.neutron_core import bump
from sim.neutron_groups import default_group
from sim.neutron_ports import bind
from sim.neutron_tables import KINDS
from sim.nova_blocks import attach_now, block_devices
from sim.nova_quota import check_quota
from sim.nova_schema import integer
from sim.nova_view import act, links, touch
from sim.web import Answer, Call, invalid, route
from sim.world import Cloud, Row, is_uuid, new_id

FIELDS: dict[str, int] = {
    "name": 1, "flavorRef": 1, "imageRef": 1, "networks": 1, "metadata": 1, "personality": 1, "adminPass": 1, "accessIPv4": 1,
    "accessIPv6": 1, "OS-DCF:diskConfig": 1, "availability_zone": 1, "block_device_mapping": 1, "block_device_mapping_v2": 1,
    "config_drive": 1, "key_name": 1, "max_count": 1, "min_count": 1, "return_reservation_id": 1, "security_groups": 1,
    "user_data": 1, "os:scheduler_hints": 1, "OS-SCH-HNT:scheduler_hints": 1, "description": 19, "tags": 52,
    "trusted_image_certificates": 63, "host": 74, "hypervisor_hostname": 74, "hostname": 90,
}  # fmt: skip
"""Property -> the microversion it came with."""
MOST_TAGS = 50


def refuse(message: str) -> Refused:
    """400."""
    return Refused(400, message)


def _schema(call: Call) -> Row:
    server = call.body("server")
    shown = f"Invalid input for field/attribute server. Value: {server}. "
    for name in ("name", "flavorRef", *(("networks",) if call.since(37) else ())):
        if name not in server:
            raise refuse(f"{shown}{name!r} is a required property")
    extra = [k for k in server if FIELDS.get(k, 999) > call.version[1] or (k == "personality" and call.since(57))]
    if extra:
        names = ", ".join(map(repr, extra))
        raise refuse(f"{shown}Additional properties are not allowed ({names} {'was' if len(extra) == 1 else 'were'} unexpected)")
    name = server["name"]
    if not isinstance(name, str):
        raise refuse(invalid("name", name, "is not of type 'string'"))
    if not name.strip() or len(name) > 255:
        raise refuse(invalid("name", name, "should be non-empty" if not name.strip() else "is too long"))
    if not isinstance(server["flavorRef"], (str, int)):
        raise refuse(invalid("flavorRef", server["flavorRef"], "is not of type 'string'"))
    image = server.get("imageRef")
    if image is not None and image != "" and not is_uuid(image):
        raise refuse(invalid("imageRef", image, "is not valid under any of the given schemas"))
    for k, v in (server.get("metadata") or {}).items():
        if not isinstance(v, str):
            raise refuse(invalid(k, v, "is not of type 'string'"))
    tags = server.get("tags") or []
    if len(tags) > MOST_TAGS:
        raise refuse(invalid("tags", tags, "is too long"))
    for t in tags:
        if not isinstance(t, str) or not 0 < len(t) <= 60 or "/" in t or "," in t:
            raise refuse(invalid("tags", t, "does not match '^[^,/]*$'"))
    _networks_schema(call, server.get("networks"))
    data = server.get("user_data")
    if data is not None:
        try:
            base64.b64decode(data)
        except (binascii.Error, ValueError, TypeError):
            raise refuse(invalid("user_data", data, "is not a 'base64'")) from None
    return server


def _is_address(value: Any) -> bool:
    try:
        return bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _networks_schema(call: Call, networks: Any) -> None:
    if networks is None or (isinstance(networks, str) and call.since(37) and networks in ("auto", "none")):
        return
    if not isinstance(networks, list):
        raise refuse(invalid("networks", networks, "is not valid under any of the given schemas"))
    for n in networks:
        if not isinstance(n, dict) or not ({"uuid", "port"} & set(n)):
            raise refuse(invalid("networks", networks, "is not valid under any of the given schemas"))
        if n.get("fixed_ip") is not None and not _is_address(n["fixed_ip"]):
            raise refuse(invalid("networks", networks, "is not valid under any of the given schemas"))
        for k in ("uuid", "port"):
            if n.get(k) is not None and not is_uuid(n[k]):
                raise refuse(invalid(k, n[k], "is not a 'uuid'"))


@route("compute", "POST", "/servers", "member", "os_compute_api:servers:create")
def create(call: Call) -> Answer:
    cloud, server = call.cloud, _schema(call)
    low = integer("min_count", server.get("min_count", 1), 1)
    high = integer("max_count", server.get("max_count", low), 1)
    if low > high:
        raise refuse("min_count must be <= max_count")
    flavor = cloud["flavors"].get(str(server["flavorRef"]).rsplit("/", 1)[-1])
    if flavor is None or not (flavor["public"] or call.who.admin or call.who.project_id in flavor["access"]):
        raise refuse(f"Flavor {server['flavorRef']} could not be found.")
    zone, host = _zone(call, server)
    blocks = block_devices(call, server)
    image = _image(call, server, flavor, blocks)
    if server.get("key_name") and f"{call.who.user_id}/{server['key_name']}" not in cloud["keypairs"]:
        raise refuse("Invalid key_name provided.")
    hints = dict(call.doc.get("os:scheduler_hints") or call.doc.get("OS-SCH-HNT:scheduler_hints") or {})
    group = _group(call, hints)
    groups = _security_groups(call, server)
    nics = _nics(call, server, high)
    check_quota(call, {"instances": high, "cores": high * flavor["vcpus"], "ram": high * flavor["ram"]})
    reservation = "r-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8))
    password = server.get("adminPass") or secrets.token_urlsafe(9)[:12]
    made = []
    for n in range(high):
        name = server["name"] if high == 1 else f"{server['name']}-{n + 1}"
        s = _row(call, server, name, flavor, image, zone, reservation, n, hints)
        cloud["servers"][s["id"]] = s
        made.append(s)
        action = act(cloud, call, s, "create")
        if group is not None:
            group["members"].append(s["id"])
        if not cloud.hub:
            _build(call, s, action, nics, groups, blocks, host)
    if server.get("return_reservation_id") is True:
        return Answer(202, {"reservation_id": reservation})
    first = made[0]
    doc = {"id": first["id"], "links": links(cloud, "servers", first["id"]), "OS-DCF:diskConfig": first["disk_config"]}
    names = [{"name": g} for g in server.get("security_groups", ()) and sorted({g["name"] for g in server["security_groups"]})]
    doc |= {"security_groups": names or [{"name": "default"}], "adminPass": password}
    return Answer(202, {"server": doc}, {"Location": f"{cloud.url('compute')}/v2.1/servers/{first['id']}"})


def _row(
    call: Call, server: Row, name: str, flavor: Row, image: Row | None, zone: str | None, reservation: str, n: int, hints: Row
) -> Row:
    now = call.cloud.now()
    description = server.get("description") if call.since(19) else name
    props = {k: v for k, v in image["properties"].items() if isinstance(v, str)} if image else {}
    return {
        "id": new_id(),
        "name": name,
        "project_id": call.who.project_id,
        "user_id": call.who.user_id,
        "created_at": now,
        "updated_at": now,
        "launched_at": None,
        "terminated_at": None,
        "deleted": False,
        "request": True,
        "flavor": {**flavor, "extra_specs": dict(flavor["extra_specs"])},
        "flavor_key": flavor["id"],
        "image_id": image["id"] if image else "",
        "image_props": props,
        "metadata": dict(server.get("metadata") or {}),
        "tags": sorted(set(server.get("tags") or [])),
        "vm_state": "building",
        "task_state": "scheduling",
        "power_state": 0,
        "host": None,
        "zone": None,
        "pinned_zone": zone,
        "key_name": server.get("key_name"),
        "locked": False,
        "locked_by": None,
        "locked_reason": None,
        "config_drive": "True" if str(server.get("config_drive", "")).lower() == "true" else "",
        "description": description,
        "hostname": server.get("hostname") or "".join(c if c.isalnum() or c == "-" else "-" for c in name.lower())[:63],
        "reservation_id": reservation,
        "launch_index": n,
        "user_data": server.get("user_data"),
        "hints": hints,
        "bdms": [],
        "nics": [],
        "nic_tags": {},
        "made_ports": [],
        "fault": None,
        "disk_config": server.get("OS-DCF:diskConfig", "MANUAL"),
        "accessIPv4": server.get("accessIPv4", ""),
        "accessIPv6": server.get("accessIPv6", ""),
        "number": call.cloud.serial(),
    }


def _zone(call: Call, server: Row) -> tuple[str | None, str | None]:
    wanted = server.get("availability_zone")
    if wanted is None:
        return None, server.get("host")
    zone, _, host = str(wanted).partition(":")
    if host and not call.who.admin:
        raise Refused(403, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
    if zone == "internal":  # it is a zone, and no server is ever put there
        return zone, None
    if (zone and zone not in zones(call.cloud)) or call.cloud.hub:
        raise refuse("The requested availability zone is not available")
    return zone or None, host.split(":")[0] or None


def _image(call: Call, server: Row, flavor: Row, blocks: list[Row]) -> Row | None:
    ident = server.get("imageRef") or ""
    if not ident:
        if not any(b["boot_index"] == 0 for b in blocks):
            raise refuse("Missing imageRef attribute" if not blocks else "Block Device Mapping is Invalid: Boot sequence for the "
                         "instance and image/block device mapping combination is not valid.")  # fmt: skip
        return None
    image = call.cloud["images"].get(ident)
    who = call.who
    seen = image and (who.admin or image["owner"] == who.project_id or image["visibility"] in ("public", "community")
                      or (image["visibility"] == "shared" and who.project_id in image["members"]))  # fmt: skip
    if image is None or not seen:
        raise refuse("Can not find requested image")
    if image["status"] != "active":
        raise refuse(f"Image {ident} is not active.")
    if image["min_ram"] > flavor["ram"]:
        raise refuse("Flavor's memory is too small for requested image.")
    if flavor["disk"] and image["min_disk"] > flavor["disk"]:
        raise refuse(
            f"Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {flavor['disk'] << 30} "
            f"bytes, minimum size is {image['min_disk'] << 30} bytes."
        )
    return image


def _group(call: Call, hints: Row) -> Row | None:
    ident = hints.get("group")
    if ident is None:
        return None
    if not is_uuid(ident):
        raise refuse(invalid("group", ident, "is not a 'uuid'"))
    group = call.cloud["server_groups"].get(ident)
    if group is None or (group["project_id"] != call.who.project_id and not call.who.admin):
        raise refuse(f"Instance group {ident} could not be found.")
    return group


def _security_groups(call: Call, server: Row) -> list[str]:
    found = []
    for wanted in server.get("security_groups") or ():
        name = wanted.get("name", "default")
        rows = [
            g
            for g in call.cloud["security_groups"].values()
            if g["project_id"] == call.who.project_id and name in (g["id"], g["name"])
        ]
        if name == "default" and not rows:
            rows = [default_group(call.cloud, call.who.project_id)]
        if not rows:
            raise refuse(f"Unable to find security_group with name or id '{name}'")
        if len(rows) > 1:
            raise Refused(409, f"Multiple security_group matches found for name '{name}', use an ID to be more specific.")
        found.append(rows[0]["id"])
    return found


def _nics(call: Call, server: Row, count: int) -> list[Row]:
    """The NICs, checked. Raises Refused 400, 409."""
    cloud, asked = call.cloud, server.get("networks")
    if asked == "none":
        return []
    own = [n for n in cloud["networks"].values() if n["project_id"] == call.who.project_id or n["shared"]]
    own = [n for n in own if not n["router:external"] and any(s["network_id"] == n["id"] for s in cloud["subnets"].values())]
    if asked is None or asked == "auto" or asked == []:
        if len(own) > 1:
            raise Refused(409, "Multiple possible networks found, use a Network ID to be more specific.")
        return [{"network": n["id"]} for n in own]
    found: list[Row] = []
    for n in asked:
        if n.get("port"):
            if count > 1:
                raise refuse(
                    "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by "
                    "one with different ports."
                )
            found.append({"port": usable_port(call, n["port"])["id"], "tag": n.get("tag")})
        else:
            network = usable_network(call, n["uuid"])
            found.append({"network": network["id"], "fixed_ip": n.get("fixed_ip"), "tag": n.get("tag")})
    ports = [f["port"] for f in found if "port" in f]
    if len(ports) != len(set(ports)):
        raise refuse(f"Duplicate port {ports[0]}")
    return found


def usable_port(call: Call, ident: str) -> Row:
    """A free port of the caller's project. Raises Refused 400."""
    port = call.cloud["ports"].get(ident)
    if port is None or not (call.who.admin or port["project_id"] == call.who.project_id):
        raise refuse(f"Port id {ident} could not be found.")
    if port["project_id"] != call.who.project_id:
        raise refuse(f"Port {ident} not usable for instance.")
    if port["device_id"]:
        raise Refused(409, f"Port {ident} is still in use.")
    if not port["fixed_ips"]:
        raise refuse(f"Port {ident} requires a FixedIP in order to be used.")
    return port


def usable_network(call: Call, ident: str) -> Row:
    """A network with a subnet that the caller may use. Raises Refused 400, 403."""
    network = call.cloud["networks"].get(ident)
    mine = network and (
        call.who.admin or network["project_id"] == call.who.project_id or network["shared"] or network["router:external"]
    )
    if network is None or not mine:
        raise refuse(f"Network {ident} could not be found.")
    if network["router:external"] and not network["shared"] and not call.who.admin:
        raise Refused(403, f"It is not allowed to create an interface on external network {ident}")
    if not any(s["network_id"] == ident for s in call.cloud["subnets"].values()):
        raise refuse(f"Network {ident} requires a subnet in order to boot instances on.")
    return network


# After the 202


def _build(call: Call, s: Row, action: Row, nics: list[Row], groups: list[str], blocks: list[Row], host: str | None) -> None:
    cloud = call.cloud
    delay = cloud.options.build

    def schedule() -> None:
        if s["deleted"]:
            return
        where = host or place(cloud, s["pinned_zone"])
        if cloud.modes.of("no-host") or where not in [h["host"] for h in hosts(cloud)]:
            return fail(cloud, s, action, 500, "No valid host was found. ")
        assert where is not None
        touch(cloud, s, request=False, host=where, zone=zone_of(cloud, where), task_state="networking")
        try:
            for nic in nics:
                plug(call, s, nic, groups)
            for b in blocks:
                attach_now(call, s, b)
        except Refused as e:
            return fail(cloud, s, action, 500, f"Build of instance {s['id']} aborted: {e.message}")
        touch(cloud, s, task_state="spawning")
        cloud.later(delay * 0.6, lambda: started(cloud, s, action))

    cloud.later(delay * 0.4, schedule)


def started(cloud: Cloud, s: Row, action: Row) -> None:
    """It runs."""
    if not s["deleted"]:
        touch(cloud, s, vm_state="active", task_state=None, power_state=1, launched_at=cloud.now())
    action["finish"], action["host"] = cloud.now(), s["host"]


def fail(cloud: Cloud, s: Row, action: Row, code: int, message: str) -> None:
    """It does not."""
    fault = {"code": code, "created": None, "message": message, "details": "Traceback (most recent call last): ..."}
    touch(cloud, s, vm_state="error", task_state=None, request=False, power_state=0)
    from sim.world import zulu

    s["fault"] = {**fault, "created": zulu(cloud.now())}
    action |= {"finish": cloud.now(), "message": "Error"}


def plug(call: Call, s: Row, nic: Row, groups: list[str]) -> Row:
    """Give a server a port, its own or a new one. Raises Refused."""
    cloud = call.cloud
    if nic.get("port"):
        port = cloud["ports"].get(nic["port"])
        if port is None:
            raise refuse(f"Port {nic['port']} could not be found.")
        if port["device_id"] not in ("", s["id"]):
            raise Refused(409, f"Port {nic['port']} is still in use.")
    else:
        given: Row = {"network_id": nic["network"]}
        if nic.get("fixed_ip"):
            given["fixed_ips"] = [{"ip_address": nic["fixed_ip"]}]
        if groups:
            given["security_groups"] = groups
        port = create_one(call, KINDS["port"], given)
        port["project_id"] = s["project_id"]
        s["made_ports"].append(port["id"])
    port |= {"device_id": s["id"], "device_owner": f"compute:{s['zone'] or DEFAULT_ZONE}", "binding:host_id": s["host"] or ""}
    port["dns_name"] = port["dns_name"] or s["hostname"]
    bind(cloud, port)
    bump(cloud, port)
    s["nics"].append(port["id"])
    s["nic_tags"][port["id"]] = nic.get("tag")
    return port

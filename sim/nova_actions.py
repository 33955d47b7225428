"""Nova: ``POST /servers/{id}/action``. What only changes a state is a row of a table; the rest has a function."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim import glance
from sim.faults import WEBOB_404, Refused
from sim.hosts import hosts, place, zone_of, zones
from sim.neutron_core import bump
from sim.neutron_ipam import give, used
from sim.nova import delete, unlocked
from sim.nova_catalogue import find_flavor
from sim.nova_quota import check_quota
from sim.nova_schema import choice, fields, integer, strings, text
from sim.nova_view import act, fetch, ports, show, slim, touch
from sim.web import Answer, Call, forbid, route
from sim.world import Cloud, Row, new_id

Given = Any
ANY: tuple[str, ...] = ()
SNAPPABLE = ("active", "stopped", "paused", "suspended")
REBUILDABLE = ("active", "stopped", "error")
CONSOLE = "FAKE CONSOLE OUTPUT\nANOTHER\nLAST LINE"
RPC = "os_compute_api:"


@dataclass(frozen=True, kw_only=True)
class Action:
    """``states``: vm_states it is allowed in; empty = all. ``verb``: Nova's name of it, in refusals and in the history."""

    rule: str
    verb: str = ""
    states: tuple[str, ...] = ANY
    task: str | None = None
    to: str = ""
    """The vm_state afterwards; "" = as before."""
    power: int | None = None
    role: str = "member"
    low: int = 0
    high: int = 999
    needs_host: bool = False
    run: Callable[[Call, Row, Given], Answer | Row | None] | None = None
    """What a simple change of state is not."""
    check: Callable[[Given], None] | None = None
    """Looks at the body before anything else."""


def ready(s: Row, verb: str, states: tuple[str, ...], *, tasks: bool = False) -> None:
    """Raises Refused 409 for a server in the wrong state; ``tasks``: also while it does something else."""
    if states and s["vm_state"] not in states:
        raise Refused(409, f"Cannot '{verb}' instance {s['id']} while it is in vm_state {s['vm_state']}")
    if s["task_state"] is not None and not tasks:
        raise Refused(409, f"Cannot '{verb}' instance {s['id']} while it is in task_state {s['task_state']}")
    if s["launched_at"] is None and not tasks:
        raise Refused(409, f"Instance {s['id']} is in an invalid state for '{verb}'")


def soon(call: Call, s: Row, action: Row, **values: Any) -> None:
    """Change a server after half the time a build takes, and end its action."""
    cloud = call.cloud

    def done() -> None:
        action["finish"] = cloud.now()
        if not s["deleted"] and s["task_state"] != "deleting":
            touch(cloud, s, task_state=None, **values)

    cloud.later(cloud.options.build / 2, done)


@route("compute", "POST", "/servers/{ident}/action", "any")
def action(call: Call, ident: str) -> Answer:
    doc = call.doc
    if not isinstance(doc, dict) or len(doc) != 1:
        raise Refused(400, "Malformed request body")
    ((name, given),) = doc.items()
    a = ACTIONS.get(name)
    if a is None:
        raise Refused(400, f"There is no such action: {name}")
    if not a.low <= call.version[1] <= a.high:
        raise Refused(404, WEBOB_404)
    if a.check is not None:
        a.check(given)
    s = fetch(call, ident)
    if not call.who.may(a.role):
        forbid(call, RPC + a.rule)
    if a.run is not None:
        got = a.run(call, s, given)
        return got if isinstance(got, Answer) else Answer(202) if got is None else Answer(200, got)
    move(call, s, a)
    return Answer(202)


def move(call: Call, s: Row, a: Action) -> None:
    """A change of state."""
    if a.needs_host and s["request"]:
        raise Refused(404, f"Instance {s['id']} could not be found.")
    unlocked(call, s)
    if a.needs_host and s["host"] is None:
        raise Refused(409, f"Instance {s['id']} is not ready")
    ready(s, a.verb, a.states)
    touch(call.cloud, s, task_state=a.task)
    power = s["power_state"] if a.power is None else a.power
    soon(call, s, act(call.cloud, call, s, a.verb), vm_state=a.to or s["vm_state"], power_state=power)


# Reboot, resize, rebuild


def _reboot_type(given: Given) -> None:
    kind = fields("reboot", given, ("type",))["type"]
    choice("type", kind, ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"])


def _reboot(call: Call, s: Row, given: Given) -> None:
    hard = given["type"].lower() == "hard"
    unlocked(call, s)
    if hard and s["task_state"] in (None, "rebooting", "rebooting_hard", "pausing", "unpausing", "suspending"):
        ready(s, "reboot", (*SNAPPABLE, "error"), tasks=True)
        if s["launched_at"] is None:
            raise Refused(409, f"Instance {s['id']} is in an invalid state for 'reboot'")
    else:
        ready(s, "reboot", (*SNAPPABLE, "error") if hard else ("active",))
    touch(call.cloud, s, task_state="rebooting_hard" if hard else "rebooting")
    soon(call, s, act(call.cloud, call, s, "reboot"), vm_state="active", power_state=1)


def _resize_schema(given: Given) -> None:
    fields("resize", given, ("flavorRef",), ("OS-DCF:diskConfig",))


def _resize(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    unlocked(call, s)
    ready(s, "resize", ("active", "stopped"))
    try:
        flavor = find_flavor(call, str(given["flavorRef"]))
    except Refused as e:
        raise Refused(400, e.message) from None
    old = s["flavor"]
    if flavor["id"] == old["id"]:
        raise Refused(400, "When resizing, instances must change flavor!")
    check_quota(call, {"cores": flavor["vcpus"] - old["vcpus"], "ram": flavor["ram"] - old["ram"]})
    other = next((h["host"] for h in hosts(cloud) if h["host"] != s["host"]), s["host"])
    keys, now = list(cloud["flavors"]), cloud.now()
    number = {f["id"]: keys.index(f["id"]) + 1 if f["id"] in keys else 0 for f in (old, flavor)}
    row = {
        "id": cloud.serial(), "uuid": new_id(), "instance_uuid": s["id"], "source_compute": s["host"], "source_node": s["host"],
        "dest_compute": other, "dest_node": other, "dest_host": "127.0.0.1", "status": "migrating", "migration_type": "resize",
        "old_instance_type_id": number[old["id"]], "new_instance_type_id": number[flavor["id"]], "created_at": now,
        "updated_at": now, "user_id": call.who.user_id, "project_id": s["project_id"],
    }  # fmt: skip
    cloud["migrations"][row["uuid"]] = row
    s["before_resize"] = {"flavor": old, "host": s["host"], "vm_state": s["vm_state"], "power_state": s["power_state"], "row": row}
    touch(cloud, s, task_state="resize_prep")
    wanted = {**flavor, "extra_specs": dict(flavor["extra_specs"])}
    soon(call, s, act(cloud, call, s, "resize"), vm_state="resized", flavor=wanted, flavor_key=flavor["id"], host=other,
         zone=zone_of(cloud, other))  # fmt: skip
    cloud.later(cloud.options.build / 2, lambda: row.update(status="finished", updated_at=cloud.now()))


def _settle(call: Call, s: Row, verb: str, outcome: str, task: str | None) -> Row:
    unlocked(call, s)
    ready(s, verb, ("resized",))
    before = s["before_resize"]
    before["row"] |= {"status": outcome, "updated_at": call.cloud.now()}
    touch(call.cloud, s, task_state=task)
    return dict(before)


def _confirm(call: Call, s: Row, given: Given) -> Answer:
    before = _settle(call, s, "confirmResize", "confirmed", None)
    soon(call, s, act(call.cloud, call, s, "confirmResize"), vm_state=before["vm_state"], power_state=before["power_state"])
    return Answer(204)


def _revert(call: Call, s: Row, given: Given) -> None:
    before = _settle(call, s, "revertResize", "reverted", "resize_reverting")
    soon(call, s, act(call.cloud, call, s, "revertResize"), vm_state=before["vm_state"], power_state=before["power_state"],
         flavor=before["flavor"], flavor_key=before["flavor"]["id"], host=before["host"])  # fmt: skip


REBUILD = {"name": 0, "adminPass": 0, "metadata": 0, "accessIPv4": 0, "accessIPv6": 0, "personality": 0, "OS-DCF:diskConfig": 0,
           "preserve_ephemeral": 0, "description": 19, "key_name": 54, "user_data": 57, "trusted_image_certificates": 63,
           "hostname": 90}  # fmt: skip


def _rebuild(call: Call, s: Row, given: Given) -> Answer:
    cloud = call.cloud
    fields("rebuild", given, ("imageRef",), tuple(k for k, since in REBUILD.items() if call.since(since)))
    if "name" in given:
        text("name", given["name"])
    strings(given.get("metadata") or {})
    unlocked(call, s)
    ready(s, "rebuild", REBUILDABLE)
    image = cloud["images"].get(given["imageRef"])
    if image is None or not glance.visible(call, image):
        raise Refused(400, "Cannot find image for rebuild")
    if image["status"] != "active":
        raise Refused(400, f"Image {image['id']} is not active.")
    if given.get("key_name") and f"{call.who.user_id}/{given['key_name']}" not in cloud["keypairs"]:
        raise Refused(400, "Invalid key_name provided.")
    same = ("name", "metadata", "accessIPv4", "accessIPv6", "description", "key_name", "user_data", "hostname")
    before = s["vm_state"]
    touch(cloud, s, task_state="rebuilding", image_id=image["id"], fault=None, **{k: given[k] for k in same if k in given})
    s["image_props"] = {k: v for k, v in image["properties"].items() if isinstance(v, str)}
    stopped = before == "stopped"
    soon(call, s, act(cloud, call, s, "rebuild"), vm_state="stopped" if stopped else "active", power_state=4 if stopped else 1)
    doc = slim(call, show(call, s))
    doc["adminPass"] = given.get("adminPass") or _password()
    doc |= {"key_name": s["key_name"]} if call.since(54) else {}
    doc |= {"user_data": s["user_data"]} if call.since(57) else {}
    return Answer(202, {"server": doc}, {"Location": f"{cloud.url('compute')}/v2.1/servers/{s['id']}"})


def _password() -> str:
    return secrets.token_urlsafe(9)[:12]


# Images


def snapshot(call: Call, s: Row, name: str, more: Row, kind: str = "snapshot") -> Row:
    """An image of a server, without bits yet."""
    identity = call.cloud.identity
    image = call.cloud["images"].get(s["image_id"], {})
    props = {k: v for k, v in image.get("properties", {}).items() if k not in ("image_type", "backup_type")} | more
    owner, user = (identity[t].get(i, {}).get("name", "") for t, i in (("projects", s["project_id"]), ("users", call.who.user_id)))
    props |= {
        "base_image_ref": s["image_id"], "owner_user_name": user, "owner_project_name": owner,
        "boot_roles": ",".join(sorted(call.who.roles)), "instance_uuid": s["id"], "user_id": call.who.user_id, "image_type": kind,
        "image_location": "snapshot", "image_state": "available", "owner_id": s["project_id"],
    }  # fmt: skip
    return glance.make(call.cloud, s["project_id"], name=name, disk_format=image.get("disk_format", "raw"), container_format="bare",
                       visibility="private", min_disk=s["flavor"]["disk"], min_ram=image.get("min_ram", 0), **props)  # fmt: skip


def upload(cloud: Cloud, s: Row, image: Row) -> None:
    """The bits of a snapshot."""
    if image["id"] in cloud["images"]:
        glance.activate(cloud, image, f"snapshot of {s['id']}".encode())


def _image_schema(given: Given) -> None:
    text("name", fields("createImage", given, ("name",), ("metadata",))["name"])
    strings(given.get("metadata") or {})


def _create_image(call: Call, s: Row, given: Given) -> Answer:
    ready(s, "createImage", SNAPPABLE)
    return _imaged(call, s, "createImage", "image_snapshot_pending", snapshot(call, s, given["name"], given.get("metadata") or {}))


def _imaged(call: Call, s: Row, verb: str, task: str, image: Row) -> Answer:
    cloud = call.cloud
    touch(cloud, s, task_state=task)
    cloud.later(cloud.options.build / 2, lambda: upload(cloud, s, image))
    soon(call, s, act(cloud, call, s, verb))
    if call.since(45):
        return Answer(202, {"image_id": image["id"]})
    root = cloud.url("image") if verb == "createImage" else f"{cloud.url('compute')}/v2.1"
    url = f"{root}/images/{image['id']}"
    return Answer(202, headers={"Location": url, "Content-Type": "text/html; charset=UTF-8"})


def _backup_schema(given: Given) -> None:
    fields("createBackup", given, ("name", "backup_type", "rotation"), ("metadata",))
    text("name", given["name"])
    integer("rotation", given["rotation"])


def _backup(call: Call, s: Row, given: Given) -> Answer:
    ready(s, "createBackup", SNAPPABLE)
    more = {**(given.get("metadata") or {}), "backup_type": given["backup_type"]}
    image = snapshot(call, s, given["name"], more, "backup")
    mine = [i for i in call.cloud["images"].values() if i["properties"].get("instance_uuid") == s["id"]
            and i["properties"].get("backup_type") == given["backup_type"]]  # fmt: skip
    for old in mine[: max(len(mine) - int(given["rotation"]), 0)]:
        del call.cloud["images"][old["id"]]
    return _imaged(call, s, "createBackup", "image_backup", image)


# Shelve, rescue


def _shelve(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    unlocked(call, s)
    ready(s, "shelve", SNAPPABLE)
    image = snapshot(call, s, f"{s['name']}-shelved", {})
    cloud.later(cloud.options.build / 2, lambda: upload(cloud, s, image))
    s["shelved_image"] = image["id"]
    touch(cloud, s, task_state="shelving")
    soon(call, s, act(cloud, call, s, "shelve"), vm_state="shelved_offloaded", power_state=4, host=None, zone=None)


def _unshelve(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    fields(
        "unshelve", given or {}, (), (*(("availability_zone",) if call.since(77) else ()), *(("host",) if call.since(91) else ()))
    )
    unlocked(call, s)
    ready(s, "unshelve", ("shelved", "shelved_offloaded"))
    wanted = (given or {}).get("availability_zone")
    if wanted is not None and wanted not in zones(cloud):
        raise Refused(400, "The requested availability zone is not available")
    if "availability_zone" in (given or {}):
        s["pinned_zone"] = wanted
    host = place(cloud, s["pinned_zone"]) or hosts(cloud)[0]["host"]
    touch(cloud, s, task_state="unshelving")
    action = act(cloud, call, s, "unshelve")
    soon(call, s, action, vm_state="active", power_state=1, host=host, zone=zone_of(cloud, host), launched_at=cloud.now())
    cloud.later(cloud.options.build / 2, lambda: cloud["images"].pop(s.pop("shelved_image", ""), None))


def _rescue_schema(given: Given) -> None:
    fields("rescue", given or {}, (), ("adminPass", "rescue_image_ref"))


def _rescue(call: Call, s: Row, given: Given) -> Row:
    move(call, s, Action(rule="", verb="rescue", states=REBUILDABLE, task="rescuing", to="rescued", power=1))
    return {"adminPass": (given or {}).get("adminPass") or _password()}


# Locks, states, passwords


def _lock(call: Call, s: Row, given: Given) -> None:
    owner = s["project_id"] == call.who.project_id
    if call.since(73):
        fields("lock", given or {}, (), ("locked_reason",))
    if s["locked"] and owner:
        return
    reason = (given or {}).get("locked_reason") if call.since(73) else None
    act(call.cloud, call, s, "lock")["finish"] = call.cloud.now()
    touch(call.cloud, s, locked=True, locked_by="owner" if owner else "admin", locked_reason=reason)


def _unlock(call: Call, s: Row, given: Given) -> None:
    owner = "owner" if s["project_id"] == call.who.project_id else "admin"
    if s["locked"] and s["locked_by"] != owner and not call.who.admin:
        forbid(call, RPC + "os-lock-server:unlock:unlock_override")
    act(call.cloud, call, s, "unlock")["finish"] = call.cloud.now()
    touch(call.cloud, s, locked=False, locked_by=None, locked_reason=None)


def _state_schema(given: Given) -> None:
    choice("state", fields("os-resetState", given, ("state",))["state"], ["active", "error"])


def _reset_state(call: Call, s: Row, given: Given) -> None:
    act(call.cloud, call, s, "resetState")["finish"] = call.cloud.now()
    touch(call.cloud, s, vm_state=given["state"], task_state=None)


def _password_schema(given: Given) -> None:
    fields("changePassword", given, ("adminPass",))


# Consoles, security groups, addresses


def _length_schema(given: Given) -> None:
    if (given or {}).get("length") is not None:
        integer("length", given["length"], -1)


def _console_output(call: Call, s: Row, given: Given) -> Row:
    if s["host"] is None:
        raise Refused(409, f"Instance {s['id']} is not ready")
    length = (given or {}).get("length")
    lines = CONSOLE.split("\n")
    return {"output": CONSOLE if length is None or int(length) < 0 else "\n".join(lines[-int(length) :] if int(length) else [])}


def _console(kinds: list[str]) -> Callable[[Call, Row, Given], None]:
    def run(call: Call, s: Row, given: Given) -> None:
        raise Refused(400, f"Unavailable console type {choice('type', given.get('type'), kinds)}.")

    return run


def _group_schema(verb: str) -> Callable[[Given], None]:
    def check(given: Given) -> None:
        text("name", fields(verb, given, ("name",))["name"])

    return check


def _change_group(add: bool) -> Callable[[Call, Row, Given], None]:
    def run(call: Call, s: Row, given: Given) -> None:
        cloud, name = call.cloud, given["name"]
        mine = [
            g for g in cloud["security_groups"].values() if g["project_id"] == call.who.project_id and name in (g["id"], g["name"])
        ]
        held = ports(cloud, s)
        if not held:
            raise Refused(404, f"instance_id {s['id']} could not be found as device id on any ports")
        if not mine:
            raise Refused(404, f"Security group {name} is not found for project {call.who.project_id}")
        group = mine[0]["id"]
        having = [p for p in held if group in p["security_groups"]]
        if add and having:
            why = f"Invalid input for security_groups. Reason: Duplicate items in the list: '{group}'."
            raise Refused(400, f"{why}\nNeutron server returns request_ids: ['{call.request_id}']")
        if not add and not having:
            raise Refused(404, f"Security group {name} not associated with the instance {s['id']}")
        for p in held if add else having:
            p["security_groups"] = [*p["security_groups"], group] if add else [g for g in p["security_groups"] if g != group]
            bump(cloud, p)

    return run


def _floating(call: Call, s: Row, given: Given) -> None:
    raise Refused(404, "floating IP not found")


def _add_fixed(call: Call, s: Row, given: Given) -> None:
    wanted = fields("addFixedIp", given, ("networkId",))["networkId"]
    for port in ports(call.cloud, s):
        subnets = [t["id"] for t in call.cloud["subnets"].values() if t["network_id"] == wanted]
        if port["network_id"] == wanted and subnets:
            port["fixed_ips"] = [*port["fixed_ips"], *give(call, port, [{"subnet_id": subnets[0]}])]
            return bump(call.cloud, port)
    raise Refused(400, f"Network {wanted} could not be found.")


def _remove_fixed(call: Call, s: Row, given: Given) -> None:
    address = fields("removeFixedIp", given, ("address",))["address"]
    for port in ports(call.cloud, s):
        for f in port["fixed_ips"]:
            if f["ip_address"] == address:
                port["fixed_ips"] = [o for o in port["fixed_ips"] if o is not f]
                used(call.cloud, f["subnet_id"]).pop(address, None)
                return bump(call.cloud, port)
    raise Refused(400, f"Fixed IP {address} is not associated with instance {s['id']}.")


def _no_host(call: Call, s: Row, given: Given) -> None:
    ready(s, "os-migrateLive", ("active", "paused"))
    raise Refused(400, "No valid host was found. There are not enough hosts available.")


def _migrate(call: Call, s: Row, given: Given) -> None:
    unlocked(call, s)
    ready(s, "migrate", ("active", "stopped"))
    raise Refused(400, "No valid host was found. No valid host found for cold migrate")


def _evacuate(call: Call, s: Row, given: Given) -> None:
    if not call.since(14):
        fields("evacuate", given, ("onSharedStorage",), ("host", "adminPass"))
    ready(s, "evacuate", REBUILDABLE)
    raise Refused(400, f"Compute service of {s['host']} is still in use.")


def _reset_network(call: Call, s: Row, given: Given) -> None:
    raise Refused(410, "This resource is no longer available. No forwarding address is given.")


def _force_delete(call: Call, s: Row, given: Given) -> None:
    delete(call, s["id"])


ACTIONS: dict[str, Action] = {
    "os-start": Action(rule="servers:start", verb="start", states=("stopped",), task="powering-on", to="active", power=1,
                       needs_host=True),
    "os-stop": Action(rule="servers:stop", verb="stop", states=("active", "error"), task="powering-off", to="stopped", power=4,
                      needs_host=True),
    "pause": Action(rule="os-pause-server:pause", verb="pause", states=("active",), task="pausing", to="paused"),
    "unpause": Action(rule="os-pause-server:unpause", verb="unpause", states=("paused",), task="unpausing", to="active"),
    "suspend": Action(rule="os-suspend-server:suspend", verb="suspend", states=("active",), task="suspending", to="suspended"),
    "resume": Action(rule="os-suspend-server:resume", verb="resume", states=("suspended",), task="resuming", to="active"),
    "unrescue": Action(rule="os-unrescue", verb="unrescue", states=("rescued",), task="unrescuing", to="active"),
    "restore": Action(rule="os-deferred-delete:restore", verb="restore", states=("soft-delete",), task="restoring", to="active"),
    "changePassword": Action(rule="os-admin-password", verb="changePassword", states=("active",), task="updating_password",
                             check=_password_schema),
    "shelveOffload": Action(rule="os-shelve:shelve_offload", verb="shelveOffload", states=("shelved",), role="admin",
                            task="shelving_offloading", to="shelved_offloaded"),
    "trigger_crash_dump": Action(rule="servers:trigger_crash_dump", verb="trigger_crash_dump", low=17,
                                 states=("active", "paused", "rescued", "resized", "error")),
    "reboot": Action(rule="servers:reboot", check=_reboot_type, run=_reboot),
    "resize": Action(rule="servers:resize", check=_resize_schema, run=_resize),
    "confirmResize": Action(rule="servers:confirm_resize", run=_confirm),
    "revertResize": Action(rule="servers:revert_resize", run=_revert),
    "rebuild": Action(rule="servers:rebuild", run=_rebuild),
    "createImage": Action(rule="servers:create_image", check=_image_schema, run=_create_image),
    "createBackup": Action(rule="os-create-backup", check=_backup_schema, run=_backup),
    "shelve": Action(rule="os-shelve:shelve", run=_shelve),
    "unshelve": Action(rule="os-shelve:unshelve", run=_unshelve),
    "rescue": Action(rule="os-rescue", check=_rescue_schema, run=_rescue),
    "lock": Action(rule="os-lock-server:lock", run=_lock),
    "unlock": Action(rule="os-lock-server:unlock", run=_unlock),
    "os-resetState": Action(rule="os-admin-actions:reset_state", role="admin", check=_state_schema, run=_reset_state),
    "os-getConsoleOutput": Action(rule="os-console-output", check=_length_schema, run=_console_output),
    "os-getVNCConsole": Action(rule="os-remote-consoles", high=5, run=_console(["novnc", "xvpvnc"])),
    "os-getSPICEConsole": Action(rule="os-remote-consoles", high=5, run=_console(["spice-html5"])),
    "os-getSerialConsole": Action(rule="os-remote-consoles", high=5, run=_console(["serial"])),
    "addSecurityGroup": Action(rule="os-security-groups:add", check=_group_schema("addSecurityGroup"), run=_change_group(True)),
    "removeSecurityGroup": Action(rule="os-security-groups:remove", check=_group_schema("removeSecurityGroup"),
                                  run=_change_group(False)),
    "addFloatingIp": Action(rule="os-floating-ips:add", high=43, run=_floating),
    "removeFloatingIp": Action(rule="os-floating-ips:remove", high=43, run=_floating),
    "addFixedIp": Action(rule="os-multinic:add", high=43, run=_add_fixed),
    "removeFixedIp": Action(rule="os-multinic:remove", high=43, run=_remove_fixed),
    "migrate": Action(rule="os-migrate-server:migrate", role="admin", run=_migrate),
    "os-migrateLive": Action(rule="os-migrate-server:migrate_live", role="admin", run=_no_host),
    "evacuate": Action(rule="os-evacuate", role="admin", run=_evacuate),
    "resetNetwork": Action(rule="", run=_reset_network),
    "injectNetworkInfo": Action(rule="os-admin-actions:inject_network_info", role="admin", run=_reset_network),
    "forceDelete": Action(rule="os-deferred-delete:force", run=_force_delete),
}  # fmt: skip

"""Nova: ``POST /servers/{id}/action``. What only changes a state is a row of a table; the rest has a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim import nova_steps
from sim.faults import WEBOB_404, Refused
from sim.neutron_core import bump
from sim.neutron_ipam import give, used
from sim.nova import delete, unlocked
from sim.nova_consoles import console_url
from sim.nova_schema import choice, fields, integer, text
from sim.nova_steps import REBUILDABLE, Given, ready, soon
from sim.nova_view import act, fetch, ports, touch
from sim.web import Answer, Call, forbid, route
from sim.world import Row

ANY: tuple[str, ...] = ()
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


def _rescue_schema(given: Given) -> None:
    fields("rescue", given or {}, (), ("adminPass", "rescue_image_ref"))


def _rescue(call: Call, s: Row, given: Given) -> Row:
    move(call, s, Action(rule="", verb="rescue", states=REBUILDABLE, task="rescuing", to="rescued", power=1))
    return {"adminPass": (given or {}).get("adminPass") or nova_steps.password()}


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


def _console(kinds: list[str], protocol: str) -> Callable[[Call, Row, Given], Row]:
    def run(call: Call, s: Row, given: Given) -> Row:
        kind = choice("type", given.get("type"), kinds)
        return {"console": {"type": kind, "url": console_url(call, s, protocol, kind)}}

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
    "reboot": Action(rule="servers:reboot", check=nova_steps.reboot_type, run=nova_steps.reboot),
    "resize": Action(rule="servers:resize", check=nova_steps.resize_schema, run=nova_steps.resize),
    "confirmResize": Action(rule="servers:confirm_resize", run=nova_steps.confirm),
    "revertResize": Action(rule="servers:revert_resize", run=nova_steps.revert),
    "rebuild": Action(rule="servers:rebuild", run=nova_steps.rebuild),
    "createImage": Action(rule="servers:create_image", check=nova_steps.image_schema, run=nova_steps.create_image),
    "createBackup": Action(rule="os-create-backup", check=nova_steps.backup_schema, run=nova_steps.backup),
    "shelve": Action(rule="os-shelve:shelve", run=nova_steps.shelve),
    "unshelve": Action(rule="os-shelve:unshelve", run=nova_steps.unshelve),
    "rescue": Action(rule="os-rescue", check=_rescue_schema, run=_rescue),
    "lock": Action(rule="os-lock-server:lock", run=_lock),
    "unlock": Action(rule="os-lock-server:unlock", run=_unlock),
    "os-resetState": Action(rule="os-admin-actions:reset_state", role="admin", check=_state_schema, run=_reset_state),
    "os-getConsoleOutput": Action(rule="os-console-output", check=_length_schema, run=_console_output),
    "os-getVNCConsole": Action(rule="os-remote-consoles", high=5, run=_console(["novnc", "xvpvnc"], "vnc")),
    "os-getSPICEConsole": Action(rule="os-remote-consoles", high=5, run=_console(["spice-html5"], "spice")),
    "os-getSerialConsole": Action(rule="os-remote-consoles", high=5, run=_console(["serial"], "serial")),
    "addSecurityGroup": Action(rule="os-security-groups:add", check=_group_schema("addSecurityGroup"), run=_change_group(True)),
    "removeSecurityGroup": Action(rule="os-security-groups:remove", check=_group_schema("removeSecurityGroup"),
                                  run=_change_group(False)),
    "addFloatingIp": Action(rule="os-floating-ips:add", high=43, run=_floating),
    "removeFloatingIp": Action(rule="os-floating-ips:remove", high=43, run=_floating),
    "addFixedIp": Action(rule="os-multinic:add", high=43, run=_add_fixed),
    "removeFixedIp": Action(rule="os-multinic:remove", high=43, run=_remove_fixed),
    "migrate": Action(rule="os-migrate-server:migrate", role="admin", run=nova_steps.migrate),
    "os-migrateLive": Action(rule="os-migrate-server:migrate_live", role="admin", run=nova_steps.live_migrate),
    "evacuate": Action(rule="os-evacuate", role="admin", run=_evacuate),
    "resetNetwork": Action(rule="", run=_reset_network),
    "injectNetworkInfo": Action(rule="os-admin-actions:inject_network_info", role="admin", run=_reset_network),
    "forceDelete": Action(rule="os-deferred-delete:force", run=_force_delete),
}  # fmt: skip

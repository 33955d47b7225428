"""What Neutron's resources have in common: refusals, who sees and who changes what, revisions, documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.faults import Refused
from sim.neutron_tables import KINDS, Attr, Kind
from sim.web import Call
from sim.world import Cloud, Row, is_uuid, new_id, zulu

Hook = Callable[[Call, Row, Row], None]
"""(call, row, what was given). Before a delete: what was given is empty."""
_HOOKS: dict[tuple[str, str], Hook] = {}
COMMON: dict[str, Attr] = {
    "project_id": Attr("c"), "tenant_id": Attr("c"), "description": Attr("cu", "", "str"), "tags": Attr("c", [], "list"),
}  # fmt: skip
READ_ONLY = {"id", "created_at", "updated_at", "revision_number", "status"}


def hook(kind: str, when: str) -> Callable[[Hook], Hook]:
    """Register what a kind does more at "create", "created", "update", "delete", "deleted" or "show"."""

    def register(f: Hook) -> Hook:
        _HOOKS[kind, when] = f
        return f

    return register


def run(kind: Kind, when: str, call: Call, row: Row, given: Row) -> None:
    """Run the hook of a kind, if it has one."""
    f = _HOOKS.get((kind.one, when))
    if f is not None:
        f(call, row, given)


def bad(message: str, kind: str = "HTTPBadRequest", status: int = 400) -> Refused:
    """A refusal."""
    return Refused(status, message, kind=kind)


def conflict(kind: str, message: str) -> Refused:
    """A refusal with 409."""
    return Refused(409, message, kind=kind)


def missing(kind: Kind, ident: str) -> Refused:
    """A refusal with 404."""
    return Refused(404, kind.missing[1].format(ident), kind=kind.missing[0])


def disallowed(rule: str) -> Refused:
    """A refusal by policy."""
    return Refused(403, f"rule:{rule} is disallowed by policy", kind="PolicyNotAuthorized")


def shared_with(cloud: Cloud, object_type: str, ident: str, project: str, actions: tuple[str, ...]) -> bool:
    """Whether an RBAC policy opens an object to a project."""
    return any(
        r["object_id"] == ident
        and r["object_type"] == object_type
        and r["target_tenant"] in ("*", project)
        and r["action"] in actions
        for r in cloud["rbac_policies"].values()
    )


def visible(call: Call, kind: Kind, row: Row) -> bool:
    """Whether the caller may know of it."""
    cloud, who = call.cloud, call.who
    if who.admin or who.service or row["project_id"] == who.project_id:
        return True
    if row.get("shared"):
        return True
    if kind.one == "network":
        actions = ("access_as_shared", "access_as_external")
        return bool(row["router:external"]) or shared_with(cloud, "network", row["id"], who.project_id, actions)
    if kind.one == "subnet":
        return visible(call, KINDS["network"], cloud["networks"][row["network_id"]])
    if kind.one == "port":
        return bool(cloud["networks"][row["network_id"]]["project_id"] == who.project_id)
    if kind.one == "security_group_rule":
        return visible(call, KINDS["security_group"], cloud["security_groups"][row["security_group_id"]])
    if kind.one in ("security_group", "address_group", "subnetpool", "address_scope"):
        return shared_with(cloud, kind.one, row["id"], who.project_id, ("access_as_shared",))
    return False


def fetch(call: Call, kind: Kind, ident: str) -> Row:
    """A row the caller may see. Raises Refused 404."""
    row = call.cloud[kind.many].get(ident)
    if row is None or not visible(call, kind, row):
        raise missing(kind, ident)
    return row


def owned(call: Call, row: Row) -> bool:
    """Whether the caller may change it."""
    return call.who.admin or bool(row["project_id"] == call.who.project_id)


def bump(cloud: Cloud, row: Row) -> None:
    """One more revision."""
    row["revision_number"] += 1
    row["updated_at"] = cloud.now()


def match_revision(call: Call, row: Row) -> None:
    """Raises Refused 412 when ``If-Match`` names another revision."""
    asked = call.request.headers.get("If-Match", "")
    if not asked:
        return
    name, _, number = asked.partition("=")
    if name != "revision_number" or not number.isdigit():
        raise bad("Invalid input for If-Match", "BadRequest")
    if int(number) != row["revision_number"]:
        message = f"Constrained to {number}, but current revision is {row['revision_number']}"
        raise Refused(412, message, kind="RevisionNumberConstraintFailed")


def check_type(name: str, attr: Attr, value: Any) -> None:
    """Raises Refused 400 for a value of the wrong type."""
    wrong = {
        "uuid": lambda: not is_uuid(value) and f"'{value}' is not a valid UUID.",
        "uuid?": lambda: value is not None and not is_uuid(value) and f"'{value}' is not a valid UUID.",
        "str": lambda: not isinstance(value, str) and f"'{value}' is not a valid string.",
        "bool": lambda: str(value).lower() not in ("true", "false", "1", "0") and f"'{value}' cannot be converted to boolean.",
        "list": lambda: value is not None and not isinstance(value, list) and f"'{value}' is not a list.",
        "dict?": lambda: value is not None and not isinstance(value, dict) and f"'{value}' is not a dictionary.",
        "int": lambda: value is not None and not str(value).lstrip("-").isdigit() and f"'{value}' is not an integer.",
    }.get(attr.kind, lambda: False)()
    if wrong:
        raise bad(f"Invalid input for {name}. Reason: {wrong}")


def prepare(call: Call, kind: Kind, given: Row) -> Row:
    """A new row from a create's document, with defaults. Raises Refused 400, 403."""
    attrs = {**kind.attrs, **COMMON}
    unknown = [n for n in given if n not in attrs and n not in READ_ONLY]
    if unknown:
        raise bad(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    project = given.get("project_id") or given.get("tenant_id") or call.who.project_id
    if project != call.who.project_id and not (call.who.admin or call.who.service):
        raise bad("Specifying 'project_id' other than the authenticated project in request is not allowed for the current user.")
    for name, attr in attrs.items():
        if "r" in attr.flags and name not in given:
            raise bad(f"Failed to parse request. Required attribute '{name}' not specified")
    for name, value in given.items():
        if name in READ_ONLY or "c" not in attrs[name].flags:
            raise bad(f"Attribute '{name}' not allowed in POST")
        check_type(name, attrs[name], value)
        _privileged(call, kind, name, value, "create")
    now = call.cloud.now()
    row: Row = {"id": new_id(), "project_id": project, "created_at": now, "updated_at": now, "revision_number": kind.first}
    for name, attr in attrs.items():
        default = attr.default.copy() if isinstance(attr.default, (list, dict)) else attr.default
        value = given.get(name, default)
        row[name] = _bool(value) if attr.kind == "bool" else int(value) if attr.kind == "int" and value is not None else value
    row["project_id"] = project
    row.pop("tenant_id")
    return row


def _bool(value: Any) -> bool:
    return str(value).lower() in ("true", "1")


def _privileged(call: Call, kind: Kind, name: str, value: Any, verb: str) -> None:
    """Raises Refused 403 for an attribute that tenants may not give. Hooks look after what depends on the network."""
    if "p" not in kind.attrs.get(name, Attr()).flags or call.who.admin or (kind.one == "port" and name == "mac_address"):
        return
    if (call.who.service and kind.one == "port") or value == kind.attrs[name].default:
        return
    rule = f"{verb}_{kind.one}"
    raise Refused(403, f"(rule:{rule} and rule:{rule}:{name}) is disallowed by policy", kind="PolicyNotAuthorized")


def check_update(call: Call, kind: Kind, given: Row) -> None:
    """Raises Refused 400 or 403 for attributes that may not be changed."""
    attrs = {**kind.attrs, **COMMON}
    for name, value in given.items():
        if name not in attrs and name not in READ_ONLY:
            raise bad(f"Unrecognized attribute(s) '{name}'")
        if name in READ_ONLY or "u" not in attrs[name].flags:
            raise bad(f"Cannot update read-only attribute {name}")
        check_type(name, attrs[name], value)
        _privileged(call, kind, name, value, "update")


def show(call: Call, kind: Kind, row: Row) -> Row:
    """A row as the caller sees it, with ``fields=``."""
    privileged = call.who.admin or call.who.service
    doc = {
        k: v
        for k, v in row.items()
        if k not in kind.attrs or (("h" not in kind.attrs[k].flags or privileged) and not (k == "ip_allocation" and call.cloud.hub))
    }
    doc["tenant_id"] = row["project_id"]
    doc["created_at"], doc["updated_at"] = zulu(row["created_at"]), zulu(row["updated_at"])
    run(kind, "show", call, row, doc)
    wanted = [f for v in call.values("fields") for f in v.split(",") if f]
    return {k: v for k, v in doc.items() if k in wanted} if wanted else doc

"""Security groups, their rules, and address groups."""

from __future__ import annotations

from sim.faults import Refused
from sim.neutron_core import bad, bump, conflict, disallowed, fetch, hook, owned, show
from sim.neutron_ipam import network_of
from sim.neutron_tables import KINDS
from sim.population_ports import ports_having
from sim.web import Call, route
from sim.world import Cloud, Row, new_id, zulu

GROUP, RULE, ADDRESSES = KINDS["security_group"], KINDS["security_group_rule"], KINDS["address_group"]
SAME = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
        "remote_address_group_id")  # fmt: skip
"""Two rules that agree in these are one."""
PORTLESS = ("icmp", "icmpv6", "ipv6-icmp", None)


def default_group(cloud: Cloud, project: str) -> Row:
    """The project's default group; made when first needed."""
    found = next((g for g in cloud["security_groups"].values() if g["project_id"] == project and g["name"] == "default"), None)
    if found is not None:
        return found
    now = cloud.now()
    group: Row = {
        "id": new_id(), "project_id": project, "created_at": now, "updated_at": now, "revision_number": 1, "name": "default",
        "stateful": True, "shared": False, "description": "Default security group", "tags": [],
    }  # fmt: skip
    cloud["security_groups"][group["id"]] = group
    for version in ("IPv4", "IPv6"):
        add_rule(cloud, group, direction="egress", ethertype=version)
        add_rule(cloud, group, direction="ingress", ethertype=version, remote_group_id=group["id"])
    return group


def add_rule(cloud: Cloud, group: Row, **values: object) -> Row:
    """One more rule of a group; what is not given is as a rule has it by itself."""
    now = cloud.now()
    base = {name: a.default for name, a in RULE.attrs.items()}
    rule: Row = {
        "id": new_id(), "project_id": group["project_id"], "created_at": now, "updated_at": now, "revision_number": 0, **base,
        "security_group_id": group["id"], "description": None, "tags": [], "belongs_to_default_sg": None, **values,
    }  # fmt: skip
    cloud["security_group_rules"][rule["id"]] = rule
    return rule


def rules_of(cloud: Cloud, group_id: str) -> list[Row]:
    """The rules of a group, by id."""
    return sorted(
        (r for r in cloud["security_group_rules"].values() if r["security_group_id"] == group_id), key=lambda r: str(r["id"])
    )


@hook("security_group", "create")
def _create(call: Call, row: Row, given: Row) -> None:
    default_group(call.cloud, row["project_id"])
    if row["name"] == "default":
        raise conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")


@hook("security_group", "created")
def _created(call: Call, row: Row, given: Row) -> None:
    for version in ("IPv4", "IPv6"):
        add_rule(call.cloud, row, direction="egress", ethertype=version, belongs_to_default_sg=False)


@hook("security_group", "update")
def _update(call: Call, row: Row, given: Row) -> None:
    if row["name"] == "default" and "name" in given:
        raise conflict("SecurityGroupCannotUpdateDefault", "Updating the default security group not allowed.")
    if given.get("name") == "default":
        raise conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")


@hook("security_group", "delete")
def _delete(call: Call, row: Row, given: Row) -> None:
    if row["name"] == "default" and not call.who.admin:
        raise conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
    if any(ports_having(call.cloud["ports"], "security_groups", row["id"])):
        raise conflict("SecurityGroupInUse", f"Security Group {row['id']} in use.")


@hook("security_group", "deleted")
def _deleted(call: Call, row: Row, given: Row) -> None:
    for rule in list(call.cloud["security_group_rules"].values()):
        if row["id"] in (rule["security_group_id"], rule["remote_group_id"]):
            del call.cloud["security_group_rules"][rule["id"]]


@hook("security_group", "show")
def _show(call: Call, row: Row, doc: Row) -> None:
    rules = rules_of(call.cloud, row["id"])
    times = [
        {"created_at": zulu(r["created_at"]), "updated_at": zulu(r["updated_at"]), "tenant_id": r["project_id"]} for r in rules
    ]
    listed = call.method == "GET" and "/" not in call.path.removeprefix("/v2.0/")
    more: Row = {"standard_attr_id": 1} | ({"belongs_to_default_sg": None} if listed else {})
    doc["security_group_rules"] = [{**r, **t, **more} for r, t in zip(rules, times, strict=True)]


@hook("security_group_rule", "show")
def _show_rule(call: Call, row: Row, doc: Row) -> None:
    doc.pop("tags")


@hook("security_group_rule", "create")
def _rule(call: Call, row: Row, given: Row) -> None:
    group = fetch(call, GROUP, row["security_group_id"])
    if not (owned(call, group) or call.who.service):
        raise disallowed("create_security_group_rule")
    row["project_id"] = group["project_id"] if call.who.admin else row["project_id"]
    if row["direction"] not in ("ingress", "egress"):
        raise bad(f"Invalid input for direction. Reason: '{row['direction']}' is not in ['ingress', 'egress'].")
    if row["ethertype"] not in ("IPv4", "IPv6"):
        raise bad(f"Invalid input for ethertype. Reason: '{row['ethertype']}' is not in ['IPv4', 'IPv6'].")
    if sum(1 for n in ("remote_ip_prefix", "remote_group_id", "remote_address_group_id") if row[n]) > 1:
        raise bad("Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.",
                  "SecurityGroupMultipleRemoteEntites")  # fmt: skip
    _ports(row)
    if row["remote_ip_prefix"]:
        cidr = network_of(row["remote_ip_prefix"], "remote_ip_prefix")
        row["normalized_cidr"] = str(cidr)
        if f"IPv{cidr.version}" != row["ethertype"]:
            message = f"Conflicting value ethertype {row['ethertype']} for CIDR {row['remote_ip_prefix']}"
            raise bad(message, "SecurityGroupRuleParameterConflict")
    if row["remote_group_id"]:
        fetch(call, GROUP, row["remote_group_id"])
    if row["remote_address_group_id"]:
        fetch(call, ADDRESSES, row["remote_address_group_id"])
    row["belongs_to_default_sg"] = group["name"] == "default"
    for other in rules_of(call.cloud, group["id"]):
        if all(other[n] == row[n] for n in SAME):
            raise conflict("SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {other['id']}.")


def _ports(row: Row) -> None:
    protocol, low, high = row["protocol"], row["port_range_min"], row["port_range_max"]
    if protocol in ("any", "0", 0):
        row["protocol"] = protocol = None
    row["protocol"] = protocol = protocol.lower() if isinstance(protocol, str) else protocol
    if (low is not None or high is not None) and protocol is None:
        raise bad("Must also specify protocol if port range is given.", "SecurityGroupProtocolRequiredWithPorts")
    row["port_range_min"] = low = None if low in (None, -1, "-1") else int(low)
    row["port_range_max"] = high = None if high in (None, -1, "-1") else int(high)
    if (protocol in ("tcp", "udp") and (low is None) != (high is None)) or (
        protocol in ("tcp", "udp") and low is not None and low > (high or 0)
    ):
        raise bad("For TCP/UDP protocols, port_range_min must be <= port_range_max", "SecurityGroupInvalidPortRange")  # fmt: skip


@hook("security_group_rule", "created")
def _rule_created(call: Call, row: Row, given: Row) -> None:
    bump(call.cloud, call.cloud["security_groups"][row["security_group_id"]])


@hook("security_group_rule", "deleted")
def _rule_deleted(call: Call, row: Row, given: Row) -> None:
    group = call.cloud["security_groups"].get(row["security_group_id"])
    if group is not None:
        bump(call.cloud, group)


@hook("address_group", "create")
def _addresses(call: Call, row: Row, given: Row) -> None:
    row["addresses"] = sorted({str(network_of(a, "addresses")) for a in row["addresses"]})


@hook("address_group", "show")
def _show_addresses(call: Call, row: Row, doc: Row) -> None:
    doc.pop("tags")
    doc.pop("shared")


@hook("address_group", "delete")
def _addresses_used(call: Call, row: Row, given: Row) -> None:
    if any(r["remote_address_group_id"] == row["id"] for r in call.cloud["security_group_rules"].values()):
        raise conflict("AddressGroupInUse", f"Address group {row['id']} is in use on one or more security group rules")


@route("network", "PUT", "/v2.0/address-groups/{ident}/add_addresses", "any")
@route("network", "PUT", "/v2.0/address-groups/{ident}/remove_addresses", "any")
def change_addresses(call: Call, ident: str) -> Row:
    """The body is ``{"addresses": [...]}`` itself; anything else is the real thing's 500."""
    row = fetch(call, ADDRESSES, ident)
    if not owned(call, row):
        raise disallowed("update_address_group")
    if not isinstance(call.doc, dict) or "addresses" not in call.doc:
        raise Refused(500, "Request Failed: internal server error while processing your request.")
    given, have = {str(network_of(a, "addresses")) for a in call.doc["addresses"]}, set(row["addresses"])
    if call.path.endswith("/add_addresses"):
        if given & have:
            message = f"Addresses {sorted(given & have)} already exist in the address group {ident}."
            raise bad(message, "AddressesAlreadyExist")
        row["addresses"] = sorted(have | given)
    else:
        if given - have:
            raise Refused(
                404, f"Addresses {sorted(given - have)} not found in the address group {ident}.", kind="AddressesNotFound"
            )
        row["addresses"] = sorted(have - given)
    bump(call.cloud, row)
    return {"address_group": show(call, ADDRESSES, row)}

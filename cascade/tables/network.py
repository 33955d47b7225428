"""Neutron's paths (https://docs.openstack.org/api-ref/network/v2/). What is not listed is the hub's alone."""

from cascade.model.table import Kind, Row

_GET, _POST, _PUT, _DELETE = frozenset({"GET"}), frozenset({"POST"}), frozenset({"PUT"}), frozenset({"DELETE"})


def _replicated(path: str, resource: str, *, overlaid: bool = False, zoned: bool = False) -> tuple[Row, ...]:
    """A collection the hub owns, whose writes the copies follow.

    ``overlaid``: its documents show something the hub does not know. ``zoned``: it takes zone hints (kept in its tags).
    """
    key = path.rsplit("/", 1)[-1].replace("-", "_")
    rows = []
    if overlaid:
        rows += [
            Row(pattern=p, kind=Kind.REPLICATED, resource=resource, methods=_GET, collection=key, handler="network_read")
            for p in (path, f"{path}/{{id}}")
        ]
    if zoned:
        rows.append(Row(pattern=f"{path}/{{id}}/tags{{rest:*}}", kind=Kind.REPLICATED, resource=resource, handler="network_tags"))
    return (
        *rows,
        Row(pattern=path, kind=Kind.REPLICATED, resource=resource, methods=_POST, collection=key, handler="network_create"),
        Row(pattern=f"{path}/{{id}}", kind=Kind.REPLICATED, resource=resource, methods=_PUT | _DELETE, collection=key,
            handler="network_write"),
        Row(pattern=f"{path}/{{id}}/tags{{rest:*}}", kind=Kind.HUB, resource=resource),
        Row(pattern=f"{path}/{{id}}/{{verb}}", kind=Kind.REPLICATED, resource=resource, methods=_PUT, handler="network_write"),
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    Row(pattern="/v2.0/availability_zones", kind=Kind.AGGREGATE, methods=_GET, collection="availability_zones",
        handler="network_zones"),
    Row(pattern="/v2.0/agents{rest:*}", kind=Kind.AGGREGATE, handler="network_agents"),
    *_replicated("/v2.0/networks", "network", overlaid=True, zoned=True),
    *_replicated("/v2.0/subnets", "subnet", overlaid=True),
    *_replicated("/v2.0/ports", "port", overlaid=True),
    *_replicated("/v2.0/routers", "router", overlaid=True, zoned=True),
    Row(pattern="/v2.0/floatingips/{id}/port_forwardings{rest:*}", kind=Kind.REPLICATED, resource="floating_ip",
        methods=_POST | _PUT | _DELETE, handler="network_forward"),
    *_replicated("/v2.0/floatingips", "floating_ip", overlaid=True),
    *_replicated("/v2.0/security-groups", "security_group"),
    *_replicated("/v2.0/security-group-rules", "security_group_rule"),
    *_replicated("/v2.0/address-groups", "address_group"),
    *_replicated("/v2.0/trunks", "trunk", overlaid=True),
    *_replicated("/v2.0/qos/policies", "qos_policy"),
    Row(pattern="/v2.0/qos/policies/{id}/{rest:*}", kind=Kind.REPLICATED, resource="qos_policy", methods=_POST | _PUT | _DELETE,
        handler="network_write"),
    Row(pattern="/v2.0/qos/alias_{type}/{id}", kind=Kind.REPLICATED, resource="qos_rule", methods=_PUT | _DELETE,
        handler="network_write"),
    Row(pattern="/v2.0/rbac-policies/{id}", kind=Kind.REPLICATED, resource="rbac_policy", methods=_PUT | _DELETE,
        handler="network_write"),
)  # fmt: skip

"""Nova's paths (https://docs.openstack.org/api-ref/compute/). What is not listed is the hub's."""

from cascade.model.table import Kind, Row

_GET, _POST, _DELETE = frozenset({"GET"}), frozenset({"POST"}), frozenset({"DELETE"})
_SERVER_TIES = ("created_at:desc", "uuid:asc")

ROWS: tuple[Row, ...] = (
    Row(pattern="/servers", kind=Kind.ZONAL_LIST, resource="server", methods=_GET, collection="servers", ties=_SERVER_TIES),
    Row(pattern="/servers/detail", kind=Kind.ZONAL_LIST, resource="server", methods=_GET, collection="servers", ties=_SERVER_TIES),
    Row(pattern="/servers", kind=Kind.ZONAL_CREATE, resource="server", methods=_POST, handler="server_create"),
    Row(pattern="/servers/{id}", kind=Kind.ZONAL, resource="server", methods=_DELETE, handler="server_delete"),
    Row(pattern="/servers/{id}/action", kind=Kind.ZONAL, resource="server", methods=_POST, handler="server_action"),
    Row(pattern="/servers/{id}/os-interface", kind=Kind.ZONAL, resource="server", methods=_POST, handler="interface_attach"),
    Row(pattern="/servers/{id}/os-interface/{port}", kind=Kind.ZONAL, resource="server", methods=_DELETE,
        handler="interface_detach"),
    Row(pattern="/servers/{id}/os-volume_attachments", kind=Kind.ZONAL, resource="server", methods=_POST, handler="volume_attach"),
    Row(pattern="/servers/{id}/remote-consoles", kind=Kind.ZONAL, resource="server", methods=_POST, handler="remote_console"),
    Row(pattern="/os-console-auth-tokens/{token}", kind=Kind.AGGREGATE, methods=_GET, handler="console_auth_token"),
    Row(pattern="/servers/{id}/migrations{rest:*}", kind=Kind.ZONAL, resource="server", handler="server_migrations"),
    Row(pattern="/servers/{id}/os-security-groups", kind=Kind.ZONAL, resource="server", methods=_GET),
    Row(pattern="/servers/{id}/tags", kind=Kind.ZONAL, resource="server", methods=frozenset({"PUT", "DELETE"}),
        handler="server_tags"),
    Row(pattern="/servers/{id}/os-instance-actions{rest:*}", kind=Kind.ZONAL, resource="server", methods=_GET,
        handler="instance_actions"),
    Row(pattern="/servers/{id}", kind=Kind.ZONAL, resource="server"),
    Row(pattern="/servers/{id}/{rest:*}", kind=Kind.ZONAL, resource="server"),
    Row(pattern="/flavors{rest:*}", kind=Kind.REPLICATED, resource="flavor", methods=frozenset({"POST", "PUT", "DELETE"}),
        handler="hub_write"),
    Row(pattern="/os-keypairs/{name}", kind=Kind.REPLICATED, resource="keypair", methods=_DELETE, handler="hub_write"),
    Row(pattern="/os-server-groups{rest:*}", kind=Kind.REPLICATED, resource="server_group", handler="server_groups"),
    Row(pattern="/os-quota-class-sets/{name}", kind=Kind.AGGREGATE, methods=frozenset({"PUT"}), handler="quota_class"),
    Row(pattern="/os-quota-sets/{project}{rest:*}", kind=Kind.AGGREGATE, handler="compute_quota"),
    Row(pattern="/limits", kind=Kind.AGGREGATE, methods=_GET, handler="compute_limits"),
    Row(pattern="/os-availability-zone{rest:*}", kind=Kind.AGGREGATE, methods=_GET, handler="compute_zones"),
    Row(pattern="/os-simple-tenant-usage{rest:*}", kind=Kind.AGGREGATE, methods=_GET, handler="usage"),
    Row(pattern="/os-hypervisors{rest:*}", kind=Kind.AGGREGATE, methods=_GET, handler="hypervisors"),
    Row(pattern="/os-services{rest:*}", kind=Kind.AGGREGATE, handler="services"),
    Row(pattern="/os-instance_usage_audit_log{rest:*}", kind=Kind.AGGREGATE, methods=_GET, handler="audit_log"),
    Row(pattern="/os-hosts{rest:*}", kind=Kind.AGGREGATE, handler="hosts"),
    Row(pattern="/os-server-external-events", kind=Kind.AGGREGATE, methods=_POST, handler="external_events"),
    Row(pattern="/os-assisted-volume-snapshots{rest:*}", kind=Kind.AGGREGATE, methods=frozenset({"POST", "DELETE"}),
        handler="assisted_snapshots"),
    Row(pattern="/os-migrations", kind=Kind.AGGREGATE, methods=_GET, handler="migrations"),
    Row(pattern="/os-aggregates{rest:*}", kind=Kind.REPLICATED, resource="aggregate", handler="aggregates"),
)  # fmt: skip
